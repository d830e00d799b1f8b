import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiClient } from "../../lib/api";
import { AdminApi } from "../data/admin";
import { answering, SESSION } from "../testing";
import { filtered, FIRST, loss, refreshAfterMs, turnedBack, turnedOn, withFailure, withPage } from "./list";
import { SessionList } from "./list-store";

const page = (cursor: string | null, ...ids: string[]) => ({
  sessions: ids.map((sessionId) => ({ ...SESSION, sessionId })),
  cursor,
});
const loaded = withPage(FIRST, page("c1", "prewarm_a", "prewarm_b"));

test("pages: on by the cursor, back to where one was, a filter starts anew", () => {
  const second = withPage(turnedOn(loaded), page(null, "prewarm_c"));
  expect(second.cursors).toEqual([null, "c1"]);
  expect(turnedOn(second)).toBe(second);
  expect(turnedBack(second).cursors).toEqual([null]);
  expect(turnedBack(loaded)).toBe(loaded);
  expect(filtered(second, { status: "ended" })).toMatchObject({ cursors: [null], status: "ended", loading: true });
});

test("rows that did not change are the same objects", () => {
  const again = withPage(loaded, page("c1", "prewarm_b", "prewarm_a"));
  expect(again.rows[1]).toBe(loaded.rows[0]);
});

test("rows of an earlier question do not stand under a question that failed", () => {
  expect(withFailure(turnedOn(loaded), "No.").rows).toEqual([]);
  expect(withFailure(loaded, "No.").rows).toBe(loaded.rows);
});

test.each([
  ["one that is shown", loaded, { ids: ["prewarm_a"], more: false }, 1_000],
  ["more than are named", loaded, { ids: [], more: true }, 1_000],
  ["a new one, on the first page", loaded, { ids: ["x"], more: false }, 1_000],
  ["another one, on a later page", turnedOn(loaded), { ids: ["x"], more: false }, 5_000],
  ["one that the filter leaves out", { ...loaded, q: "session_1" }, { ids: ["session_2"], more: false }, null],
  ["one that the filter may take in", { ...loaded, q: "user_1" }, { ids: ["session_2"], more: false }, 1_000],
  ["none", loaded, { ids: [], more: false }, null],
])("a change of %s", (_, state, changed, expected) => expect(refreshAfterMs(state, changed)).toBe(expected));

test.each([
  ["active", "u", 5, "call"],
  ["ready", "u", 5, "call"],
  ["ready", null, null, null],
  ["starting", "u", null, "place"],
  ["starting", null, null, null],
  ["ended", "u", 5, null],
] as const)("ending a session that is %s of %s loses a %s", (status, userId, assignedAt, expected) => {
  expect(loss({ ...SESSION, status, userId, assignedAt })).toBe(expected);
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function scene(answer: () => unknown = () => page("c1", "prewarm_a")) {
  const { asked, fetch } = answering({ "GET /api/sessions": answer });
  const list = new SessionList(new AdminApi(new ApiClient({ fetch }), vi.fn()));
  list.again();
  return { list, asked };
}

test("many changes cause one look a second", async () => {
  const { list, asked } = scene();
  await vi.advanceTimersByTimeAsync(0);
  for (let i = 0; i < 50; i++) {
    list.changed({ ids: ["prewarm_a"], more: false });
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(asked.length).toBeLessThanOrEqual(6);
  expect(asked.length).toBeGreaterThanOrEqual(5);
});

test("no change, no look", async () => {
  const { asked } = scene();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toHaveLength(1);
});

test("typing asks when it pauses, for what was typed last", async () => {
  const { list, asked } = scene();
  await vi.advanceTimersByTimeAsync(0);
  for (const q of ["u", "us", " user "]) {
    list.byWords(q);
    await vi.advanceTimersByTimeAsync(50);
  }
  await vi.advanceTimersByTimeAsync(300);
  expect(asked.slice(1)).toEqual(["GET /api/sessions?limit=50&q=user"]);
});

test("a failure is said, and it looks again", async () => {
  let away = true;
  const { list } = scene(() =>
    away
      ? Response.json({ code: "store_unavailable", detail: "The store is away." }, { status: 503 })
      : page(null, "a"),
  );
  await vi.advanceTimersByTimeAsync(0);
  expect(list.get().problem).toBe("The store is away.");
  away = false;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(list.get()).toMatchObject({ problem: null, rows: [{ sessionId: "a" }] });
});

test("a question that is refused is not asked again by itself", async () => {
  const { list, asked } = scene(() => Response.json({ code: "invalid", detail: "Too long." }, { status: 422 }));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(list.get().problem).toBe("Too long.");
  expect(asked).toHaveLength(1);
});

test("an answer to an earlier question is left out", async () => {
  const answers = [page(null, "late"), page(null, "right")];
  const { list } = scene(() => answers.shift());
  list.byStatus("active");
  await vi.advanceTimersByTimeAsync(0);
  expect(list.get().rows.map((row) => row.sessionId)).toEqual(["right"]);
});
