/**
 * The call as a machine without I/O: what happened comes in, the next state and what is to be done come out.
 *
 * The phase of a call that has a session follows from four facts (`settled`): is it in the room, has the server seen
 * it there, was it live before, is the agent there. Events change facts; nobody sets "live" by hand.
 */

import type { Session } from "../lib/types";
import {
  delayMs,
  explained,
  failed,
  LEAVING,
  type Moment,
  over,
  retry,
  settled,
  stay,
  TRIES_AT_MOST,
  tryAgain,
} from "./outcomes";
import {
  type Action,
  type AgentState,
  type CallEvent,
  type CallState,
  type Failure,
  INITIAL,
  type LostReason,
  type Phase,
  type Step,
} from "./states";

export const RESTARTS_AT_MOST = 2;
/** An agent that says goodbye leaves before its session has ended: wait for the word before calling it a crash. */
export const AGENT_GRACE_MS = 1_500;
/** After that nobody will come any more. */
export const REPLACEMENT_AT_MOST_MS = 45_000;

const IN_SESSION: ReadonlySet<Phase> = new Set(["queued", "resuming", "joining", "live", "reconnecting", "replacing"]);
const OVER: ReadonlySet<Phase> = new Set(["idle", "ended", "failed"]);

export function hasSession(phase: Phase): boolean {
  return IN_SESSION.has(phase);
}

/** The next state, and what is to be done. An event that means nothing in a phase changes nothing. */
export function step(state: CallState, event: CallEvent, moment: Moment): Step {
  switch (event.type) {
    case "click":
      return OVER.has(state.phase) ? clicked(state) : stay(state);
    case "end":
      return ended(state);
    case "resume":
      return state.phase === "idle" ? resume(event.sessionId, 0) : stay(state);
    case "started":
      return started(state, event);
    case "startFailed":
      return state.phase === "starting" ? startFailed(state, event.failure, moment) : stay(state);
    case "retryDue":
      return comesBack(state) ?? retry(state);
    default:
      return hasSession(state.phase) ? inSession(state, event, moment) : stay(state);
  }
}

type SessionEvent = Exclude<CallEvent, { type: "click" | "end" | "resume" | "started" | "startFailed" | "retryDue" }>;

function inSession(state: CallState, event: SessionEvent, moment: Moment): Step {
  switch (event.type) {
    case "session":
      return sessionSeen(state, event.session);
    case "sessionLost":
    case "tokenFailed":
      return refused(state, event.failure, moment);
    case "token":
      return state.inRoom ? stay(state) : [state, [{ do: "join", join: event.join }]];
    case "joined":
      return settled({ ...state, inRoom: true, attempt: 0, failingSinceMs: null, retryAtMs: null, failure: null }, [
        agentTimer(state),
      ]);
    case "joinFailed":
      return tryAgain({ ...state, inRoom: false }, event.failure, moment);
    case "roomReconnecting":
      return settled({ ...state, inRoom: false });
    case "roomReconnected":
      return settled(
        { ...state, inRoom: true },
        state.sessionId ? [{ do: "loadTurns", sessionId: state.sessionId }] : [],
      );
    case "roomLost":
      return roomLost(state, event.reason, moment);
    case "agentJoined":
      return agentJoined(state);
    case "agentLeft":
      return [{ ...state, agentHere: false, agentState: null }, [{ do: "after", timer: "agent", ms: AGENT_GRACE_MS }]];
    case "agentState":
      return [{ ...state, agentState: event.state, mended: spoken(state, event.state) ? null : state.mended }, []];
    case "agentDue":
      return agentMissing(state);
  }
}

function clicked(state: CallState): Step {
  if (state.phase === "failed" && state.sessionId !== null) return resume(state.sessionId, state.restarts);
  return [{ ...INITIAL, phase: "starting" }, [{ do: "openMicrophone" }, { do: "start", anew: true }]];
}

/** Given up on, but neither refused nor taken elsewhere: when there is a reason to hope, its session is looked for. */
function comesBack({ phase, sessionId, failure, restarts }: CallState): Step | null {
  return phase === "failed" && sessionId !== null && failure?.final === false ? resume(sessionId, restarts) : null;
}

function resume(sessionId: string, restarts: number): Step {
  return [{ ...INITIAL, phase: "resuming", sessionId, restarts }, [{ do: "look", sessionId }]];
}

/** The user has had enough, of waiting or of talking. */
function ended(state: CallState): Step {
  if (state.phase === "idle" || state.phase === "ended") return stay(state);
  const over: readonly Action[] = [
    { do: "report" },
    { do: "stopTimer", timer: "retry" },
    { do: "stopTimer", timer: "agent" },
    ...(state.sessionId ? [{ do: "endSession", sessionId: state.sessionId } as const] : []),
    { do: "leave" },
    { do: "closeMicrophone" },
    { do: "forget" },
  ];
  if (!state.wasLive) return [INITIAL, over];
  return [{ ...INITIAL, phase: "ended", endReason: "you" }, over];
}

function started(state: CallState, { answer }: Extract<CallEvent, { type: "started" }>): Step {
  const { sessionId } = answer;
  // nobody wants it any more: given back at once
  if (state.phase !== "starting") return [state, [{ do: "endSession", sessionId }]];
  const next: CallState = { ...state, phase: "joining", sessionId, attempt: 0, retryAtMs: null, failure: null };
  const known: readonly Action[] = [
    { do: "remember", sessionId },
    { do: "watch", sessionId },
  ];
  if (answer.status === "starting") {
    const queue = { position: answer.queuePosition, estimatedWaitMs: answer.estimatedWaitMs };
    return [{ ...next, phase: "queued", queue }, known];
  }
  // into the room first: everything else can wait for it
  if (answer.join) return [next, [{ do: "join", join: answer.join }, ...known]];
  return [next, [{ do: "fetchToken", sessionId }, ...known]];
}

function startFailed(state: CallState, failure: Failure, moment: Moment): Step {
  const attempt = state.attempt + 1;
  // a full house empties sooner or later; what is broken may stay so
  if (failure.final || (failure.retryAfterS === null && attempt >= TRIES_AT_MOST)) return failed(state, failure);
  const ms = delayMs(attempt, failure, moment);
  return [
    { ...state, phase: "holding", attempt, failure, retryAtMs: moment.nowMs + ms },
    [{ do: "after", timer: "retry", ms }],
  ];
}

function sessionSeen(state: CallState, session: Session): Step {
  if (session.sessionId !== state.sessionId) return stay(state);
  switch (session.status) {
    case "starting":
      return waiting(state, session);
    case "ready":
    case "active":
      return inCall(state, session);
    case "ended":
      return over({ ...state, phase: "ended", endReason: session.endReason ?? "unknown" });
    case "failed":
      return broken(state, session);
  }
}

function waiting(state: CallState, session: Session): Step {
  const queue = { position: session.queuePosition, estimatedWaitMs: session.estimatedWaitMs ?? null };
  if (state.phase === "queued") return [{ ...state, queue }, []];
  if (state.phase !== "resuming") return stay(state);
  return [{ ...state, phase: "queued", queue }, took(session.sessionId)];
}

/** Its agent may have been replaced since it was last seen, quicker than its absence would be noticed. */
function inCall(state: CallState, session: Session): Step {
  const { replacements, status } = session;
  const replaced = state.replacements !== null && replacements > state.replacements;
  const mended = replaced ? "replaced" : state.mended;
  const served = status === "active" || state.served;
  const [next, actions] = agentReady({ ...state, served, queue: null, replacements, mended });
  return replaced ? [next, [{ do: "divide" }, ...actions]] : [next, actions];
}

function agentReady(state: CallState): Step {
  const { sessionId } = state;
  if (sessionId === null) return stay(state);
  if (state.phase === "queued") return [{ ...state, phase: "joining" }, [{ do: "fetchToken", sessionId }]];
  if (state.phase !== "resuming") return settled(state);
  const again: readonly Action[] = [
    { do: "fetchToken", sessionId },
    { do: "loadTurns", sessionId },
    ...took(sessionId),
  ];
  return settled({ ...state, phase: "joining", wasLive: state.served }, again);
}

/** Taken up again: the microphone is asked for only when there is somebody to hear it. */
function took(sessionId: string): readonly Action[] {
  return [{ do: "watch", sessionId }, { do: "remember", sessionId }, { do: "openMicrophone" }];
}

/** The session failed: another one is started in its place, but not for ever. */
function broken(state: CallState, session: Session): Step {
  const [code, words] = explained(session.error);
  if (state.restarts >= RESTARTS_AT_MOST)
    return failed({ ...state, sessionId: null }, { code, detail: words, retryAfterS: null, final: true });
  const next: CallState = { ...INITIAL, phase: "starting", restarts: state.restarts + 1, mended: "restarted" };
  return [next, [...LEAVING, { do: "divide" }, { do: "openMicrophone" }, { do: "start", anew: true }]];
}

function refused(state: CallState, failure: Failure, moment: Moment): Step {
  if (failure.code === "session_ended" || failure.code === "session_not_found")
    return over({ ...state, phase: "ended", endReason: state.endReason ?? "gone" });
  return tryAgain(state, failure, moment);
}

function roomLost(state: CallState, reason: LostReason, moment: Moment): Step {
  const out: CallState = { ...state, inRoom: false, agentHere: false, agentState: null };
  if (reason === "moved") return failed(out, { code: "moved", detail: "", retryAfterS: null, final: true });
  const [next, actions] = tryAgain(
    out,
    { code: "livekit_unreachable", detail: "", retryAfterS: null, final: false },
    moment,
  );
  // the room was closed: most likely the session is over, and this says why
  if (reason === "closed" && out.sessionId) return [next, [...actions, { do: "look", sessionId: out.sessionId }]];
  return [next, actions];
}

function agentJoined(state: CallState): Step {
  const replaces = state.phase === "replacing";
  const mended = replaces ? "replaced" : state.mended;
  const arrived: Action = { do: "stopTimer", timer: "agent" };
  return settled({ ...state, agentHere: true, mended }, replaces ? [arrived, { do: "divide" }] : [arrived]);
}

/** The agent has said its first words: what was mended is no news any more. */
function spoken(state: CallState, next: AgentState): boolean {
  return state.agentState === "speaking" && next !== "speaking";
}

function agentTimer(state: CallState): Action {
  return state.agentHere ? { do: "stopTimer", timer: "agent" } : { do: "after", timer: "agent", ms: AGENT_GRACE_MS };
}

/** The agent was away for longer than it takes to say goodbye; or, the second time, for good. */
function agentMissing(state: CallState): Step {
  if (state.agentHere || !state.inRoom) return stay(state);
  if (state.phase !== "replacing")
    return [{ ...state, phase: "replacing" }, [{ do: "after", timer: "agent", ms: REPLACEMENT_AT_MOST_MS }]];
  const failure: Failure = { code: "agent_failed", detail: "", retryAfterS: null, final: true };
  const [next, actions] = failed({ ...state, sessionId: null }, failure);
  return [next, state.sessionId ? [...actions, { do: "endSession", sessionId: state.sessionId }] : actions];
}
