/** What came over the event stream, and how far it is to be believed. No I/O and no clock. */

import type { Problem } from "../../lib/api";
import type { StreamStatus } from "../../lib/sse";
import { share } from "../data/share";
import type { Overview, Sample } from "../data/types";

export type Connection = "connecting" | "live" | "stale" | "lost";

/** An overview comes at least every 2 s. */
export const STALE_MS = 5_000;
export const WINDOW_S = 3_600;

export interface LiveState {
  overview: Overview | null;
  samples: readonly Sample[];
  /** Seconds between samples, as the server says. */
  everyS: number;
  /** When the last event came, by this machine's clock. */
  heardAtMs: number | null;
  /** The stream broke, and nothing came since. */
  broken: boolean;
  problem: Problem | null;
}

export const NOTHING_YET: LiveState = {
  overview: null,
  samples: [],
  everyS: 5,
  heardAtMs: null,
  broken: false,
  problem: null,
};

export function withOverview(state: LiveState, overview: Overview, nowMs: number): LiveState {
  return heard({ ...state, overview: share(state.overview, overview) }, nowMs);
}

export function withSample(state: LiveState, sample: Sample, nowMs: number): LiveState {
  return heard({ ...state, samples: merged(state.samples, [sample]) }, nowMs);
}

export function withHistory(state: LiveState, samples: readonly Sample[], everyS: number): LiveState {
  return { ...state, samples: merged(state.samples, samples), everyS };
}

export function heard(state: LiveState, nowMs: number): LiveState {
  return { ...state, heardAtMs: nowMs, broken: false, problem: null };
}

export function withStatus(state: LiveState, status: StreamStatus, problem?: Problem): LiveState {
  if (status !== "lost" && status !== "closed") return state;
  return { ...state, broken: true, problem: problem ?? null };
}

export function connectionOf(state: LiveState, nowMs: number): Connection {
  if (state.broken) return "lost";
  if (state.heardAtMs === null) return "connecting";
  return nowMs - state.heardAtMs > STALE_MS ? "stale" : "live";
}

/** The server's time, going on from the last event, but not on and on when no more come. */
export function serverNow(state: LiveState, nowMs: number): number | null {
  if (!state.overview || state.heardAtMs === null) return null;
  return state.overview.at + Math.min(STALE_MS, Math.max(0, nowMs - state.heardAtMs)) / 1000;
}

/** Both in order of time, each moment once, the last hour only. */
export function merged(known: readonly Sample[], more: readonly Sample[]): readonly Sample[] {
  const byTime = new Map([...known, ...more].map((sample) => [sample.at, sample]));
  const sorted = [...byTime.values()].sort((a, b) => a.at - b.at);
  const oldest = (sorted.at(-1)?.at ?? 0) - WINDOW_S;
  return sorted.filter((sample) => sample.at >= oldest);
}
