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
  const waiting = waitingOf(overview);
  return (
    <Card
      className="c-queue"
      title="Queue"
      actions={queue ? <span className="c-note">{waiting.words} waiting</span> : null}
      data-region="queue"
      data-waiting={queue?.length ?? 0}
    >
      {queue && queue.length > 0 ? (
        <ScrollRegion className="c-scroll c-scroll-tall" label="Queue">
          <ol className="c-waiting">
            {queue.map((entry) => (
              <Entry key={entry.sessionId} entry={entry} />
            ))}
          </ol>
          {waiting.isCut ? <p className="c-hint">The first {queue.length}; more wait behind them.</p> : null}
        </ScrollRegion>
      ) : (
        <p className="c-empty">{emptyWords(overview)}</p>
      )}
    </Card>
  );
});

/** How many rows the server sends at most. */
const ROWS_AT_MOST = 20;

/** The rows are counted: the pool's own figure is of another moment, and would contradict them now and then. */
function waitingOf(overview: Overview | null): { words: string; isCut: boolean } {
  const rows = overview?.queue?.length ?? 0;
  const isCut = rows >= ROWS_AT_MOST && (overview?.pool?.waiting ?? 0) > rows;
  return { words: isCut ? `${rows}+` : `${rows}`, isCut };
}

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
