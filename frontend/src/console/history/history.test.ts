import { expect, test } from "vitest";

import { sample } from "../testing";
import { bucketsOf, COLUMNS } from "./buckets";
import { moved } from "./cursor";
import { bandPath, dotPath, linePath, runs } from "./path";
import { nearest, niceMax, type Scale, timeTicks, xOf, yOf } from "./scale";
import { AGENTS, bandsOf, peakOf, SMALL, valueAt } from "./series";
import { spoken, summary } from "./words";

const SCALE: Scale = { fromS: 0, toS: 100, max: 10 };
const points = (...values: (number | null)[]) => values.map((value, i) => ({ at: i * 5, value }));

test.each([
  [0, 1],
  [1, 1],
  [7, 8],
  [41, 50],
  [51, 60],
  [320, 400],
  [0.2, 0.2],
  [NaN, 1],
])("the axis for %d ends at %d", (peak, max) => expect(niceMax(peak)).toBeCloseTo(max));

test("places: left to right, bottom to top, never above the plot", () => {
  expect([xOf(SCALE, 0), xOf(SCALE, 50), xOf(SCALE, 100)]).toEqual([0, 500, 1_000]);
  expect([yOf(SCALE, 0), yOf(SCALE, 5), yOf(SCALE, 99)]).toEqual([100, 50, 0]);
});

test("labels stand at full quarters of an hour", () => {
  expect(timeTicks({ fromS: 1_000, toS: 4_600, max: 1 })).toEqual([1_800, 2_700, 3_600, 4_500]);
});

test("the sample nearest to the pointer", () => {
  const samples = [{ at: 0 }, { at: 40 }, { at: 100 }];
  expect(nearest(samples, SCALE, 0.45)).toBe(1);
  expect(nearest(samples, SCALE, 5)).toBe(2);
  expect(nearest([], SCALE, 0)).toBe(-1);
});

test("a line breaks where samples are missing", () => {
  const found = runs([...points(1, 2), { at: 50, value: 3 }], 5);
  expect(found.map((run) => run.map((p) => p.value))).toEqual([[1, 2], [3]]);
});

test("a line goes on over a quiet while, not over a quiet long while", () => {
  expect(runs(points(1, null, 2), 5)).toHaveLength(1);
  const quiet = Array.from({ length: 14 }, () => null);
  expect(runs(points(1, ...quiet, 2), 5)).toHaveLength(2);
});

test("paths: a line, a dot for a lone point, a closed band", () => {
  expect(linePath(points(0, 10), SCALE, 5)).toBe("M0,100L50,0");
  expect(linePath(points(5), SCALE, 5)).toBe("");
  expect(dotPath(points(5), SCALE, 5)).toBe("M0,50h0");
  expect(dotPath(points(0, 10), SCALE, 5)).toBe("");
  expect(linePath(points(null), SCALE, 5)).toBe("");
  const band = [
    { at: 0, base: 0, value: 5 },
    { at: 5, base: 5, value: 10 },
  ];
  expect(bandPath(band, SCALE, 5)).toBe("M0,50L50,0L50,50L0,100Z");
});

test("bands stand on each other, and the axis reaches over them", () => {
  const samples = [sample(0, { ready: 3, starting: 1, active: 2, target: 3 })];
  expect(bandsOf(samples, AGENTS).map(([band]) => [band?.base, band?.value])).toEqual([
    [0, 3],
    [3, 4],
    [4, 6],
  ]);
  expect(peakOf(samples, AGENTS)).toBe(6);
  expect(peakOf([sample(0, { target: 40 })], AGENTS)).toBe(40);
});

test("the legend: at the cursor, or the newest that was measured", () => {
  const warm = SMALL[2]?.series[0];
  if (!warm) throw new Error("no warm-hit rate");
  const samples = [sample(0, { warmHitRate: 0.5 }), sample(5)];
  expect(valueAt(samples, warm, 1)).toBeNull();
  expect(valueAt(samples, warm, null)).toBe(0.5);
  expect(valueAt(samples, warm, 7)).toBeNull();
});

test("keys move the cursor, and do not leave the hour", () => {
  const samples = [{ at: 0 }, { at: 5 }, { at: 10 }];
  expect(moved("ArrowLeft", null, samples)).toBe(5);
  expect(moved("ArrowRight", 2, samples)).toBe(10);
  expect(moved("PageDown", 2, samples)).toBe(0);
  expect(moved("Home", 2, samples)).toBe(0);
  expect(moved("Escape", 2, samples)).toBeNull();
  expect(moved("Escape", null, samples)).toBeUndefined();
  expect(moved("Tab", 2, samples)).toBeUndefined();
});

test("the table: means of five minutes, the newest first", () => {
  const rows = bucketsOf([sample(0, { ready: 2 }), sample(5, { ready: 4 }), sample(300, { ready: 9, startP50Ms: 4 })]);
  const ready = COLUMNS.findIndex((column) => column.name === "Ready");
  const p50 = COLUMNS.findIndex((column) => column.name === "Start p50");
  expect(rows.map((row) => [row.at, row.values[ready], row.values[p50]])).toEqual([
    [300, 9, 4],
    [0, 3, null],
  ]);
});

test("in words: one moment, and the hour", () => {
  expect(spoken(sample(0, { warmHitRate: 1 }))).toMatch(/: Ready 3, Starting 0, Active 2, Target 3, Warm 100 %$/);
  expect(spoken(undefined)).toBe("");
  expect(summary([sample(0, { ready: 1 }), sample(5)])).toContain("Ready: now 3, between 1 and 3.");
});
