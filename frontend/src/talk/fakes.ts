/** Stand-ins for what a call touches, for tests: they do nothing but what they are told to. */

import { vi } from "vitest";

import { Problem } from "../lib/api";
import type { Join, Session, StartAnswer, Turn } from "../lib/types";
import { Call } from "./call";
import { type Memory, tabMemory } from "./memory";
import { type Device, MicrophoneError, type Microphones } from "./microphone";
import type { Room, RoomHandlers } from "./room";
import type { Sessions } from "./sessions";
import type { Side, Sound } from "./sound";
import { Voice } from "./voice";
import type { WatchHandlers } from "./watch";
import type { MicrophoneTrouble } from "./words";

export const JOIN: Join = { url: "ws://livekit", token: "secret", room: "session_1", identity: "user-1", expiresAt: 0 };

export const READY: StartAnswer = {
  sessionId: "session_1",
  status: "ready",
  prewarmed: true,
  latencyMs: 3,
  join: JOIN,
};

export function sessionIs(status: Session["status"], more: Partial<Session> = {}): Session {
  return {
    sessionId: "session_1",
    status,
    userId: null,
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

export class FakeRoom implements Room {
  muted = false;
  volume = 1;
  closed = false;
  microphone: MediaStreamTrack | null = null;
  readonly texts: string[] = [];
  connect = vi.fn<(url: string, token: string) => Promise<void>>(() => Promise.resolve());
  startAudio = vi.fn(() => Promise.resolve());

  constructor(readonly handlers: RoomHandlers) {}

  setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    this.microphone = track;
    return Promise.resolve();
  }
  setMuted(muted: boolean): void {
    this.muted = muted;
  }
  setVolume(volume: number): void {
    this.volume = volume;
  }
  sendText(text: string): Promise<void> {
    this.texts.push(text);
    return Promise.resolve();
  }
  close(): void {
    this.closed = true;
  }
}

export class FakeSound implements Sound {
  readonly levels: Record<Side, number | null> = { agent: null, microphone: 0.1 };
  readonly tracks: Record<Side, MediaStreamTrack | null> = { agent: null, microphone: null };
  wake = vi.fn();
  listen(side: Side, track: MediaStreamTrack | null): void {
    this.tracks[side] = track;
  }
  level(side: Side): number | null {
    return this.levels[side];
  }
  bands(): void {
    // nothing is seen
  }
  close(): void {
    // nothing was opened
  }
}

export class FakeTrack extends EventTarget {
  stopped = false;
  constructor(readonly deviceId: string) {
    super();
  }
  stop(): void {
    this.stopped = true;
  }
  getSettings(): MediaTrackSettings {
    return { deviceId: this.deviceId };
  }
  asTrack(): MediaStreamTrack {
    return this as unknown as MediaStreamTrack;
  }
}

export class FakeMicrophones implements Microphones {
  trouble: MicrophoneTrouble | null = null;
  readonly opened: FakeTrack[] = [];
  open(device: Device | null): Promise<MediaStreamTrack> {
    if (this.trouble) return Promise.reject(new MicrophoneError(this.trouble));
    const track = new FakeTrack(device?.id ?? "default");
    this.opened.push(track);
    return Promise.resolve(track.asTrack());
  }
}

export class FakeSessions implements Sessions {
  start = vi.fn<Sessions["start"]>(() => Promise.resolve(READY));
  token = vi.fn<Sessions["token"]>(() => Promise.resolve(JOIN));
  session = vi.fn<Sessions["session"]>(() => Promise.resolve(sessionIs("active")));
  turns = vi.fn<Sessions["turns"]>(() => Promise.resolve<readonly Turn[]>([]));
  end = vi.fn<Sessions["end"]>(() => Promise.resolve());
  report = vi.fn<Sessions["report"]>(() => Promise.resolve());
}

export function problem(code: string, status: number, retryAfterS: number | null = null): Problem {
  return new Problem(code, "", status, retryAfterS);
}

export interface FakeCall {
  call: Call;
  voice: Voice;
  sessions: FakeSessions;
  microphones: FakeMicrophones;
  sound: FakeSound;
  memory: Memory;
  rooms: FakeRoom[];
  /** The room that is in use. */
  room: () => FakeRoom;
  watch: () => WatchHandlers;
  phase: () => string;
}

/** A call on stand-ins; time is the fake timers'. */
export function fakeCall(memory: Memory = tabMemory(null), supported = true): FakeCall {
  const sessions = new FakeSessions();
  const microphones = new FakeMicrophones();
  const sound = new FakeSound();
  const voice = new Voice(microphones, sound, memory);
  const rooms: FakeRoom[] = [];
  const watches: WatchHandlers[] = [];
  let keys = 0;
  const call = new Call({
    sessions,
    sound,
    voice,
    memory,
    watch: (_, handlers) => {
      watches.push(handlers);
      return { stop: () => undefined };
    },
    rooms: () =>
      Promise.resolve({
        supported: () => supported,
        prepare: () => undefined,
        open: (handlers: RoomHandlers) => {
          const room = new FakeRoom(handlers);
          rooms.push(room);
          return room;
        },
      }),
    request: () => ({ userId: "user-1", userName: "Guest" }),
    newKey: () => `key-${(keys += 1)}`,
    nowMs: () => performance.now(),
    random: () => 0.5,
  });
  return {
    call,
    voice,
    sessions,
    microphones,
    sound,
    memory,
    rooms,
    room: () => theLast(rooms),
    watch: () => theLast(watches),
    phase: () => call.view.get().call.phase,
  };
}

function theLast<T>(list: readonly T[]): T {
  const last = list.at(-1);
  if (last === undefined) throw new Error("there is none yet");
  return last;
}
