import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiClient } from "../../lib/api";
import { AdminApi } from "../data/admin";
import { answering, POOL } from "../testing";
import { kindsOf, poolOf, progressOf, type ResizeState, sizeOf, withPool } from "./resize";
import { Resize } from "./resize-store";

const MOVING: ResizeState = { step: "moving", size: 8, previous: 3, askedAtMs: 1_000 };

test("done when the pool is where it shall be", () => {
  const there = { ...POOL, floor: 8, target: 8, ready: 8 };
  expect(withPool(MOVING, there, 1_900)).toEqual({ step: "done", size: 8, previous: 3, tookMs: 900 });
  expect(withPool(MOVING, { ...there, ready: 5, converged: false }, 1_900)).toBe(MOVING);
});

test("a look from before the floor was moved does not count", () => {
  expect(withPool(MOVING, POOL, 1_900)).toBe(MOVING);
  expect(withPool({ step: "idle" }, POOL, 0)).toEqual({ step: "idle" });
});

test("arrivals may need more than was asked for: done when all of those are there", () => {
  const raised = { ...POOL, floor: 8, target: 10 };
  expect(withPool(MOVING, { ...raised, ready: 8, converged: false }, 1_900)).toBe(MOVING);
  expect(withPool(MOVING, { ...raised, ready: 10 }, 1_900).step).toBe("done");
  expect(progressOf(MOVING, { ...raised, ready: 8 })).toBeCloseTo(0.6);
});

test("progress from where it was to where it goes, up and down", () => {
  expect(progressOf(MOVING, { ...POOL, ready: 3 })).toBe(0);
  expect(progressOf(MOVING, { ...POOL, ready: 6 })).toBeCloseTo(0.6);
  expect(progressOf({ ...MOVING, size: 0, previous: 4 }, { ...POOL, ready: 1 })).toBe(0.75);
  expect(progressOf({ ...MOVING, previous: 8 }, POOL)).toBe(0);
  expect(progressOf({ step: "done", size: 1, previous: 0, tookMs: 1 }, POOL)).toBe(1);
});

test.each([
  ["12", { size: 12 }],
  [" 0 ", { size: 0 }],
  ["51", { error: "At most 50 (MAX_BOTS)." }],
  ["-1", { error: "Enter a whole number." }],
  ["1.5", { error: "Enter a whole number." }],
  ["", { error: "Enter a whole number." }],
])("%j is %j", (typed, expected) => expect(sizeOf(typed, 50)).toEqual(expected));

const KINDS = {
  ...POOL,
  floor: 4,
  target: 4,
  ready: 3,
  converged: false,
  agents: [
    { ...POOL, agent: "default" },
    { ...POOL, agent: "support", floor: 1, target: 1, ready: 0, converged: false, max: 4 },
  ],
};

test("one kind alone is the whole pool", () => {
  expect(kindsOf(POOL)).toEqual([]);
  expect(kindsOf({ ...POOL, agents: KINDS.agents.slice(0, 1) })).toEqual([]);
  expect(kindsOf(KINDS).map(({ agent }) => agent)).toEqual(["default", "support"]);
  expect(poolOf(KINDS, "support").max).toBe(4);
  expect(poolOf(KINDS, undefined)).toBe(KINDS);
  expect(poolOf(KINDS, "gone")).toBe(KINDS);
});

test("a kind's own pool says when it is there", () => {
  const moving: ResizeState = { step: "moving", size: 3, previous: 5, askedAtMs: 1_000, agent: "default" };
  expect(withPool(moving, KINDS, 1_500)).toMatchObject({ step: "done", agent: "default", tookMs: 500 });
  const slow: ResizeState = { ...moving, size: 1, previous: 0, agent: "support" };
  expect(withPool(slow, KINDS, 1_500)).toBe(slow);
});

test("the most of a kind is not called MAX_BOTS", () => {
  expect(sizeOf("5", 4, false)).toEqual({ error: "At most 4." });
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("it looks until the pool is there, and says how long it took", async () => {
  let ready = 3;
  const { asked, fetch } = answering({
    "POST /api/pool/resize": () => ({ size: 5, previous: 3 }),
    "GET /api/pool": () => ({ ...POOL, floor: 5, target: 5, ready: ++ready, converged: ready === 5 }),
  });
  const resize = new Resize(new AdminApi(new ApiClient({ fetch }), vi.fn()));
  void resize.to(5);
  await vi.advanceTimersByTimeAsync(300);
  expect(resize.get().step).toBe("moving");
  await vi.advanceTimersByTimeAsync(5_000);
  expect(resize.get()).toEqual({ step: "done", size: 5, previous: 3, tookMs: 400 });
  expect(asked).toHaveLength(3);
});

test("a refusal is said in the server's words", async () => {
  const { fetch } = answering({
    "POST /api/pool/resize": () =>
      Response.json({ code: "invalid_request", detail: "size: at most 50" }, { status: 422 }),
  });
  const resize = new Resize(new AdminApi(new ApiClient({ fetch }), vi.fn()));
  await resize.to(99);
  expect(resize.get()).toEqual({ step: "failed", detail: "size: at most 50" });
});

test("it stops looking after a while", async () => {
  const { asked, fetch } = answering({
    "POST /api/pool/resize": () => ({ size: 5, previous: 3 }),
    "GET /api/pool": () => ({ ...POOL, floor: 5, target: 5, converged: false }),
  });
  const resize = new Resize(new AdminApi(new ApiClient({ fetch }), vi.fn()));
  void resize.to(5);
  await vi.advanceTimersByTimeAsync(60_000);
  const looks = asked.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(looks);
});

test("the kind is asked for by its name", async () => {
  const bodies: unknown[] = [];
  const { fetch } = answering({
    "POST /api/pool/resize": (_, init) => {
      bodies.push(JSON.parse(init?.body as string));
      return { size: 1, previous: 0 };
    },
    "GET /api/pool": () => KINDS,
  });
  const resize = new Resize(new AdminApi(new ApiClient({ fetch }), vi.fn()));
  await resize.to(1, "support");
  expect(bodies).toEqual([{ size: 1, agent: "support" }]);
  expect(resize.get()).toMatchObject({ step: "moving", agent: "support" });
  resize.stop();
});
