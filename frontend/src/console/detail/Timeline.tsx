import { memo } from "react";

import { clock, duration } from "../../lib/format";
import { StatusDot } from "../../ui";
import type { LifeEvent } from "../data/types";
import { useServerNow } from "../live/hooks";
import { momentsOf, phasesOf } from "./life";

export const Timeline = memo(function Timeline({ events }: { events: readonly LifeEvent[] }) {
  return (
    <section className="c-section" aria-label="Timeline" data-region="timeline">
      <h3>Life</h3>
      <Phases events={events} />
      <ol className="c-moments">
        {momentsOf(events).map((moment, i) => (
          <li key={`${i}-${moment.name}`} data-event={moment.name}>
            <StatusDot tone={moment.tone} />
            <span>{moment.label}</span>
            <time dateTime={new Date(moment.at * 1000).toISOString()}>{clock(moment.at)}</time>
            <span className="c-number">{moment.afterS === null ? "" : `+ ${duration(moment.afterS)}`}</span>
          </li>
        ))}
      </ol>
    </section>
  );
});

function Phases({ events }: { events: readonly LifeEvent[] }) {
  const now = useServerNow();
  const phases = phasesOf(events, now ?? events.at(-1)?.at ?? 0);
  return (
    <>
      <div className="c-phases" aria-hidden="true">
        {phases.map((phase, i) => (
          <span key={`${i}-${phase.name}`} data-phase={phase.colour} style={{ flexGrow: phase.share }} />
        ))}
      </div>
      <ul className="c-phase-names">
        {phases.map((phase, i) => (
          <li key={`${i}-${phase.name}`}>
            <span className="c-phase-key" data-phase={phase.colour} aria-hidden="true" />
            {phase.name} <b>{duration(phase.lengthS)}</b>
          </li>
        ))}
      </ul>
    </>
  );
}
