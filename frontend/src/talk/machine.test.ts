import { describe, expect, it } from "vitest";

import type { Session, SessionStatus } from "../lib/types";
import { AGENT_GRACE_MS, hasSession, REPLACEMENT_AT_MOST_MS, RESTARTS_AT_MOST, step } from "./machine";
import { PATIENCE_MS, TRIES_AT_MOST } from "./outcomes";
import { type Action, type CallEvent, type CallState, type Failure, INITIAL, type Phase, PHASES } from "./states";

const MOMENT = { nowMs: 1_000, random: 0.5 };
const ID = "session_1";
const JOIN = { url: "ws://livekit", token: "secret", room: ID, identity: "user-1", expiresAt: 0 };

function session(status: SessionStatus, more: Partial<Session> = {}): Session {
  return {
    sessionId: ID,
    status,
    userId: "user-1",
    prewarmed: true,
    createdAt: 0,
    startupTime: null,
    assignedAt: null,
    endedAt: null,
    endReason: null,
    queuePosition: null,
    replacements: 0,
    error: null,
    ...more,
  };
}

function failure(code: string, more: Partial<Failure> = {}): Failure {
  return { code, detail: "", retryAfterS: null, final: false, ...more };
}

const ready: CallEvent = {
  type: "started",
  answer: { sessionId: ID, status: "ready", prewarmed: true, latencyMs: 3, join: JOIN },
};
const queued: CallEvent = {
  type: "started",
  answer: { sessionId: ID, status: "starting", queuePosition: 2, estimatedWaitMs: 900 },
};
const seen = (status: SessionStatus, more: Partial<Session> = {}): CallEvent => ({
  type: "session",
  session: session(status, more),
});

/** Plays events from the beginning; returns where it is and all that was to be done. */
function play(...events: CallEvent[]): { state: CallState; actions: Action[] } {
  return playFrom(INITIAL, ...events);
}

function playFrom(from: CallState, ...events: CallEvent[]): { state: CallState; actions: Action[] } {
  const actions: Action[] = [];
  let state = from;
  for (const event of events) {
    const [next, asked] = step(state, event, MOMENT);
    state = next;
    actions.push(...asked);
  }
  return { state, actions };
}

const names = (actions: readonly Action[]): string[] => actions.map((action) => action.do);
const last = <T>(list: readonly T[]): T | undefined => list.at(-1);

const CALL: CallEvent[] = [{ type: "click" }, ready, { type: "joined" }, { type: "agentJoined" }, seen("active")];

const REACHED: Record<Phase, CallEvent[]> = {
  idle: [],
  starting: [{ type: "click" }],
  holding: [{ type: "click" }, { type: "startFailed", failure: failure("at_capacity", { retryAfterS: 5 }) }],
  queued: [{ type: "click" }, queued],
  resuming: [{ type: "resume", sessionId: ID }],
  joining: [{ type: "click" }, ready],
  live: CALL,
  reconnecting: [...CALL, { type: "roomReconnecting" }],
  replacing: [...CALL, { type: "agentLeft" }, { type: "agentDue" }],
  ended: [...CALL, seen("ended", { endReason: "inactive" })],
  failed: [...CALL, { type: "roomLost", reason: "moved" }],
};

/** A call whose room could not be joined again for a long time. */
function givenUp(): CallState {
  const { state } = play(...CALL, { type: "roomLost", reason: "network" });
  const event: CallEvent = { type: "joinFailed", failure: failure("livekit_unreachable") };
  return step(state, event, { ...MOMENT, nowMs: MOMENT.nowMs + PATIENCE_MS })[0];
}

const EVENTS: Record<string, CallEvent> = {
  click: { type: "click" },
  end: { type: "end" },
  resume: { type: "resume", sessionId: ID },
  startedReady: ready,
  startedQueued: queued,
  startFailed: { type: "startFailed", failure: failure("unreachable") },
  startRefused: { type: "startFailed", failure: failure("unauthorized", { final: true }) },
  starting: seen("starting", { queuePosition: 1 }),
  ready: seen("ready"),
  active: seen("active"),
  ended: seen("ended"),
  failed: seen("failed"),
  sessionLost: { type: "sessionLost", failure: failure("session_not_found", { final: true }) },
  token: { type: "token", join: JOIN },
  tokenFailed: { type: "tokenFailed", failure: failure("unreachable") },
  joined: { type: "joined" },
  joinFailed: { type: "joinFailed", failure: failure("livekit_unreachable") },
  roomReconnecting: { type: "roomReconnecting" },
  roomReconnected: { type: "roomReconnected" },
  roomLost: { type: "roomLost", reason: "network" },
  roomClosed: { type: "roomLost", reason: "closed" },
  moved: { type: "roomLost", reason: "moved" },
  agentJoined: { type: "agentJoined" },
  agentLeft: { type: "agentLeft" },
  agentState: { type: "agentState", state: "thinking" },
  retryDue: { type: "retryDue" },
  agentDue: { type: "agentDue" },
};

/** Where each event leads from each phase. What is not named stays where it is. */
const TABLE: Record<Phase, Partial<Record<keyof typeof EVENTS, Phase>>> = {
  idle: { click: "starting", resume: "resuming" },
  starting: {
    end: "idle",
    startedReady: "joining",
    startedQueued: "queued",
    startFailed: "holding",
    startRefused: "failed",
  },
  holding: { end: "idle", retryDue: "starting" },
  queued: {
    end: "idle",
    ready: "joining",
    active: "joining",
    ended: "ended",
    failed: "starting",
    sessionLost: "ended",
    moved: "failed",
  },
  resuming: {
    end: "idle",
    starting: "queued",
    ready: "joining",
    active: "reconnecting",
    ended: "ended",
    failed: "starting",
    sessionLost: "ended",
    moved: "failed",
  },
  joining: { end: "idle", ended: "ended", failed: "starting", sessionLost: "ended", moved: "failed" },
  live: {
    end: "ended",
    ended: "ended",
    failed: "starting",
    sessionLost: "ended",
    joinFailed: "reconnecting",
    roomReconnecting: "reconnecting",
    roomLost: "reconnecting",
    roomClosed: "reconnecting",
    moved: "failed",
  },
  reconnecting: {
    end: "ended",
    ended: "ended",
    failed: "starting",
    sessionLost: "ended",
    joined: "live",
    roomReconnected: "live",
    moved: "failed",
  },
  replacing: {
    end: "ended",
    ended: "ended",
    failed: "starting",
    sessionLost: "ended",
    joinFailed: "reconnecting",
    roomReconnecting: "reconnecting",
    roomLost: "reconnecting",
    roomClosed: "reconnecting",
    moved: "failed",
    agentJoined: "live",
    agentDue: "failed",
  },
  ended: { click: "starting" },
  failed: { click: "resuming", end: "idle" },
};

describe("every phase and every event", () => {
  for (const phase of PHASES) {
    const { state } = play(...REACHED[phase]);
    it(`${phase} is reached`, () => expect(state.phase).toBe(phase));
    for (const [name, event] of Object.entries(EVENTS)) {
      const expected = TABLE[phase][name] ?? phase;
      it(`${phase} + ${name} → ${expected}`, () => expect(step(state, event, MOMENT)[0].phase).toBe(expected));
    }
  }

  it("a call that is over leaves its room and stops its timers, whatever ended it", () => {
    for (const phase of PHASES.filter(hasSession)) {
      for (const name of ["end", "ended", "failed", "sessionLost", "moved"] as const) {
        const { state } = play(...REACHED[phase]);
        const event = EVENTS[name];
        if (event === undefined) throw new Error(name);
        expect(names(step(state, event, MOMENT)[1]), `${phase} + ${name}`).toEqual(
          expect.arrayContaining(["leave", "stopTimer"]),
        );
      }
    }
  });
});

describe("a start", () => {
  it("asks for microphone and session at the same time", () => {
    expect(play({ type: "click" }).actions).toEqual([{ do: "openMicrophone" }, { do: "start", anew: true }]);
  });

  it("joins first of all when the answer has all that it needs", () => {
    expect(names(step(play({ type: "click" }).state, ready, MOMENT)[1])).toEqual(["join", "remember", "watch"]);
  });

  it("asks for a token when the answer has none", () => {
    const answer = { sessionId: ID, status: "ready", prewarmed: true, latencyMs: 1 } as const;
    const [, actions] = step(play({ type: "click" }).state, { type: "started", answer }, MOMENT);
    expect(names(actions)).toEqual(["fetchToken", "remember", "watch"]);
  });

  it("shows the place in the queue, and asks for a token when its turn has come", () => {
    const waiting = play({ type: "click" }, queued, seen("starting", { queuePosition: 1, estimatedWaitMs: 400 }));
    expect(waiting.state.queue).toEqual({ position: 1, estimatedWaitMs: 400 });
    const [state, actions] = step(waiting.state, seen("ready"), MOMENT);
    expect(state.phase).toBe("joining");
    expect(actions).toEqual([{ do: "fetchToken", sessionId: ID }]);
  });

  it("is not live before the server has seen the user, however long it is in the room", () => {
    const { state } = play({ type: "click" }, ready, { type: "joined" }, { type: "agentJoined" }, seen("ready"));
    expect(state.phase).toBe("joining");
    expect(step(state, seen("active"), MOMENT)[0].phase).toBe("live");
  });

  it("is not live before it is in the room, whatever the server says", () => {
    expect(play({ type: "click" }, ready, seen("active")).state.phase).toBe("joining");
  });

  it("gives back a session that comes when nobody wants it any more", () => {
    const { state } = play({ type: "click" }, { type: "end" });
    expect(step(state, ready, MOMENT)).toEqual([state, [{ do: "endSession", sessionId: ID }]]);
  });

  it("ignores what is said of another session", () => {
    const { state } = play({ type: "click" }, ready);
    expect(step(state, seen("ended", { sessionId: "another" }), MOMENT)[0]).toBe(state);
  });
});

describe("a refusal", () => {
  it("is asked again after the time it named, with the same key", () => {
    const { state, actions } = play(...REACHED.holding);
    expect(last(actions)).toEqual({ do: "after", timer: "retry", ms: 5_250 });
    expect(state.retryAtMs).toBe(6_250);
    expect(step(state, { type: "retryDue" }, MOMENT)[1]).toEqual([{ do: "start", anew: false }]);
  });

  it("of a full house is asked again for as long as one likes", () => {
    const full: CallEvent = { type: "startFailed", failure: failure("at_capacity", { retryAfterS: 1 }) };
    let { state } = play({ type: "click" }, full);
    for (let tries = 0; tries < 5 * TRIES_AT_MOST; tries += 1)
      ({ state } = playFrom(state, { type: "retryDue" }, full));
    expect(state.phase).toBe("holding");
  });

  it("of a server that is not there is given up after some tries, each later than the one before", () => {
    const gone: CallEvent = { type: "startFailed", failure: failure("unreachable") };
    let { state } = play({ type: "click" });
    const delays: number[] = [];
    for (let tries = 0; state.phase !== "failed"; tries += 1) {
      const played = playFrom(state, gone, { type: "retryDue" });
      for (const action of played.actions) if (action.do === "after") delays.push(action.ms);
      state = played.state;
      expect(tries).toBeLessThan(TRIES_AT_MOST);
    }
    expect(delays).toHaveLength(TRIES_AT_MOST - 1);
    expect(delays).toEqual([...delays].sort((one, other) => one - other));
    expect(state.failure?.code).toBe("unreachable");
  });

  it("spreads the tries of many browsers", () => {
    const at = (random: number): unknown =>
      step(
        play({ type: "click" }).state,
        { type: "startFailed", failure: failure("unreachable") },
        { nowMs: 0, random },
      )[1];
    expect(at(0)).not.toEqual(at(0.9));
  });
});

describe("coming back", () => {
  it("asks what became of the session, then joins it again with its past, its watch and a microphone", () => {
    const { state, actions } = play(
      { type: "resume", sessionId: ID },
      seen("active"),
      { type: "token", join: JOIN },
      { type: "joined" },
    );
    expect(names(actions).slice(0, 6)).toEqual([
      "look",
      "fetchToken",
      "loadTurns",
      "watch",
      "remember",
      "openMicrophone",
    ]);
    expect(state.phase).toBe("live");
  });

  it("asks for no microphone when the session is over", () => {
    const { actions } = play({ type: "resume", sessionId: ID }, seen("ended"));
    expect(names(actions)).not.toContain("openMicrophone");
    expect(names(actions)).toContain("forget");
  });

  it("tries again with a fresh token when the room was lost", () => {
    const { state, actions } = play(...CALL, { type: "roomLost", reason: "network" });
    expect(last(actions)).toMatchObject({ do: "after", timer: "retry" });
    expect(step(state, { type: "retryDue" }, MOMENT)[1]).toEqual([{ do: "fetchToken", sessionId: ID }]);
  });

  it("does not join a second time when LiveKit came back by itself", () => {
    const { state } = play(...CALL);
    expect(step(state, { type: "token", join: JOIN }, MOMENT)[1]).toEqual([]);
    expect(step(state, { type: "retryDue" }, MOMENT)[1]).toEqual([]);
  });

  it("does not wait for LiveKit's own tries when the network is back", () => {
    const { state } = play(...CALL, { type: "roomReconnecting" });
    expect(step(state, { type: "retryDue" }, MOMENT)[1]).toEqual([{ do: "fetchToken", sessionId: ID }]);
  });

  it("does not disturb a join that is under way", () => {
    const { state } = play({ type: "click" }, ready);
    expect(step(state, { type: "retryDue" }, MOMENT)[1]).toEqual([]);
  });

  it("looks at once when the room was closed: the session says why", () => {
    expect(names(play(...CALL, { type: "roomLost", reason: "closed" }).actions)).toContain("look");
  });

  it("keeps the session in mind when it gives up, and goes back to it on a click", () => {
    const state = givenUp();
    expect(state).toMatchObject({ phase: "failed", sessionId: ID, failure: { code: "livekit_unreachable" } });
    expect(step(state, { type: "click" }, MOMENT)[1]).toEqual([{ do: "look", sessionId: ID }]);
  });

  const NO_ANSWER = ["unreachable", "timeout", "livekit_unreachable", "store_unavailable", "http_502"];
  it.each(NO_ANSWER)("goes on through %s for as long as its session may live, and no longer", (code) => {
    const event: CallEvent = { type: "tokenFailed", failure: failure(code) };
    let { state } = play(...CALL, { type: "roomLost", reason: "network" });
    for (let tries = 0; tries < 3 * TRIES_AT_MOST; tries += 1)
      [state] = step(state, event, { ...MOMENT, nowMs: MOMENT.nowMs + PATIENCE_MS - 1 });
    expect(state.phase).toBe("reconnecting");
    expect(step(state, event, { ...MOMENT, nowMs: MOMENT.nowMs + PATIENCE_MS })[0].phase).toBe("failed");
    // a new gap has its own time
    [state] = step(state, { type: "joined" }, MOMENT);
    expect(state.failingSinceMs).toBeNull();
  });

  it("gives up after some tries what was answered and did not work", () => {
    let { state } = play(...CALL, { type: "roomLost", reason: "network" });
    for (let tries = 1; tries < TRIES_AT_MOST; tries += 1)
      ({ state } = playFrom(state, { type: "tokenFailed", failure: failure("http_500") }));
    expect(state.phase).toBe("failed");
  });

  it("by itself, when there is hope again for what it gave up on", () => {
    const [state, actions] = step(givenUp(), { type: "retryDue" }, MOMENT);
    expect(state).toMatchObject({ phase: "resuming", sessionId: ID });
    expect(actions).toEqual([{ do: "look", sessionId: ID }]);
    const moved = play(...REACHED.failed).state;
    expect(step(moved, { type: "retryDue" }, MOMENT)).toEqual([moved, []]);
  });

  it("counts failures in a row only", () => {
    const lost: CallEvent[] = [{ type: "roomLost", reason: "network" }, { type: "retryDue" }, { type: "joined" }];
    const often = Array.from({ length: 3 * TRIES_AT_MOST }, () => lost).flat();
    expect(play(...CALL, ...often).state.phase).toBe("live");
  });

  it("does not fight another tab for the room", () => {
    const [state, actions] = step(play(...CALL).state, { type: "roomLost", reason: "moved" }, MOMENT);
    expect(state.failure?.code).toBe("moved");
    expect(names(actions)).not.toContain("after");
    expect(names(actions)).not.toContain("endSession");
  });
});

describe("an agent that goes", () => {
  it("may have said goodbye: the session's end comes first", () => {
    const left = play(...CALL, { type: "agentLeft" });
    expect(left.state.phase).toBe("live");
    expect(last(left.actions)).toEqual({ do: "after", timer: "agent", ms: AGENT_GRACE_MS });
    const { state } = playFrom(left.state, seen("ended", { endReason: "the user said goodbye" }));
    expect(state).toMatchObject({ phase: "ended", endReason: "the user said goodbye" });
  });

  it("is replaced, and the page says so until the new one has spoken", () => {
    const { state, actions } = playFrom(play(...REACHED.replacing).state, { type: "agentJoined" });
    expect(state).toMatchObject({ phase: "live", mended: "replaced" });
    expect(names(actions)).toEqual(["stopTimer", "divide"]);
    const speaking = playFrom(state, { type: "agentState", state: "speaking" }).state;
    expect(speaking.mended).toBe("replaced");
    expect(playFrom(speaking, { type: "agentState", state: "listening" }).state.mended).toBeNull();
  });

  it("is replaced before it is missed: its session says so", () => {
    const seenBefore = playFrom(play(...CALL).state, seen("active")).state;
    const { state, actions } = playFrom(seenBefore, seen("active", { replacements: 1 }));
    expect(state).toMatchObject({ phase: "live", mended: "replaced" });
    expect(names(actions)).toEqual(["divide"]);
    expect(names(playFrom(state, seen("active", { replacements: 1 })).actions)).toEqual([]);
  });

  it("was replaced before this page came: that is no news", () => {
    const { state } = play({ type: "resume", sessionId: ID }, seen("active", { replacements: 2 }));
    expect(state.mended).toBeNull();
  });

  it("that nobody replaces is a failure, after a long time", () => {
    const replacing = play(...REACHED.replacing);
    expect(last(replacing.actions)).toEqual({ do: "after", timer: "agent", ms: REPLACEMENT_AT_MOST_MS });
    const { state, actions } = playFrom(replacing.state, { type: "agentDue" });
    expect(state).toMatchObject({ phase: "failed", sessionId: null, failure: { code: "agent_failed" } });
    expect(actions).toContainEqual({ do: "endSession", sessionId: ID });
  });

  it("that was never there is missed as well", () => {
    const { actions } = play({ type: "click" }, ready, { type: "joined" });
    expect(last(actions)).toEqual({ do: "after", timer: "agent", ms: AGENT_GRACE_MS });
  });

  it("and takes its session along is followed by another session, but not for ever", () => {
    let { state, actions } = play(...CALL, seen("failed", { error: "agent_lost: it was killed" }));
    for (let restart = 1; restart <= RESTARTS_AT_MOST; restart += 1) {
      expect(state).toMatchObject({ phase: "starting", restarts: restart, mended: "restarted" });
      expect(last(actions)).toEqual({ do: "start", anew: true });
      ({ state, actions } = playFrom(
        state,
        ready,
        { type: "joined" },
        seen("failed", { error: "agent_lost: it was killed" }),
      ));
    }
    expect(state).toMatchObject({ phase: "failed", failure: { code: "agent_lost", detail: "it was killed" } });
  });
});

describe("the end", () => {
  it("by the user ends the session and forgets it", () => {
    const { state, actions } = play(...CALL, { type: "end" });
    expect(state).toMatchObject({ phase: "ended", endReason: "you", sessionId: null });
    expect(names(actions).slice(CALL.length)).toEqual(
      expect.arrayContaining(["report", "endSession", "leave", "closeMicrophone", "forget"]),
    );
  });

  it("in the queue gives up the place", () => {
    const { state, actions } = play({ type: "click" }, queued, { type: "end" });
    expect(state).toEqual(INITIAL);
    expect(actions).toContainEqual({ do: "endSession", sessionId: ID });
  });
});
