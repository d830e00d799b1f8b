/** Which charts there are, and what each draws. */

import { milliseconds, percent } from "../../lib/format";
import type { Sample } from "../data/types";
import type { Band, Point } from "./path";

export interface Series {
  name: string;
  colour: 1 | 2 | 3 | 4;
  value: (sample: Sample) => number | null;
  dashed?: boolean;
  /** Filled, and on top of the stacked series before it. */
  stacked?: boolean;
}

export interface Chart {
  id: string;
  title: string;
  series: readonly Series[];
  format: (value: number) => string;
  /** The top of the axis, where it is always the same one. */
  max?: number;
}

export const AGENTS: Chart = {
  id: "agents",
  title: "Agents",
  format: String,
  series: [
    { name: "Ready", colour: 1, stacked: true, value: (s) => s.ready },
    { name: "Starting", colour: 2, stacked: true, value: (s) => s.starting },
    { name: "Active", colour: 3, stacked: true, value: (s) => s.active },
    { name: "Target", colour: 1, dashed: true, value: (s) => s.target },
  ],
};

export const SMALL: readonly Chart[] = [
  {
    id: "start",
    title: "Time to answer a start",
    format: milliseconds,
    series: [
      { name: "p50", colour: 1, value: (s) => s.startP50Ms },
      { name: "p95", colour: 2, value: (s) => s.startP95Ms },
    ],
  },
  {
    id: "refill",
    title: "Spawn and refill",
    format: milliseconds,
    series: [
      { name: "Spawn p50", colour: 3, value: (s) => s.spawnP50Ms },
      { name: "Refill lag", colour: 4, value: (s) => s.refillLagMs },
    ],
  },
  {
    id: "warm",
    title: "Starts that met a warm agent",
    format: percent,
    max: 1,
    series: [{ name: "Warm", colour: 1, value: (s) => s.warmHitRate }],
  },
];

export const CHARTS: readonly Chart[] = [AGENTS, ...SMALL];

export function pointsOf(samples: readonly Sample[], series: Series): Point[] {
  return samples.map((sample) => ({ at: sample.at, value: series.value(sample) }));
}

/** The stacked series of a chart, each on top of the one before. */
export function bandsOf(samples: readonly Sample[], chart: Chart): Band[][] {
  const heights = samples.map(() => 0);
  return chart.series
    .filter((series) => series.stacked)
    .map((series) =>
      samples.map((sample, i) => {
        const base = heights[i] ?? 0;
        heights[i] = base + (series.value(sample) ?? 0);
        return { at: sample.at, base, value: heights[i] };
      }),
    );
}

/** The highest that this chart draws. */
export function peakOf(samples: readonly Sample[], chart: Chart): number {
  const lines = chart.series.filter((series) => !series.stacked);
  const stack = chart.series.filter((series) => series.stacked);
  return samples.reduce((peak, sample) => {
    const sum = stack.reduce((height, series) => height + (series.value(sample) ?? 0), 0);
    return Math.max(peak, sum, ...lines.map((series) => series.value(sample) ?? 0));
  }, 0);
}

/** What the legend says: at the cursor, or else the newest that there is. */
export function valueAt(samples: readonly Sample[], series: Series, index: number | null): number | null {
  if (index !== null) {
    const sample = samples[index];
    return sample ? series.value(sample) : null;
  }
  const last = samples.findLast((sample) => series.value(sample) !== null);
  return last ? series.value(last) : null;
}
