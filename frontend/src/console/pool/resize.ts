/** A resize from the click until the pool is there. No I/O and no clock. */

import type { Pool } from "../data/types";

export type ResizeState =
  | { step: "idle" }
  | { step: "sending"; size: number; askedAtMs: number }
  | { step: "moving"; size: number; previous: number; askedAtMs: number }
  | { step: "done"; size: number; previous: number; tookMs: number }
  | { step: "failed"; detail: string };

export const IDLE: ResizeState = { step: "idle" };

/** A look at the pool: is it there? A look from before the floor was moved does not count. */
export function withPool(state: ResizeState, pool: Pool, nowMs: number): ResizeState {
  if (state.step !== "moving") return state;
  if (pool.floor !== state.size) return state;
  if (!pool.converged) return state;
  return { step: "done", size: state.size, previous: state.previous, tookMs: nowMs - state.askedAtMs };
}

/** How far, 0 to 1: from as many as waited before, to as many as shall. */
export function progressOf(state: ResizeState, pool: Pool): number {
  if (state.step !== "moving") return state.step === "done" ? 1 : 0;
  const way = Math.abs(state.size - state.previous);
  if (way === 0) return 0;
  // The arrivals may need more than the size that was asked for: then that is where the pool goes.
  const end = pool.floor === state.size ? pool.target : state.size;
  return Math.min(1, Math.max(0, 1 - Math.abs(end - pool.ready) / way));
}

/** The size that was typed, or why it is none. */
export function sizeOf(typed: string, max: number): { size: number } | { error: string } {
  if (!/^\d+$/.test(typed.trim())) return { error: "Enter a whole number." };
  const size = Number(typed);
  return size > max ? { error: `At most ${max} (MAX_BOTS).` } : { size };
}
