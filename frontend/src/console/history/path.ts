/** SVG paths of series with holes in them. */

import { type Scale, xOf, yOf } from "./scale";

export interface Point {
  at: number;
  /** null: nothing was measured. */
  value: number | null;
}

/** A gap opens when more than two samples in a row are missing. */
const MISSING = 2.5;
/** Where samples say that nothing happened (nobody started), the line goes on for so long. */
const QUIET_S = 60;

/** The points that have a value, in runs without a hole. */
export function runs<P extends Point>(points: readonly P[], everyS: number): (P & { value: number })[][] {
  const found: (P & { value: number })[][] = [];
  let sampledAt = -Infinity;
  let valuedAt = -Infinity;
  for (const point of points) {
    if (point.at - sampledAt > everyS * MISSING) valuedAt = -Infinity;
    sampledAt = point.at;
    if (!isValued(point)) continue;
    const run = point.at - valuedAt <= QUIET_S ? found.at(-1) : undefined;
    if (run) run.push(point);
    else found.push([point]);
    valuedAt = point.at;
  }
  return found;
}

function isValued<P extends Point>(point: P): point is P & { value: number } {
  return point.value !== null;
}

export function linePath(points: readonly Point[], scale: Scale, everyS: number): string {
  return runs(points, everyS)
    .filter((run) => run.length > 1)
    .map((run) => `M${run.map((p) => placed(scale, p)).join("L")}`)
    .join("");
}

/** Points that no line goes through: strokes of no length, which round caps make dots. */
export function dotPath(points: readonly Point[], scale: Scale, everyS: number): string {
  return runs(points, everyS)
    .flatMap((run) => (run.length === 1 ? run.map((p) => `M${placed(scale, p)}h0`) : []))
    .join("");
}

function placed(scale: Scale, point: { at: number; value: number }): string {
  return `${xOf(scale, point.at)},${yOf(scale, point.value)}`;
}

export interface Band extends Point {
  /** Where the band begins; its top is the value. */
  base: number;
}

export function bandPath(points: readonly Band[], scale: Scale, everyS: number): string {
  return runs(points, everyS)
    .map((run) => {
      const top = run.map((p) => placed(scale, p));
      const bottom = run.toReversed().map((p) => `${xOf(scale, p.at)},${yOf(scale, p.base)}`);
      return `M${[...top, ...bottom].join("L")}Z`;
    })
    .join("");
}
