import { expect, test } from "vitest";

import type { Health } from "../data/types";
import { HOST, OVERVIEW, POOL } from "../testing";
import { adviceFor, troublesOf, warningsOf } from "./advice";

test.each([
  ["redis", "does not answer", /REDIS_URL/],
  ["livekit", "LiveKit does not answer; check LIVEKIT_URL and the server", /LIVEKIT_URL/],
  ["livekit", "LiveKit refused: invalid token", /LIVEKIT_API_SECRET/],
  ["hosts", "no host is alive", /restart host/],
  ["hosts", "no host can start agents yet (a: its zygote is failed: no module)", /mend AGENT/],
  ["beat", "the pool was not refilled yet", /30 s/],
  ["beat", "the last refill was 131 s ago; is beat running?", /restart beat/],
  ["spawns", "they have failed for 9 s, and wait: LiveKit is away (livekit_unavailable)", /LIVEKIT_URL/],
  ["spawns", "they have failed for 9 s, and wait: no module (zygote_unavailable)", /AGENT/],
  ["spawns", "they have failed for 9 s, and wait: it died (agent_died)", /greenroom logs/],
  ["something new", "is down", /greenroom doctor/],
])("%s: %s", (part, detail, advice) => {
  const trouble = adviceFor(part, detail);
  expect(trouble.advice).toMatch(advice);
  expect(trouble.detail).toBe(detail);
  expect(trouble.means).not.toBe("");
});

test("what cannot be known because of another part is not a trouble of its own", () => {
  const unknown = { ok: false, detail: "unknown while Redis is away" };
  const health: Health = {
    status: "unhealthy",
    reason: "",
    parts: {
      redis: { ok: false, detail: "does not answer" },
      hosts: unknown,
      beat: unknown,
      livekit: { ok: true, detail: "" },
    },
  };
  expect(troublesOf(health).map((trouble) => trouble.part)).toEqual(["redis"]);
});

test("a system that starts no agents for now is degraded, and says why", () => {
  const spawns = { ok: false, detail: "they have failed for 9 s, and wait: it died (agent_died)" };
  const health: Health = { status: "degraded", reason: "", parts: { redis: { ok: true, detail: "" }, spawns } };
  expect(troublesOf(health)).toEqual([adviceFor("spawns", spawns.detail)]);
});

test("no warnings when all is well", () => expect(warningsOf(OVERVIEW)).toEqual([]));

test("an empty pool, a full house, lost hosts and failed zygotes are warned of", () => {
  expect(warningsOf({ ...OVERVIEW, pool: { ...POOL, ready: 0 } })[0]).toContain("No agent is waiting");
  expect(warningsOf({ ...OVERVIEW, capacity: { current: 50, max: 50, available: 0 } })[0]).toContain("MAX_BOTS");
  const lost = Array.from({ length: 5 }, (_, i) => ({ ...HOST, host: `h${i}`, alive: false }));
  expect(warningsOf({ ...OVERVIEW, hosts: lost })[0]).toContain("h0, h1, h2 and 2 more");
  expect(warningsOf({ ...OVERVIEW, hosts: [{ ...HOST, zygote: "failed: no module" }] })[0]).toContain("cannot start");
});

test("while Redis is away nothing is warned of that nobody knows", () => {
  expect(warningsOf({ ...OVERVIEW, pool: null, sessions: null, capacity: null, hosts: null, queue: null })).toEqual([]);
});
