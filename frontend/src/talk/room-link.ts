/** The call's one room at a time: joins it, and passes on what is heard of it. */

import type { Join } from "../lib/types";
import type { Segment } from "./captions";
import type { Memory } from "./memory";
import type { Room, RoomHandlers, Rooms } from "./room";
import type { Sound } from "./sound";
import type { CallEvent, Failure } from "./states";
import type { Voice } from "./voice";

export interface RoomLinkParts {
  /** Loads what is heavy; the same promise each time. */
  rooms: () => Promise<Rooms>;
  voice: Voice;
  sound: Sound;
  memory: Memory;
  dispatch: (event: CallEvent) => void;
  onAudioBlocked: (blocked: boolean) => void;
  onTranscript: (segment: Segment) => void;
}

export class RoomLink {
  readonly #parts: RoomLinkParts;
  #room: Room | null = null;
  /** Goes up with each room: one that was given up on has nothing more to say. */
  #turn = 0;

  constructor(parts: RoomLinkParts) {
    this.#parts = parts;
  }

  /** Loads what joining needs and, unless it joins at once, shakes hands with LiveKit where it was the last time. */
  async warm(joinsAtOnce: boolean): Promise<void> {
    const { memory, rooms } = this.#parts;
    try {
      const livekit = await rooms();
      if (memory.livekitUrl && !joinsAtOnce) livekit.prepare(memory.livekitUrl);
    } catch {
      // whoever joins tries again, and says what is wrong
    }
  }

  async join({ url, token }: Join): Promise<void> {
    this.close();
    const turn = this.#turn;
    this.#parts.memory.livekitUrl = url;
    try {
      const livekit = await this.#parts.rooms();
      if (turn !== this.#turn) return;
      if (!livekit.supported()) throw new UnsupportedError();
      await this.#open(livekit).connect(url, token);
    } catch (error) {
      if (turn === this.#turn) this.#parts.dispatch({ type: "joinFailed", failure: joinFailure(error) });
    }
  }

  close(): void {
    const { onAudioBlocked, sound, voice } = this.#parts;
    this.#turn += 1;
    voice.use(null);
    sound.listen("agent", null);
    this.#room?.close();
    this.#room = null;
    onAudioBlocked(false);
  }

  async sendText(text: string): Promise<boolean> {
    if (!this.#room) return false;
    try {
      await this.#room.sendText(text);
      return true;
    } catch {
      return false;
    }
  }

  setVolume(volume: number): void {
    this.#room?.setVolume(volume);
  }

  startAudio(): void {
    void this.#room?.startAudio();
  }

  #open(livekit: Rooms): Room {
    const { memory, voice } = this.#parts;
    const room = livekit.open(this.#handlers());
    room.setVolume(memory.volume);
    voice.use(room);
    this.#room = room;
    return room;
  }

  #handlers(): RoomHandlers {
    const { dispatch, onAudioBlocked, onTranscript, sound, voice } = this.#parts;
    return {
      joined: () => dispatch({ type: "joined" }),
      microphoneFailed: () => voice.failed(),
      reconnecting: () => dispatch({ type: "roomReconnecting" }),
      reconnected: () => dispatch({ type: "roomReconnected" }),
      lost: (reason) => dispatch({ type: "roomLost", reason }),
      agentJoined: () => dispatch({ type: "agentJoined" }),
      agentLeft: () => dispatch({ type: "agentLeft" }),
      agentState: (state) => dispatch({ type: "agentState", state }),
      agentTrack: (track) => sound.listen("agent", track),
      audioBlocked: onAudioBlocked,
      transcript: onTranscript,
    };
  }
}

class UnsupportedError extends Error {}

function joinFailure(error: unknown): Failure {
  const unsupported = error instanceof UnsupportedError;
  const code = unsupported ? "no_webrtc" : "livekit_unreachable";
  return { code, detail: "", retryAfterS: null, final: unsupported };
}
