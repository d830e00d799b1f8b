import { Button, Notice } from "../ui";
import type { CallView } from "./call";
import type { VoiceView } from "./voice";
import { failureWords, MICROPHONE } from "./words";

export interface NoticesProps {
  view: CallView;
  voice: VoiceView;
  onOpenMicrophone: () => void;
  onStartAudio: () => void;
}

/** What goes on besides the conversation, and what can be done about it. */
export function Notices({ view, voice, onOpenMicrophone, onStartAudio }: NoticesProps) {
  const { call, audioBlocked } = view;
  return (
    <div className="gr-notices">
      {audioBlocked ? (
        <Notice
          tone="warn"
          title="The browser plays no sound yet"
          action={
            <Button size="sm" variant="primary" onClick={onStartAudio}>
              Tap to hear
            </Button>
          }
        />
      ) : null}
      <Going view={view} />
      {call.mended === "replaced" ? (
        <Notice tone="good" title="Another agent took over">
          It knows what was said so far.
        </Notice>
      ) : null}
      {voice.trouble ? <Trouble voice={voice} onOpenMicrophone={onOpenMicrophone} /> : null}
    </div>
  );
}

function Going({ view: { call } }: Pick<NoticesProps, "view">) {
  if (call.phase === "reconnecting") {
    return (
      <Notice tone="warn" title="The connection was lost">
        We are getting you back into the same call.
        {call.failure && call.failure.code !== "livekit_unreachable"
          ? ` ${failureWords(call.failure, false).title}.`
          : null}
      </Notice>
    );
  }
  if (call.phase === "replacing") return <Notice tone="warn" title="Your agent stopped. Getting another one…" />;
  if (call.phase === "joining" && call.failure) {
    return (
      <Notice tone="warn" title={failureWords(call.failure, false).title}>
        We keep trying.
      </Notice>
    );
  }
  if (call.mended === "restarted") {
    return (
      <Notice tone="warn" title="Your agent stopped">
        We started a new call for you. The new agent does not know what was said before.
      </Notice>
    );
  }
  return null;
}

function Trouble({ voice, onOpenMicrophone }: Pick<NoticesProps, "voice" | "onOpenMicrophone">) {
  if (!voice.trouble) return null;
  const { title, text } = MICROPHONE[voice.trouble];
  const retry = (
    <Button size="sm" onClick={onOpenMicrophone}>
      Try again
    </Button>
  );
  return (
    <Notice tone="warn" title={title} action={voice.status === "off" && voice.trouble !== "unsupported" ? retry : null}>
      {text}
    </Notice>
  );
}
