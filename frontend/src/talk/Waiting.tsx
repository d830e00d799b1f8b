import { type ReactNode, useEffect, useState } from "react";

import { Button, MicIcon, RefreshIcon } from "../ui";
import type { CallState } from "./states";
import { endWords, failureWords, queueWords, resumingWords } from "./words";

export interface WaitingProps {
  call: CallState;
  headline: ReactNode;
  onStart: () => void;
  onCancel: () => void;
  nowMs?: () => number;
}

/** Everything before and after the conversation: the one button, the queue, and what went wrong. */
export function Waiting({ call, headline, onStart, onCancel, nowMs = () => performance.now() }: WaitingProps) {
  const cancel = (
    <Button variant="ghost" onClick={onCancel}>
      Cancel
    </Button>
  );
  switch (call.phase) {
    case "idle":
      return <Hero headline={headline} action={<Start onStart={onStart} />} />;
    case "starting":
      if (call.restarts > 0) return <Message title="Starting again" text="" action={cancel} />;
      if (call.failure) return <Holding call={call} cancel={cancel} nowMs={nowMs} />;
      return <Hero headline={headline} action={<Starting cancel={cancel} />} />;
    case "holding":
      return <Holding call={call} cancel={cancel} nowMs={nowMs} />;
    case "queued":
      return <Message {...queueWords(call)} action={cancel} />;
    case "resuming":
      return <Message {...resumingWords(call)} action={cancel} />;
    case "failed":
      return <Failed call={call} onStart={onStart} />;
    case "ended":
      return (
        <Message
          title="The call is over"
          text={endWords(call.endReason ?? "unknown")}
          action={<Start onStart={onStart} again />}
        />
      );
    default:
      return null;
  }
}

function Hero({ headline, action }: { headline: ReactNode; action: ReactNode }) {
  return (
    <div className="gr-hero">
      {headline}
      {action}
    </div>
  );
}

function Start({ onStart, again = false }: { onStart: () => void; again?: boolean }) {
  return (
    <Button className="gr-start" variant="primary" size="lg" icon={<MicIcon />} onClick={onStart}>
      {again ? "Talk again" : "Start talking"}
    </Button>
  );
}

/** Most see this for some milliseconds: nothing but the button's icon changes. */
function Starting({ cancel }: { cancel: ReactNode }) {
  return (
    <>
      <Button className="gr-start" variant="primary" size="lg" busy>
        Start talking
      </Button>
      <div className="gr-late">{cancel}</div>
    </>
  );
}

function Failed({ call, onStart }: { call: CallState; onStart: () => void }) {
  const words = call.failure ? failureWords(call.failure, true) : { title: "Something went wrong", text: "" };
  return (
    <Message
      {...words}
      alert
      action={
        <Button variant="primary" size="lg" icon={<RefreshIcon />} onClick={onStart}>
          {call.failure?.code === "moved" ? "Continue here" : "Try again"}
        </Button>
      }
    />
  );
}

interface MessageProps {
  title: string;
  text: string;
  alert?: boolean;
  action: ReactNode;
}

function Message({ title, text, alert = false, action }: MessageProps) {
  return (
    <div className="gr-message">
      <div role={alert ? "alert" : "status"}>
        <h2 className="gr-message-title">{title}</h2>
        {text ? <p className="gr-message-text">{text}</p> : null}
      </div>
      {action}
    </div>
  );
}

function Holding({ call, cancel, nowMs }: { call: CallState; cancel: ReactNode; nowMs: () => number }) {
  const seconds = useCountdown(call.retryAtMs, nowMs);
  const words = call.failure ? failureWords(call.failure, false) : { title: "Not yet", text: "" };
  return (
    <div className="gr-message">
      <div role="status">
        <h2 className="gr-message-title">{words.title}</h2>
        <p className="gr-message-text">{words.text}</p>
      </div>
      {/* a number each second is not what a screen reader should read out */}
      <p className="gr-countdown gr-numbers" role="timer" aria-live="off">
        {call.phase === "starting" || seconds === 0 ? "Trying again…" : `Trying again in ${seconds} s`}
      </p>
      {cancel}
    </div>
  );
}

function useCountdown(untilMs: number | null, nowMs: () => number): number {
  const left = (): number => Math.max(0, Math.ceil(((untilMs ?? 0) - nowMs()) / 1000));
  const [seconds, setSeconds] = useState(left);
  useEffect(() => {
    const timer = setInterval(() => setSeconds(left()), 250);
    return () => clearInterval(timer);
  });
  return seconds;
}
