/** A resize from the click until the pool is there. No I/O and no clock. */

import type { AgentPool, Pool, PoolSize } from "../data/types";

/** `agent` is the kind whose pool it is, where there are several. */
export type ResizeState =
  | { step: "idle" }
  | { step: "sending"; size: number; askedAtMs: number; agent?: string | undefined }
  | { step: "moving"; size: number; previous: number; askedAtMs: number; agent?: string | undefined }
  | { step: "done"; size: number; previous: number; tookMs: number; agent?: string | undefined }
  | { step: "failed"; detail: string };

export const IDLE: ResizeState = { step: "idle" };

/** Each kind of agent, where there are several: one alone is the whole pool. */
export function kindsOf(pool: Pool): AgentPool[] {
  return pool.agents && pool.agents.length > 1 ? pool.agents : [];
}

/** The pool of one kind; all of it where no kind is named, or it is no more. */
export function poolOf(pool: Pool, agent: string | undefined): PoolSize {
  return kindsOf(pool).find((each) => each.agent === agent) ?? pool;
}

/** A look at the pool: is it there? A look from before the floor was moved does not count. */
export function withPool(state: ResizeState, pool: Pool, nowMs: number): ResizeState {
  if (state.step !== "moving") return state;
  const { floor, converged } = poolOf(pool, state.agent);
  if (floor !== state.size || !converged) return state;
  const { size, previous, agent } = state;
  return { step: "done", size, previous, agent, tookMs: nowMs - state.askedAtMs };
}

/** How far, 0 to 1: from as many as waited before, to as many as shall. */
export function progressOf(state: ResizeState, pool: PoolSize): number {
  if (state.step !== "moving") return state.step === "done" ? 1 : 0;
  const way = Math.abs(state.size - state.previous);
  if (way === 0) return 0;
  // The arrivals may need more than the size that was asked for: then that is where the pool goes.
  const end = pool.floor === state.size ? pool.target : state.size;
  return Math.min(1, Math.max(0, 1 - Math.abs(end - pool.ready) / way));
}

/** The size that was typed, or why it is none. */
export function sizeOf(typed: string, max: number, ofAll = true): { size: number } | { error: string } {
  if (!/^\d+$/.test(typed.trim())) return { error: "Enter a whole number." };
  const size = Number(typed);
  return size > max ? { error: `At most ${max}${ofAll ? " (MAX_BOTS)" : ""}.` } : { size };
}
