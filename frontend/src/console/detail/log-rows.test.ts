import { expect, test } from "vitest";

import { followed, matching, rowOf, ROWS_KEPT } from "./log-rows";

const line = (i: number) => ({ at: i, level: "info", message: `line ${i}` });
const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => line(from + i));

test("the tail is joined on, and known rows stay the same objects", () => {
  const first = followed([], lines(0, 5));
  const second = followed(first, lines(2, 8));
  expect(second.map((row) => row.message)).toEqual(lines(0, 8).map((each) => each.message));
  expect(second[4]).toBe(first[4]);
  expect(new Set(second.map((row) => row.key)).size).toBe(8);
  expect(followed(second, lines(2, 8))).toBe(second);
});

test("equal lines are told apart by what stands before them", () => {
  const same = { message: "again" };
  const first = followed([], [line(1), same]);
  expect(followed(first, [line(1), same, same])).toHaveLength(3);
  expect(followed(first, [line(1), same])).toBe(first);
});

test("a tail that does not join on comes after", () => {
  expect(followed(followed([], lines(0, 3)), lines(10, 12))).toHaveLength(5);
  expect(followed(followed([], lines(0, 3)), [])).toHaveLength(3);
});

test("no more than so many are kept", () => {
  const rows = followed(followed([], lines(0, ROWS_KEPT)), lines(ROWS_KEPT - 1, ROWS_KEPT + 9));
  expect(rows).toHaveLength(ROWS_KEPT);
  expect(rows.at(-1)?.message).toBe(`line ${ROWS_KEPT + 8}`);
});

test.each([
  [{ level: "WARNING", message: "m" }, "warning", "WARNING"],
  [{ level: "critical", message: "m" }, "error", "critical"],
  [{ stream: "stderr", message: "m" }, "warning", "stderr"],
  [{ stream: "native", message: "m" }, "plain", "native"],
  [{ level: 30, text: "m" }, "plain", "30"],
])("%j", (given, level, source) => expect(rowOf(given, 0, "")).toMatchObject({ level, source, message: "m" }));

test("the rest of a line is shown by name", () => {
  const row = rowOf(
    { at: 1, level: "info", logger: "agent", message: "m", turn: 3, who: { a: 1 }, exception: "Trace" },
    0,
    "",
  );
  expect(row.extra).toBe('logger=agent  turn=3  who={"a":1}');
  expect(row.exception).toBe("Trace");
});

test("the filter: words anywhere, and troubles only", () => {
  const rows = followed([], [line(1), { level: "error", message: "Broken", why: "Timeout" }]);
  expect(matching(rows, { words: "", troubleOnly: false })).toBe(rows);
  expect(matching(rows, { words: "timeout", troubleOnly: false })).toHaveLength(1);
  expect(matching(rows, { words: "line", troubleOnly: true })).toHaveLength(0);
});
