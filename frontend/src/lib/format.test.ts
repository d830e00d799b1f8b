import { describe, expect, it } from "vitest";

import { ago, bytes, clock, count, duration, milliseconds, percent, stopwatch } from "./format";

describe("numbers as people read them", () => {
  it.each([
    [0.04, "40 ms"],
    [3.24, "3.2 s"],
    [9, "9 s"],
    [59.4, "59 s"],
    [90, "1 min 30 s"],
    [120, "2 min"],
    [7_320, "2 h 2 min"],
  ])("duration %s is %s", (seconds, words) => expect(duration(seconds)).toBe(words));

  it.each([
    [999.4, "999 ms"],
    [1_240, "1.2 s"],
  ])("milliseconds %s are %s", (ms, words) => expect(milliseconds(ms)).toBe(words));

  it.each([
    [0, "0 B"],
    [1_023, "1023 B"],
    [1_536, "1.5 KiB"],
    [25 * 1024 ** 3, "25 GiB"],
    [5 * 1024 ** 5, "5120 TiB"],
  ])("%s bytes are %s", (number, words) => expect(bytes(number)).toBe(words));

  it("others", () => {
    expect(ago(0.4)).toBe("just now");
    expect(ago(12.9)).toBe("12 s ago");
    expect(percent(0.987)).toBe("99 %");
    expect([count(1, "agent"), count(2, "agent"), count(2, "entry", "entries")]).toEqual([
      "1 agent",
      "2 agents",
      "2 entries",
    ]);
    expect([stopwatch(187.9), stopwatch(-1)]).toEqual(["3:07", "0:00"]);
    expect(clock(0, "en-GB")).toMatch(/^\d\d:00:00$/);
  });
});
