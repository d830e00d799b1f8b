import { useEffect } from "react";

import { classes, StatusDot } from "../ui";
import { all } from "./captions";
import type { CallView } from "./call";
import { Composer } from "./Composer";
import { Controls } from "./Controls";
import { Notices } from "./Notices";
import { Script } from "./Script";
import type { Talk } from "./setup";
import type { CallState, Phase } from "./states";
import { Timing } from "./Timing";
import { useStore } from "./useStore";
import { useKeptFocus } from "./useKeptFocus";
import { Visualiser } from "./Visualiser";
import { Waiting } from "./Waiting";
import { stateWords } from "./words";

const CALL_PHASES: ReadonlySet<Phase> = new Set(["joining", "live", "reconnecting", "replacing"]);

/** All of a call on one panel, from the button to the last word. It fits where it is put, from a phone upwards. */
export function TalkPanel({ talk, headline }: { talk: Talk; headline: React.ReactNode }) {
  const { call: controller } = talk;
  const view = useStore(controller.view);
  const { phase, agentState } = view.call;
  const captions = all(view.captions);
  const calling = CALL_PHASES.has(phase);
  const focus = useKeptFocus<HTMLDivElement>(calling ? "calling" : phase);
  const open = calling || captions.length > 0;

  useEffect(() => {
    // a phone out of a pocket: what was given up on meanwhile may work now; what waits its turn goes on waiting
    const looked = (): void => {
      if (document.visibilityState === "visible" && controller.view.get().call.phase === "failed")
        controller.retryNow();
    };
    addEventListener("online", controller.retryNow);
    document.addEventListener("visibilitychange", looked);
    return () => {
      removeEventListener("online", controller.retryNow);
      document.removeEventListener("visibilitychange", looked);
    };
  }, [controller]);

  // sound may be measured only after the first touch of the page
  useEffect(() => {
    const wake = controller.wake;
    const touches = ["pointerdown", "keydown"] as const;
    if (phase !== "live") return;
    for (const touch of touches) addEventListener(touch, wake, { once: true });
    return () => touches.forEach((touch) => removeEventListener(touch, wake));
  }, [controller, phase]);

  return (
    <div
      {...focus}
      className={classes("gr-talk", open && "gr-talk-open")}
      role={calling ? "region" : undefined}
      aria-label={calling ? "Call" : undefined}
      tabIndex={-1}
      data-state={phase}
      data-agent={agentState ?? "none"}
    >
      <div className="gr-stage">
        <Visualiser sound={talk.sound} active={phase === "live"} thinking={agentState === "thinking"} />
        {calling ? <State call={view.call} /> : null}
        {/* each "listening" and "thinking" read out would talk over the agent: only the call's own state is */}
        <p className="gr-visually-hidden" role="status">
          {calling ? stateWords({ ...view.call, agentState: null }) : ""}
        </p>
        <Waiting call={view.call} headline={headline} onStart={controller.start} onCancel={controller.end} />
        {view.marks && open ? <Timing marks={view.marks} /> : null}
      </div>
      {open ? <Conversation talk={talk} view={view} calling={calling} /> : <Aside talk={talk} view={view} />}
    </div>
  );
}

function Conversation({ talk, view, calling }: { talk: Talk; view: CallView; calling: boolean }) {
  const { call, voice } = talk;
  const voiceView = useStore(voice.view);
  const openMicrophone = (): void => void voice.open();
  return (
    <div className="gr-conversation">
      <Script captions={all(view.captions)} empty="What you and the agent say is written here." />
      <Notices view={view} voice={voiceView} onOpenMicrophone={openMicrophone} onStartAudio={call.startAudio} />
      {calling ? (
        <>
          <Composer ready={isHeard(view.call)} onSend={call.sendText} />
          <Controls
            voice={voiceView}
            volume={view.volume}
            onMute={(muted) => voice.setMuted(muted)}
            onOpenMicrophone={openMicrophone}
            onDevice={(deviceId) => void voice.choose(deviceId)}
            onVolume={call.setVolume}
            onEnd={call.end}
          />
        </>
      ) : null}
    </div>
  );
}

/** Before the conversation there may be something to tell as well: a microphone that is blocked. */
function Aside({ talk, view }: { talk: Talk; view: CallView }) {
  const voice = useStore(talk.voice.view);
  if (view.call.phase === "idle") return null;
  return (
    <Notices
      view={view}
      voice={voice}
      onOpenMicrophone={() => void talk.voice.open()}
      onStartAudio={talk.call.startAudio}
    />
  );
}

/** Before its conversation has begun, an agent does not hear what is written to it. */
function isHeard({ inRoom, agentHere, agentState }: CallState): boolean {
  return inRoom && agentHere && agentState !== null && agentState !== "initializing";
}

function State({ call }: { call: CallState }) {
  const live = call.phase === "live";
  return (
    <p className="gr-state">
      <StatusDot tone={live ? "good" : "warn"} pulse={!live} />
      {stateWords(call)}
    </p>
  );
}
