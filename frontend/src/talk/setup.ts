/** Puts a call together from what the browser has. The talk page and the embedded button both begin here. */

import { ApiClient } from "../lib/api";
import { Call } from "./call";
import { type Memory, tabMemory, uuid } from "./memory";
import { browserMicrophones } from "./microphone";
import type { Rooms } from "./room";
import { sessionsOf, type StartBody } from "./sessions";
import { BrowserSound, type Sound } from "./sound";
import { Voice } from "./voice";
import { watchSession } from "./watch";

export interface Talk {
  call: Call;
  voice: Voice;
  sound: Sound;
  memory: Memory;
}

export interface TalkOptions {
  /** Origin of the API; empty for the page's own. */
  server?: string;
  bearer?: () => string | null;
  /** Which of several calls that a page may have this is. */
  place?: string;
  /** Who asks, if that is known, and what a session is started with. */
  request?: () => Partial<StartBody>;
}

export function createTalk({ server, bearer, place, request }: TalkOptions = {}): Talk {
  const api = new ApiClient({ ...(server ? { base: server } : {}), ...(bearer ? { bearer } : {}) });
  const memory = tabMemory(undefined, place);
  const sound = new BrowserSound();
  const voice = new Voice(browserMicrophones(), sound, memory);
  const call = new Call({
    sessions: sessionsOf(api),
    watch: (sessionId, handlers) => watchSession(api, sessionId, handlers),
    rooms: onceLoaded(async () => (await import("./livekit")).livekitRooms),
    voice,
    sound,
    memory,
    request: () => ({ userId: memory.userId(), userName: "Guest", ...request?.() }),
    newKey: uuid,
    nowMs: () => performance.now(),
    random: Math.random,
  });
  return { call, voice, sound, memory };
}

/** Loads once; a load that failed is tried again by whoever asks next. */
function onceLoaded(load: () => Promise<Rooms>): () => Promise<Rooms> {
  let loading: Promise<Rooms> | null = null;
  return () => {
    loading ??= load().catch((error: unknown) => {
      loading = null;
      throw error;
    });
    return loading;
  };
}
