import { expect, test } from "vitest";

import { share, shareRows } from "./share";

test("equal parts stay the same objects, changed ones do not", () => {
  const before = { a: { x: 1 }, list: [{ y: 1 }, { y: 2 }], n: 1 };
  const after = share(before, { a: { x: 1 }, list: [{ y: 1 }, { y: 3 }], n: 1 });
  expect(after).toEqual({ a: { x: 1 }, list: [{ y: 1 }, { y: 3 }], n: 1 });
  expect(after.a).toBe(before.a);
  expect(after.list[0]).toBe(before.list[0]);
  expect(after.list[1]).not.toBe(before.list[1]);
});

test("all equal: the earlier value itself", () => {
  const before = { a: [1, { b: null }] };
  expect(share(before, { a: [1, { b: null }] })).toBe(before);
});

test.each([
  [{ a: 1 }, { a: 1, b: undefined }],
  [{ a: 1, b: 2 }, { a: 1 }],
  [[1], { 0: 1 }],
  [null, { a: 1 }],
  [[1, 2], [1]],
])("%j is not %j", (before, after) => {
  expect(share(before, after)).toEqual(after);
  expect(share(before, after)).not.toBe(before);
});

test("rows are found again where they moved to", () => {
  const before = [{ id: "a" }, { id: "b" }];
  const after = shareRows(before, [{ id: "c" }, { id: "a" }, { id: "b" }], (row) => row.id);
  expect(after.map((row) => row.id)).toEqual(["c", "a", "b"]);
  expect(after[1]).toBe(before[0]);
  expect(shareRows(before, [{ id: "a" }, { id: "b" }], (row) => row.id)).toBe(before);
});
