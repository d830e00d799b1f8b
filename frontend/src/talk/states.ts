/** The words of the call's machine: the phases it can be in, what can happen to it, and what it asks to be done. */

import type { Join, Session, StartAnswer } from "../lib/types";

export const PHASES = [
  "idle", // nothing asked for yet
  "starting", // asked for a session, no answer yet
  "holding", // refused for now; asks again by itself at `retryAtMs`
  "queued", // has a session, waits for its agent
  "resuming", // came back to a session it had before, and asks what became of it
  "joining", // on the way into the room, or the server has not seen us there yet
  "live", // the server has seen us in the room
  "reconnecting", // was live, lost the room
  "replacing", // in the room, and the agent is gone
  "ended", // over, as it should be
  "failed", // cannot go on by itself
] as const;
export type Phase = (typeof PHASES)[number];

export const AGENT_STATES = ["initializing", "listening", "thinking", "speaking"] as const;
export type AgentState = (typeof AGENT_STATES)[number];

/** Why something did not work: a code of the API, or one of the page's own (see `words.ts`). */
export interface Failure {
  code: string;
  detail: string;
  retryAfterS: number | null;
  /** Asking again with the same words makes no sense. */
  final: boolean;
}

/** `moved`: the same user joined elsewhere. `closed`: the server closed the room, or put us out of it. */
export type LostReason = "moved" | "closed" | "network";

export interface CallState {
  phase: Phase;
  sessionId: string | null;
  /** The server has seen us in the room: only then is it "connected". */
  served: boolean;
  inRoom: boolean;
  wasLive: boolean;
  agentHere: boolean;
  agentState: AgentState | null;
  queue: { position: number | null; estimatedWaitMs: number | null } | null;
  /** Tries that failed since the last that did not. */
  attempt: number;
  /** When the first of them failed. */
  failingSinceMs: number | null;
  /** Sessions started in the place of one that failed. */
  restarts: number;
  /** Agents of this session that were replaced, as last seen. */
  replacements: number | null;
  retryAtMs: number | null;
  failure: Failure | null;
  endReason: string | null;
  /** What was mended lately, to be told. */
  mended: "replaced" | "restarted" | null;
}

export type CallEvent =
  | { type: "click" }
  | { type: "end" }
  | { type: "resume"; sessionId: string }
  | { type: "started"; answer: StartAnswer }
  | { type: "startFailed"; failure: Failure }
  | { type: "session"; session: Session }
  | { type: "sessionLost"; failure: Failure }
  | { type: "token"; join: Join }
  | { type: "tokenFailed"; failure: Failure }
  | { type: "joined" }
  | { type: "joinFailed"; failure: Failure }
  | { type: "roomReconnecting" }
  | { type: "roomReconnected" }
  | { type: "roomLost"; reason: LostReason }
  | { type: "agentJoined" }
  | { type: "agentLeft" }
  | { type: "agentState"; state: AgentState }
  | { type: "retryDue" }
  | { type: "agentDue" };

export type Action =
  | { do: "openMicrophone" }
  /** `anew` takes a new idempotency key: another session is wanted, not the same answer again. */
  | { do: "start"; anew: boolean }
  | { do: "look"; sessionId: string }
  | { do: "watch"; sessionId: string }
  | { do: "remember"; sessionId: string }
  | { do: "forget" }
  | { do: "fetchToken"; sessionId: string }
  | { do: "join"; join: Join }
  | { do: "loadTurns"; sessionId: string }
  | { do: "endSession"; sessionId: string }
  /** Out of the room, and no longer watching the session. */
  | { do: "leave" }
  | { do: "closeMicrophone" }
  | { do: "divide" }
  | { do: "report" }
  | { do: "after"; timer: Timer; ms: number }
  | { do: "stopTimer"; timer: Timer };

export type Timer = "retry" | "agent";

export type Step = readonly [CallState, readonly Action[]];

export const INITIAL: CallState = {
  phase: "idle",
  sessionId: null,
  served: false,
  inRoom: false,
  wasLive: false,
  agentHere: false,
  agentState: null,
  queue: null,
  attempt: 0,
  failingSinceMs: null,
  restarts: 0,
  replacements: null,
  retryAtMs: null,
  failure: null,
  endReason: null,
  mended: null,
};
