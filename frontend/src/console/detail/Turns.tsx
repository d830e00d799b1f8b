import { memo } from "react";

import { clock, milliseconds } from "../../lib/format";
import type { Life, LifeTurn } from "../data/types";
import { barsOf, clickSteps, turnsSummary } from "./answers";

export const Turns = memo(function Turns({ turns }: { turns: readonly LifeTurn[] }) {
  if (turns.length === 0) return null;
  const bars = barsOf(turns);
  return (
    <section className="c-section" aria-label="Answers" data-region="turns">
      <h3>Answers</h3>
      <p className="c-note">{turnsSummary(bars)}</p>
      <ol className="c-bars">
        {bars.map((bar, i) => {
          const words = `${clock(bar.at)}: ${milliseconds(bar.latencyMs)}${bar.interrupted ? ", interrupted" : ""}`;
          return (
            <li key={i} title={words} data-interrupted={bar.interrupted || undefined}>
              <span style={{ height: `${Math.max(4, bar.share * 100)}%` }} />
              <span className="gr-visually-hidden">{words}</span>
            </li>
          );
        })}
      </ol>
    </section>
  );
});

export const ClickMarks = memo(function ClickMarks({ click }: { click: Life["click"] }) {
  const steps = clickSteps(click);
  const total = steps.at(-1)?.atMs ?? 0;
  if (total === 0) return null;
  return (
    <section className="c-section" aria-label="From the click" data-region="click">
      <h3>From the click</h3>
      <ol className="c-steps">
        {steps.map((step) => (
          <li key={step.mark}>
            <span>{step.label}</span>
            <span className="c-step-track" aria-hidden="true">
              <span
                style={{
                  left: `${((step.atMs - step.tookMs) / total) * 100}%`,
                  width: `${Math.max(0.5, (step.tookMs / total) * 100)}%`,
                }}
              />
            </span>
            <span className="c-number">{milliseconds(step.atMs)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
});
