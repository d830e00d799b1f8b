/** Values that tests begin with. */

import type { Session } from "../lib/types";
import type { Host, Overview, Pool, Sample } from "./data/types";

export const SESSION: Session = {
  sessionId: "prewarm_1",
  status: "active",
  userId: "user_1",
  prewarmed: true,
  createdAt: 1_000,
  startupTime: 0.12,
  assignedAt: 1_020,
  endedAt: null,
  endReason: null,
  queuePosition: null,
  replacements: 0,
  error: null,
  host: "voice-1",
  agentPid: 42,
};

export const POOL: Pool = {
  target: 3,
  floor: 3,
  reason: "floor 3; 2.0 starts a minute need no more",
  ready: 3,
  starting: 0,
  converged: true,
  waiting: 0,
  max: 50,
};

export const HOST: Host = {
  host: "voice-1",
  alive: true,
  draining: false,
  heartbeatAgeS: 0.5,
  startedAt: 1,
  agents: 5,
  warm: 3,
  capacity: 25,
  capacityLimit: "memory",
  capacityReason: "memory: 1512 MiB available, 512 MiB in reserve, 40 MiB for an agent in a call",
  memoryTotalBytes: 1_000,
  memoryAvailableBytes: 400,
  agentPrivateBytes: 20,
  zygote: "ready",
  version: "0.2.0",
};

export const OVERVIEW: Overview = {
  at: 1_100,
  health: { status: "healthy", reason: null, parts: { redis: { ok: true, detail: "answers" } } },
  pool: POOL,
  sessions: { ready: 3, starting: 0, active: 2, pool: 3, total: 5 },
  capacity: { current: 5, max: 50, available: 45 },
  stats: { totalSpawned: 8, totalAssigned: 5 },
  hosts: [HOST],
  queue: [],
  version: "0.2.0",
};

export function sample(at: number, part: Partial<Sample> = {}): Sample {
  return {
    at,
    ready: 3,
    target: 3,
    starting: 0,
    active: 2,
    waiting: 0,
    warmHitRate: null,
    startP50Ms: null,
    startP95Ms: null,
    spawnP50Ms: null,
    refillLagMs: null,
    ...part,
  };
}

/** A fetch that answers from a table of "METHOD /path": what is missing is 404. It notes what it was asked. */
export function answering(table: Record<string, (url: URL, init?: RequestInit) => unknown>) {
  const asked: string[] = [];
  const fetch = (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const url = new URL(input instanceof Request ? input.url : input, "http://console");
    const call = `${init?.method ?? "GET"} ${url.pathname}`;
    asked.push(call + url.search);
    const answer =
      table[call]?.(url, init) ?? Response.json({ code: "not_found", detail: "Not here." }, { status: 404 });
    return Promise.resolve(answer instanceof Response ? answer : Response.json(answer));
  };
  return { asked, fetch };
}
