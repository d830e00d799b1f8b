import { expect, test } from "vitest";

import type { LifeTurn } from "../data/types";
import { barsOf, clickSteps, turnsSummary } from "./answers";
import { momentsOf, phasesOf } from "./life";
import { sessionHash, sessionOf } from "./route";

const EVENTS = [
  { name: "created", at: 0 },
  { name: "ready", at: 1 },
  { name: "assigned", at: 5 },
  { name: "token", at: 6 },
  { name: "joined", at: 7 },
];

test("moments: each with the time since the one before", () => {
  expect(momentsOf(EVENTS).map((moment) => moment.afterS)).toEqual([null, 1, 4, 1, 1]);
  expect(momentsOf([{ name: "replaced", at: 1 }])[0]).toMatchObject({ label: "replaced", tone: "neutral" });
});

test("phases: until now while it lives, neighbours of one name are one", () => {
  const phases = phasesOf(EVENTS, 17);
  expect(phases.map(({ name, lengthS }) => [name, lengthS])).toEqual([
    ["Starting", 1],
    ["Waiting", 4],
    ["Joining", 2],
    ["In the call", 10],
  ]);
  expect(phases.reduce((sum, phase) => sum + phase.share, 0)).toBeCloseTo(1);
});

test("phases stop at the end", () => {
  const phases = phasesOf([...EVENTS, { name: "ended", at: 9 }], 99);
  expect(phases.at(-1)).toMatchObject({ name: "In the call", lengthS: 2 });
  expect(phasesOf([], 5)).toEqual([]);
  expect(phasesOf([{ name: "created", at: 5 }], 5)[0]?.share).toBe(0);
});

test("what comes after the end opens no phase, nor does a token after the user has joined", () => {
  const life = [
    ...EVENTS,
    { name: "token", at: 8 },
    { name: "left", at: 10 },
    { name: "token", at: 11 },
    { name: "joined", at: 12 },
    { name: "ended", at: 15 },
    { name: "left", at: 16 },
    { name: "failed", at: 17 },
  ];
  expect(phasesOf(life, 99).map(({ name, lengthS }) => [name, lengthS])).toEqual([
    ["Starting", 1],
    ["Waiting", 4],
    ["Joining", 2],
    ["In the call", 3],
    ["User away", 2],
    ["In the call", 3],
  ]);
});

const turn = (latencyMs: number | null, interrupted = false): LifeTurn => ({
  role: latencyMs === null ? "user" : "assistant",
  at: 0,
  latencyMs,
  interrupted,
  characters: 1,
});

test("bars: answers only, of the slowest", () => {
  const bars = barsOf([turn(null), turn(200), turn(400, true)]);
  expect(bars.map((bar) => bar.share)).toEqual([0.5, 1]);
  expect(turnsSummary(bars)).toBe("2 answers: median 200 ms, slowest 400 ms, 1 interrupted.");
  expect(turnsSummary([])).toBe("No answer yet.");
  expect(barsOf(Array.from({ length: 100 }, () => turn(1)))).toHaveLength(60);
});

test("from the click: what there is, in order, and how long each took", () => {
  const marks = { click: 0, answer: 10, firstSound: 500, connected: 200 };
  const steps = clickSteps({ marks });
  expect(steps.map(({ mark, atMs, tookMs }) => [mark, atMs, tookMs])).toEqual([
    ["answer", 10, 10],
    ["connected", 200, 190],
    ["firstSound", 500, 300],
  ]);
  expect(clickSteps(marks)).toEqual(steps);
  expect(clickSteps(null)).toEqual([]);
});

test("the address names the session, and nothing else does", () => {
  expect(sessionOf(sessionHash("prewarm_1"))).toBe("prewarm_1");
  expect(sessionOf(sessionHash("a/b?<c>"))).toBe("a/b?<c>");
  for (const hash of ["", "#", "#/", "#/session/", "#/session/a/b", "#/session/%E0%A4%A"])
    expect(sessionOf(hash)).toBeNull();
});
