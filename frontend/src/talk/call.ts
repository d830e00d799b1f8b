/** Drives the machine: performs what it asks for, and tells it what came of that. All it touches it is given. */

import type { Marks } from "../lib/types";
import { type Captions, NO_CAPTIONS } from "./captions";
import { hasSession, step } from "./machine";
import { RoomLink, type RoomLinkParts } from "./room-link";
import { failureOf, type Sessions, type StartBody } from "./sessions";
import { type Action, type CallEvent, type CallState, INITIAL, type Timer } from "./states";
import { Stopwatch } from "./stopwatch";
import { Store } from "./store";
import { Transcript } from "./transcript";
import type { Watch, WatchHandlers } from "./watch";

export interface CallView {
  call: CallState;
  captions: Captions;
  marks: Marks | null;
  audioBlocked: boolean;
  volume: number;
}

export interface CallParts extends Pick<RoomLinkParts, "rooms" | "voice" | "sound" | "memory"> {
  sessions: Sessions;
  watch: (sessionId: string, handlers: WatchHandlers) => Watch;
  /** Who asks, and what a session is started with. */
  request: () => StartBody;
  newKey: () => string;
  nowMs: () => number;
  random: () => number;
}

export const CHECK_MS = 250;

type Doers = { [Name in Action["do"]]: (action: Extract<Action, { do: Name }>) => void };

export class Call {
  readonly view: Store<CallView>;
  readonly #parts: CallParts;
  readonly #room: RoomLink;
  readonly #stopwatch: Stopwatch;
  readonly #transcript: Transcript;
  readonly #timers = new Map<Timer, ReturnType<typeof setTimeout>>();
  readonly #checks: ReturnType<typeof setInterval>;
  #watch: Watch | null = null;
  #key = "";
  /** Goes up when a call is left: an answer to what was asked before that is not for the call after it. */
  #generation = 0;
  #disposed = false;

  constructor(parts: CallParts) {
    this.#parts = parts;
    const { memory, nowMs, rooms, sessions, sound, voice } = parts;
    this.view = new Store<CallView>({
      call: INITIAL,
      captions: NO_CAPTIONS,
      marks: null,
      audioBlocked: false,
      volume: memory.volume,
    });
    this.#stopwatch = new Stopwatch({
      nowMs,
      level: () => sound.level("agent"),
      onMarks: (marks) => this.view.set({ marks }),
      // figures for the operator: the call does not care whether they arrive
      report: (sessionId, marks) => void sessions.report(sessionId, marks).catch(() => undefined),
    });
    this.#transcript = new Transcript({
      turns: (sessionId) => sessions.turns(sessionId),
      onChange: (captions) => this.view.set({ captions }),
    });
    this.#room = new RoomLink({
      rooms,
      voice,
      sound,
      memory,
      dispatch: (event) => this.#dispatch(event),
      onAudioBlocked: (audioBlocked) => this.view.set({ audioBlocked }),
      onTranscript: (segment) => this.#transcript.heard(segment),
    });
    this.#checks = setInterval(() => this.#check(), CHECK_MS);
  }

  /** Takes up the session of before a reload, and warms the way to LiveKit. */
  open(): void {
    if (this.#disposed) return;
    const { sessionId } = this.#parts.memory;
    void this.#room.warm(sessionId !== null);
    if (sessionId) this.#dispatch({ type: "resume", sessionId });
  }

  start = (): void => {
    if (this.#disposed || hasSession(this.#state.phase)) return;
    this.wake();
    // a session to go back to has its beginning behind it
    if (this.#state.sessionId === null) {
      this.#transcript.clear();
      this.#stopwatch.click();
    }
    this.#dispatch({ type: "click" });
  };

  end = (): void => this.#dispatch({ type: "end" });

  /** Shows the text once it is sent; says whether it was. */
  sendText = async (text: string): Promise<boolean> => {
    const trimmed = text.trim();
    if (!trimmed || !(await this.#room.sendText(trimmed))) return false;
    this.#transcript.typed(trimmed);
    return true;
  };

  setVolume = (volume: number): void => {
    this.#parts.memory.volume = volume;
    this.#room.setVolume(volume);
    this.view.set({ volume });
  };

  /** There is a reason to hope that what failed works now. */
  retryNow = (): void => this.#dispatch({ type: "retryDue" });

  /** Within a touch of the page: lets the browser measure sound. */
  wake = (): void => this.#parts.sound.wake();

  startAudio = (): void => {
    this.wake();
    this.#room.startAudio();
  };

  /** For good, without ending the session: it may be taken up again. */
  dispose(): void {
    this.#disposed = true;
    clearInterval(this.#checks);
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#leave();
    this.#stopwatch.stop();
    this.#parts.voice.close();
    this.#parts.sound.close();
  }

  get #state(): CallState {
    return this.view.get().call;
  }

  #dispatch(event: CallEvent): void {
    // nobody would see what came of it, nor could end it
    if (this.#disposed) return;
    this.#measure(event);
    const moment = { nowMs: this.#parts.nowMs(), random: this.#parts.random() };
    const before = this.#state;
    const [call, actions] = step(before, event, moment);
    this.view.set({ call });
    for (const action of actions) (this.#doers[action.do] as (action: Action) => void)(action);
    this.#transcript.catchUp(before, call);
  }

  readonly #doers: Doers = {
    openMicrophone: () => void this.#parts.voice.open(),
    closeMicrophone: () => this.#parts.voice.close(),
    start: ({ anew }) => void this.#start(anew),
    look: ({ sessionId }) => {
      void this.#ask(
        this.#parts.sessions.session(sessionId),
        (session) => ({ type: "session", session }),
        "sessionLost",
      );
    },
    watch: ({ sessionId }) => this.#startWatch(sessionId),
    remember: ({ sessionId }) => (this.#parts.memory.sessionId = sessionId),
    forget: () => (this.#parts.memory.sessionId = null),
    fetchToken: ({ sessionId }) => {
      const { request, sessions } = this.#parts;
      void this.#ask(sessions.token(sessionId, request().userName), (join) => ({ type: "token", join }), "tokenFailed");
    },
    join: ({ join }) => {
      this.#transcript.settle();
      void this.#room.join(join);
    },
    loadTurns: ({ sessionId }) => void this.#transcript.load(sessionId),
    endSession: ({ sessionId }) => this.#giveBack(sessionId),
    leave: () => this.#leave(),
    divide: () => this.#transcript.divide(),
    report: () => this.#stopwatch.stop(),
    after: ({ timer, ms }) => this.#after(timer, ms),
    stopTimer: ({ timer }) => clearTimeout(this.#timers.get(timer)),
  };

  #measure(event: CallEvent): void {
    if (event.type === "started") this.#stopwatch.mark("answer", event.answer.sessionId);
    if (event.type === "token" || (event.type === "started" && "join" in event.answer)) this.#stopwatch.mark("token");
    if (event.type === "joined") this.#stopwatch.mark("connected");
    if (event.type === "agentJoined") this.#stopwatch.mark("agentSeen");
  }

  async #start(anew: boolean): Promise<void> {
    const { newKey, request, sessions } = this.#parts;
    if (anew) this.#key = newKey();
    const generation = this.#generation;
    try {
      const answer = await sessions.start(request(), this.#key);
      if (generation === this.#generation) this.#dispatch({ type: "started", answer });
      else this.#giveBack(answer.sessionId);
    } catch (error) {
      if (generation === this.#generation) this.#dispatch({ type: "startFailed", failure: failureOf(error) });
    }
  }

  /** Tells the machine what the answer was, unless the call that it was for is over. */
  async #ask<T>(answer: Promise<T>, event: (value: T) => CallEvent, failed: "sessionLost" | "tokenFailed") {
    const generation = this.#generation;
    const next = await answer.then(event, (error: unknown): CallEvent => ({ type: failed, failure: failureOf(error) }));
    if (generation === this.#generation) this.#dispatch(next);
  }

  /** If it does not get through, the server notices that nobody is there. */
  #giveBack(sessionId: string): void {
    this.#parts.sessions.end(sessionId).catch(() => undefined);
  }

  #startWatch(sessionId: string): void {
    this.#watch?.stop();
    this.#watch = this.#parts.watch(sessionId, {
      onSession: (session) => this.#dispatch({ type: "session", session }),
      onLost: (problem) => this.#dispatch({ type: "sessionLost", failure: failureOf(problem) }),
    });
  }

  #check(): void {
    const { phase, agentState } = this.#state;
    this.#parts.voice.check(phase === "live" && agentState === "listening", this.#parts.nowMs());
  }

  #after(timer: Timer, ms: number): void {
    clearTimeout(this.#timers.get(timer));
    const due = (): void => this.#dispatch({ type: timer === "retry" ? "retryDue" : "agentDue" });
    this.#timers.set(timer, setTimeout(due, ms));
  }

  #leave(): void {
    this.#generation += 1;
    this.#watch?.stop();
    this.#watch = null;
    this.#room.close();
    this.#transcript.leave();
  }
}
