/** The charts in words. */

import { clock } from "../../lib/format";
import type { Sample } from "../data/types";
import { CHARTS, valueAt } from "./series";

/** One moment, for the slider's value. */
export function spoken(sample: Sample | undefined): string {
  if (!sample) return "";
  const values = CHARTS.flatMap((chart) =>
    chart.series.map((series) => {
      const value = series.value(sample);
      return value === null ? "" : `${series.name} ${chart.format(value)}`;
    }),
  );
  return `${clock(sample.at)}: ${values.filter(Boolean).join(", ")}`;
}

/** The hour, for those who do not see it. */
export function summary(samples: readonly Sample[]): string {
  const parts = CHARTS.flatMap((chart) =>
    chart.series.map((series) => {
      const values = samples.map(series.value).filter((value) => value !== null);
      if (values.length === 0) return "";
      const newest = valueAt(samples, series, null) ?? 0;
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return `${series.name}: now ${chart.format(newest)}, between ${chart.format(low)} and ${chart.format(high)}.`;
    }),
  );
  return parts.filter(Boolean).join(" ");
}
