/** From the click to the first sound: each mark once, in ms after the click. Pure. */

import { type Mark, MARKS, type Marks } from "../lib/types";

export interface Timeline {
  clickAt: number;
  marks: Marks;
}

export function clickedAt(nowMs: number): Timeline {
  return { clickAt: nowMs, marks: { click: 0 } };
}

/** The first time counts, and no mark is before an earlier one: they are parts of one way. */
export function marked(timeline: Timeline, mark: Mark, nowMs: number): Timeline {
  if (timeline.marks[mark] !== undefined) return timeline;
  const earlier = MARKS.slice(0, MARKS.indexOf(mark)).map((name) => timeline.marks[name] ?? 0);
  const ms = Math.max(...earlier, round(nowMs - timeline.clickAt));
  return { ...timeline, marks: { ...timeline.marks, [mark]: ms } };
}

export function isComplete(timeline: Timeline): boolean {
  return timeline.marks.firstSound !== undefined;
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
