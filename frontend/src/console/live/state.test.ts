import { expect, test } from "vitest";

import { Problem } from "../../lib/api";
import { OVERVIEW, sample } from "../testing";
import {
  connectionOf,
  merged,
  NOTHING_YET,
  serverNow,
  withHistory,
  withOverview,
  withSample,
  withStatus,
} from "./state";

const live = withOverview(NOTHING_YET, OVERVIEW, 10_000);

test("live while events come, stale after 5 s of none, live again by the next", () => {
  expect(connectionOf(NOTHING_YET, 0)).toBe("connecting");
  expect(connectionOf(live, 15_000)).toBe("live");
  expect(connectionOf(live, 15_001)).toBe("stale");
  expect(connectionOf(withSample(live, sample(1_105), 15_100), 15_200)).toBe("live");
});

test("lost from the break until something comes, not only until a connection is there", () => {
  const lost = withStatus(live, "lost", new Problem("unreachable", "The server cannot be reached."));
  expect(connectionOf(lost, 10_100)).toBe("lost");
  expect(lost.problem?.detail).toContain("reached");
  const connecting = withStatus(withStatus(lost, "connecting"), "open");
  expect(connectionOf(connecting, 10_200)).toBe("lost");
  const again = withOverview(connecting, OVERVIEW, 10_300);
  expect(connectionOf(again, 10_400)).toBe("live");
  expect(again.problem).toBeNull();
});

test("an equal overview is not a new one, but was heard", () => {
  const again = withOverview(live, structuredClone(OVERVIEW), 12_000);
  expect(again.overview).toBe(live.overview);
  expect(again.heardAtMs).toBe(12_000);
});

test("the server's time goes on between events, but not for long", () => {
  expect(serverNow(NOTHING_YET, 5)).toBeNull();
  expect(serverNow(live, 11_500)).toBe(1_101.5);
  expect(serverNow(live, 99_000)).toBe(1_105);
});

test("samples: in order, each once, of the last hour", () => {
  const known = [sample(100), sample(105, { ready: 1 })];
  const all = merged(known, [sample(105, { ready: 9 }), sample(95), sample(3_698)]);
  expect(all.map((s) => s.at)).toEqual([100, 105, 3_698]);
  expect(all[1]?.ready).toBe(9);
});

test("history fills in what live samples have not", () => {
  const state = withHistory(withSample(NOTHING_YET, sample(110), 0), [sample(100), sample(105)], 5);
  expect(state.samples.map((s) => s.at)).toEqual([100, 105, 110]);
});
