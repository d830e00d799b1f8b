/** The ways a step can end: as the facts say, over, failed, or tried again in a while. */

import { type Action, type CallState, type Failure, INITIAL, type Step } from "./states";

export const TRIES_AT_MOST = 6;
/** A restart of the server, a train in a tunnel: a call that may live is worth waiting for as long as that. */
export const PATIENCE_MS = 45_000;
const BACKOFF_MS = 400;
const BACKOFF_AT_MOST_MS = 8_000;

export interface Moment {
  nowMs: number;
  /** From 0 up to 1, for the jitter: all browsers come back at once otherwise. */
  random: number;
}

export function stay(state: CallState): Step {
  return [state, []];
}

/** What the facts say the phase is. */
export function settled(state: CallState, actions: readonly Action[] = []): Step {
  return [withPhase(state), actions];
}

function withPhase(state: CallState): CallState {
  // these two end by what the session says, not by what the room says
  if (state.phase === "queued" || state.phase === "resuming") return state;
  if (!state.inRoom) return { ...state, phase: state.wasLive ? "reconnecting" : "joining" };
  if (!state.served) return { ...state, phase: "joining" };
  if (state.phase === "replacing" && !state.agentHere) return state;
  return { ...state, phase: "live", wasLive: true };
}

export const LEAVING: readonly Action[] = [
  { do: "report" },
  { do: "stopTimer", timer: "retry" },
  { do: "stopTimer", timer: "agent" },
  { do: "leave" },
  { do: "forget" },
];

export function over(state: CallState): Step {
  const next: CallState = { ...INITIAL, phase: state.phase, endReason: state.endReason };
  return [next, [...LEAVING, { do: "closeMicrophone" }]];
}

/** A session that may still live is kept in mind: "Try again" goes back to it. */
export function failed(state: CallState, failure: Failure): Step {
  const next: CallState = {
    ...INITIAL,
    phase: "failed",
    failure,
    sessionId: state.sessionId,
    restarts: state.restarts,
  };
  const leaving = state.sessionId ? LEAVING.filter((action) => action.do !== "forget") : LEAVING;
  return [next, [...leaving, { do: "closeMicrophone" }]];
}

export function tryAgain(state: CallState, failure: Failure, moment: Moment): Step {
  const attempt = state.attempt + 1;
  const failingSinceMs = state.failingSinceMs ?? moment.nowMs;
  const patient = state.sessionId !== null && isWithoutAnswer(failure);
  const enough = patient ? moment.nowMs - failingSinceMs >= PATIENCE_MS : attempt >= TRIES_AT_MOST;
  if (failure.final || enough) return failed(state, failure);
  const ms = delayMs(attempt, failure, moment);
  const next: CallState = { ...state, attempt, failingSinceMs, failure, retryAtMs: moment.nowMs + ms };
  return settled(next, [{ do: "after", timer: "retry", ms }]);
}

/** Nobody said anything about the call itself: it may be as well as before. */
function isWithoutAnswer({ code }: Failure): boolean {
  return /^(unreachable|timeout|livekit_unreachable|http_50[234]|.+_unavailable)$/.test(code);
}

/** It is time, or there is a reason to hope: the network is back. LiveKit's own tries are overtaken by a new join. */
export function retry(state: CallState): Step {
  if (state.phase === "holding") return [{ ...state, phase: "starting" }, [{ do: "start", anew: false }]];
  const { sessionId } = state;
  const waits = state.retryAtMs !== null || state.phase === "reconnecting";
  if (sessionId === null || state.inRoom || !waits) return stay(state);
  const next: CallState = { ...state, retryAtMs: null };
  if (state.phase === "resuming") return [next, [{ do: "look", sessionId }]];
  return state.phase === "queued" ? stay(state) : [next, [{ do: "fetchToken", sessionId }]];
}

export function delayMs(attempt: number, failure: Failure, { random }: Moment): number {
  if (failure.retryAfterS !== null) return failure.retryAfterS * 1000 + Math.round(random * 500);
  return Math.round(Math.min(BACKOFF_AT_MOST_MS, BACKOFF_MS * 2 ** (attempt - 1)) * (0.5 + random / 2));
}

/** A session's error as its two parts: "code: words". */
export function explained(error: string | null): [code: string, words: string] {
  const colon = error?.indexOf(": ") ?? -1;
  if (error === null || colon < 0) return ["agent_failed", error ?? ""];
  return [error.slice(0, colon), error.slice(colon + 2)];
}
