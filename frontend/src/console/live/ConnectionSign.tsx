import { ago } from "../../lib/format";
import { Button, Notice, StatusDot, type Tone } from "../../ui";
import { useStore } from "../data/store";
import { useConsole } from "../shell/context";
import { useNowMs } from "./clock";
import type { Connection } from "./state";

const WORDS: Record<Connection, string> = {
  connecting: "Connecting",
  live: "Live",
  stale: "Stale",
  lost: "Lost",
};
const TONES: Record<Connection, Tone> = { connecting: "neutral", live: "good", stale: "warn", lost: "bad" };

export function ConnectionSign({ connection }: { connection: Connection }) {
  return (
    <span className="c-connection">
      <StatusDot tone={TONES[connection]} pulse={connection === "connecting"} />
      {WORDS[connection]}
    </span>
  );
}

/** Says of when the numbers below are, once they are not of now. */
export function ConnectionBanner({ connection }: { connection: Connection }) {
  const { live } = useConsole();
  const nowMs = useNowMs();
  const heardAtMs = useStore(live, (state) => state.heardAtMs);
  const detail = useStore(live, (state) => state.problem?.detail);
  if (connection !== "stale" && connection !== "lost") return null;

  const asOf =
    heardAtMs === null ? "Nothing has come yet." : `Everything below is as of ${ago((nowMs - heardAtMs) / 1000)}.`;
  return (
    <div className="c-banner">
      <Notice
        tone={connection === "lost" ? "bad" : "warn"}
        title={connection === "lost" ? "The connection is lost. Trying again." : "The server has gone quiet."}
        action={
          <Button size="sm" onClick={live.start}>
            Try now
          </Button>
        }
      >
        {/* it counts: read out once, not each second */}
        <p aria-live="off">
          {connection === "lost" && detail ? `${detail} ` : ""}
          {asOf}
        </p>
      </Notice>
    </div>
  );
}
