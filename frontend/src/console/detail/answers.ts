/** The answers' latencies of a call, as bars and as a sentence. */

import { count, milliseconds } from "../../lib/format";
import { type Mark, type Marks, MARKS } from "../../lib/types";
import type { Life, LifeTurn } from "../data/types";

export interface Bar {
  latencyMs: number;
  at: number;
  interrupted: boolean;
  /** Of the slowest, 0 to 1. */
  share: number;
}

/** The newest answers, oldest first. */
const SHOWN = 60;

export function barsOf(turns: readonly LifeTurn[]): Bar[] {
  const answers = turns.filter((turn): turn is LifeTurn & { latencyMs: number } => turn.latencyMs !== null);
  const shown = answers.slice(-SHOWN);
  const slowest = Math.max(1, ...shown.map((turn) => turn.latencyMs));
  return shown.map(({ latencyMs, at, interrupted }) => ({ latencyMs, at, interrupted, share: latencyMs / slowest }));
}

export function turnsSummary(bars: readonly Bar[]): string {
  if (bars.length === 0) return "No answer yet.";
  const sorted = bars.map((bar) => bar.latencyMs).sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
  const slowest = sorted.at(-1) ?? 0;
  const interrupted = bars.filter((bar) => bar.interrupted).length;
  const end = interrupted > 0 ? `, ${interrupted} interrupted` : "";
  return `${count(bars.length, "answer")}: median ${milliseconds(median)}, slowest ${milliseconds(slowest)}${end}.`;
}

export interface ClickStep {
  mark: Mark;
  label: string;
  /** After the click. */
  atMs: number;
  tookMs: number;
}

const STEP_WORDS: Record<Mark, string> = {
  click: "Click",
  answer: "Start answered",
  token: "Token there",
  connected: "In the room",
  agentSeen: "Agent seen",
  firstSound: "First sound",
};

/** From the click to the first sound, as far as the page got; in order of time. */
export function clickSteps(click: Life["click"]): ClickStep[] {
  const marks: Marks = click === null ? {} : "marks" in click ? click.marks : click;
  const known = MARKS.flatMap((mark) => {
    const atMs = marks[mark];
    return typeof atMs === "number" && mark !== "click" ? [{ mark, atMs }] : [];
  });
  return known
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ mark, atMs }, i) => ({ mark, label: STEP_WORDS[mark], atMs, tookMs: atMs - (known[i - 1]?.atMs ?? 0) }));
}
