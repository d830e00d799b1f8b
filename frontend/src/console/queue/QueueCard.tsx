import { memo } from "react";

import { duration } from "../../lib/format";
import { Card } from "../../ui";
import { useStore } from "../data/store";
import type { Overview, Waiting } from "../data/types";
import { sessionHash } from "../detail/route";
import { useConsole } from "../shell/context";
import { ScrollRegion } from "../shell/ScrollRegion";

export const QueueCard = memo(function QueueCard() {
  const { live } = useConsole();
  const overview = useStore(live, (state) => state.overview);
  const queue = overview?.queue ?? null;
  const waiting = overview?.pool?.waiting ?? queue?.length ?? 0;
  return (
    <Card
      className="c-queue"
      title="Queue"
      actions={queue ? <span className="c-note">{waiting} waiting</span> : null}
      data-region="queue"
      data-waiting={waiting}
    >
      {queue && queue.length > 0 ? (
        <ScrollRegion className="c-scroll c-scroll-tall" label="Queue">
          <ol className="c-waiting">
            {queue.map((entry) => (
              <Entry key={entry.sessionId} entry={entry} />
            ))}
          </ol>
          {waiting > queue.length ? (
            <p className="c-hint">
              The first {queue.length} of {waiting}.
            </p>
          ) : null}
        </ScrollRegion>
      ) : (
        <p className="c-empty">{emptyWords(overview)}</p>
      )}
    </Card>
  );
});

function emptyWords(overview: Overview | null): string {
  if (!overview) return "Looking…";
  return overview.queue ? "Nobody waits." : "Unknown while Redis is away.";
}

const Entry = memo(function Entry({ entry }: { entry: Waiting }) {
  return (
    <li>
      <span className="c-place">{entry.position}</span>
      <a href={sessionHash(entry.sessionId)} title={entry.sessionId}>
        {entry.userId ?? entry.sessionId}
      </a>
      <span className="c-number">{duration(entry.waitingS)}</span>
    </li>
  );
});
