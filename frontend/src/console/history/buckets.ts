/** The hour as a table: a row for each five minutes. */

import type { Sample } from "../data/types";
import { CHARTS, type Series } from "./series";

export const BUCKET_S = 300;

export interface Bucket {
  at: number;
  /** Means of what was measured, in the order of `COLUMNS`. */
  values: (number | null)[];
}

export interface Column {
  name: string;
  format: (value: number) => string;
  series: Series;
}

export const COLUMNS: readonly Column[] = CHARTS.flatMap((chart) =>
  chart.series.map((series) => ({
    name: chart.id === "start" ? `Start ${series.name}` : series.name,
    format: chart.id === "agents" ? (value: number) => String(Math.round(value * 10) / 10) : chart.format,
    series,
  })),
);

/** The newest first. */
export function bucketsOf(samples: readonly Sample[]): Bucket[] {
  const groups = new Map<number, Sample[]>();
  for (const sample of samples) {
    const at = Math.floor(sample.at / BUCKET_S) * BUCKET_S;
    groups.set(at, [...(groups.get(at) ?? []), sample]);
  }
  return [...groups]
    .sort(([a], [b]) => b - a)
    .map(([at, group]) => ({ at, values: COLUMNS.map((column) => mean(group.map(column.series.value))) }));
}

function mean(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
