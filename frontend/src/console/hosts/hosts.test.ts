import { expect, test } from "vitest";

import { HOST } from "../testing";
import { heartbeat, hostsSummary, inUse, memoryUsed, ordered, stateOf, zygoteOf } from "./hosts";

const host = (name: string, part = {}) => ({ ...HOST, host: name, ...part });

test("what is lost is lost, also while draining", () => {
  expect(stateOf(host("a", { alive: false, draining: true }))).toBe("lost");
  expect(stateOf(host("a", { draining: true }))).toBe("draining");
});

test("what wants to be looked at comes first, then by name as people count", () => {
  const hosts = [
    host("h-10"),
    host("h-2"),
    host("h-3", { draining: true }),
    host("h-4", { alive: false }),
    host("h-5", { zygote: "failed: no module" }),
  ];
  expect(ordered(hosts).map((each) => each.host)).toEqual(["h-4", "h-5", "h-3", "h-2", "h-10"]);
  expect(hostsSummary(hosts)).toBe("3 alive, 1 draining, 1 lost");
});

test("a zygote's state and its reason", () => {
  expect(zygoteOf(host("a", { zygote: "failed: no module: x" }))).toEqual({
    word: "failed",
    why: "no module: x",
    tone: "bad",
  });
  expect(zygoteOf(host("a", { zygote: "starting" })).tone).toBe("warn");
  expect(zygoteOf(host("a", { zygote: "" })).word).toBe("unknown");
});

test("of several kinds the zygote that is not well is named", () => {
  const of = (zygotes: Record<string, string>) => zygoteOf(host("a", { zygote: "something failed", zygotes }));
  expect(of({ default: "starting", support: "failed: no module" })).toEqual({
    word: "support failed",
    why: "no module",
    tone: "bad",
  });
  expect(of({ default: "starting", support: "ready" }).word).toBe("default starting");
  expect(zygoteOf(host("a", { zygotes: { default: "ready", support: "ready" } })).tone).toBe("good");
  expect(zygoteOf(host("a", { zygote: "failed: x", zygotes: { default: "failed: x" } })).word).toBe("failed");
});

test("figures", () => {
  expect(inUse(HOST)).toBe(2);
  expect(memoryUsed(HOST)).toEqual({ bytes: 600, share: 0.6 });
  expect(memoryUsed(host("a", { memoryTotalBytes: 0, memoryAvailableBytes: 0 })).share).toBe(0);
  expect([heartbeat(0.04), heartbeat(94)]).toEqual(["0.0 s", "1 min 34 s"]);
});
