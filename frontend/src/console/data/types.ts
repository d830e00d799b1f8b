/** What the admin's part of the API answers. Times are Unix seconds, unless a name ends in Ms. */

import type { Marks, Session } from "../../lib/types";

export interface Part {
  ok: boolean;
  detail: string;
}

export interface Health {
  status: "healthy" | "degraded" | "unhealthy";
  reason: string | null;
  parts: Record<string, Part>;
}

/** As many agents as wait, and as should. */
export interface PoolSize {
  target: number;
  /** As set by a resize; arrivals raise the target above it. */
  floor: number;
  /** Why the target is what it is, in words. */
  reason: string;
  ready: number;
  starting: number;
  converged: boolean;
  max: number;
}

/** The pool of one kind of agent. */
export interface AgentPool extends PoolSize {
  agent: string;
}

/** All kinds together, and each by itself. */
export interface Pool extends PoolSize {
  waiting: number;
  agents?: AgentPool[];
}

export interface SessionCounts {
  ready: number;
  starting: number;
  active: number;
  pool: number;
  total: number;
}

export interface Capacity {
  current: number;
  max: number;
  available: number;
}

export interface Host {
  host: string;
  alive: boolean;
  draining: boolean;
  heartbeatAgeS: number;
  startedAt: number | null;
  agents: number;
  warm: number;
  /** Agents that it can have, as it measured, and what limits that; null from a host that does not say. */
  capacity: number;
  capacityLimit?: string | null;
  capacityReason?: string | null;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  agentPrivateBytes: number;
  zygote: string;
  /** The same of each kind of agent. */
  zygotes?: Record<string, string>;
  version: string;
  /** The machine's one-minute load average, where the host reports it. */
  load?: number | null;
}

export interface Waiting {
  sessionId: string;
  userId: string | null;
  position: number;
  waitingS: number;
}

/** Everything but the health is null while Redis is away. */
export interface Overview {
  at: number;
  health: Health;
  pool: Pool | null;
  sessions: SessionCounts | null;
  capacity: Capacity | null;
  stats: { totalSpawned: number; totalAssigned: number } | null;
  hosts: Host[] | null;
  queue: Waiting[] | null;
  version: string;
}

export interface Sample {
  at: number;
  ready: number;
  target: number;
  starting: number;
  active: number;
  waiting: number;
  warmHitRate: number | null;
  startP50Ms: number | null;
  startP95Ms: number | null;
  spawnP50Ms: number | null;
  refillLagMs: number | null;
}

export interface History {
  everyS: number;
  samples: Sample[];
}

export interface SessionsChanged {
  ids: string[];
  /** More changed than are named. */
  more: boolean;
}

export interface SessionsPage {
  sessions: Session[];
  cursor: string | null;
}

export interface LifeEvent {
  name: string;
  at: number;
}

export interface LifeTurn {
  role: "user" | "assistant";
  at: number;
  latencyMs: number | null;
  interrupted: boolean;
  characters: number;
}

export interface Life {
  events: LifeEvent[];
  turns: LifeTurn[];
  click: { marks: Marks } | Marks | null;
  endReason: string | null;
  error: string | null;
}

export type LogLine = Record<string, unknown>;
