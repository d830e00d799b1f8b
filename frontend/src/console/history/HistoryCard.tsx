import { type KeyboardEvent, memo, useMemo, useState } from "react";

import { clock } from "../../lib/format";
import { Card } from "../../ui";
import { useStore } from "../data/store";
import type { Sample } from "../data/types";
import { WINDOW_S } from "../live/state";
import { useConsole } from "../shell/context";
import { Chart, type Span } from "./Chart";
import { moved } from "./cursor";
import { HistoryTable } from "./HistoryTable";
import { nearest } from "./scale";
import { AGENTS, SMALL } from "./series";
import { spoken, summary } from "./words";

export const HistoryCard = memo(function HistoryCard() {
  const { live } = useConsole();
  const samples = useStore(live, (state) => state.samples);
  const everyS = useStore(live, (state) => state.everyS);
  const toS = useStore(live, (state) => rightEdge(state.samples, state.overview?.at ?? 0, state.everyS));
  const span = useMemo<Span>(() => ({ fromS: toS - WINDOW_S, toS, everyS }), [toS, everyS]);
  const [pointedAt, setPointedAt] = useState<number | null>(null);
  const index = pointedAt === null ? null : nearest(samples, { ...span, max: 1 }, (pointedAt - span.fromS) / WINDOW_S);
  const sample = index === null ? undefined : samples[index];

  const onKeyDown = (event: KeyboardEvent): void => {
    const next = moved(event.key, index, samples);
    if (next === undefined) return;
    event.preventDefault();
    setPointedAt(next);
  };

  const charts = { samples, span, index: sample ? index : null, onPoint: setPointedAt };
  return (
    <Card
      className="c-history"
      title="Last hour"
      actions={<span className="c-moment">{moment(samples, sample, span)}</span>}
      data-region="history"
      data-state={samples.length > 0 ? "drawn" : "empty"}
    >
      {samples.length > 0 ? (
        <>
          <div
            className="c-scrubber"
            role="slider"
            tabIndex={0}
            aria-label="Moment in the last hour"
            aria-valuemin={0}
            aria-valuemax={samples.length - 1}
            aria-valuenow={index ?? samples.length - 1}
            aria-valuetext={spoken(sample ?? samples.at(-1))}
            onKeyDown={onKeyDown}
            onBlur={() => setPointedAt(null)}
          >
            <Chart chart={AGENTS} tall {...charts} />
            <div className="c-charts">
              {SMALL.map((chart) => (
                <Chart key={chart.id} chart={chart} {...charts} />
              ))}
            </div>
          </div>
          <p className="gr-visually-hidden">{summary(samples)}</p>
          <HistoryTable samples={samples} />
        </>
      ) : (
        <p className="c-empty">No samples yet. The first comes within {everyS} seconds.</p>
      )}
    </Card>
  );
});

/** Of when the legends are: of the cursor, or the newest, which is not always of now. */
function moment(samples: readonly Sample[], pointed: Sample | undefined, { toS, everyS }: Span): string {
  if (pointed) return clock(pointed.at);
  const last = samples.at(-1);
  if (!last) return "";
  return toS - last.at > 2 * everyS ? `last sample ${clock(last.at)}` : "latest";
}

/** Now, as coarse as the samples: the charts do not move in between. */
function rightEdge(samples: readonly Sample[], at: number, everyS: number): number {
  return Math.max(samples.at(-1)?.at ?? 0, Math.floor(at / everyS) * everyS);
}
