/** What the call needs of a room. `livekit.ts` is the real one; tests have their own. */

import type { Segment } from "./captions";
import type { AgentState, LostReason } from "./states";

export interface RoomHandlers {
  /** In the room. The agent, if it is there, is told of after this. */
  joined(): void;
  reconnecting(): void;
  reconnected(): void;
  /** Out of the room, without having asked for it. */
  lost(reason: LostReason): void;
  agentJoined(): void;
  agentLeft(): void;
  agentState(state: AgentState): void;
  /** The agent's sound, or null when it has none any more. */
  agentTrack(track: MediaStreamTrack | null): void;
  /** The browser plays nothing before the user touches the page. */
  audioBlocked(blocked: boolean): void;
  transcript(segment: Segment): void;
  /** The room is there, but does not take the microphone's sound. */
  microphoneFailed(): void;
}

export interface Room {
  /** Rejects when LiveKit cannot be reached, or does not let us in; then nothing more is heard of this room. */
  connect(url: string, token: string): Promise<void>;
  /** Never rejects: see `microphoneFailed`. Sends this sound as the microphone's; null sends none. Before `connect` it is kept until then. */
  setMicrophone(track: MediaStreamTrack | null): Promise<void>;
  setMuted(muted: boolean): void;
  sendText(text: string): Promise<void>;
  startAudio(): Promise<void>;
  setVolume(volume: number): void;
  close(): void;
}

export interface Rooms {
  supported(): boolean;
  /** Look up names and shake hands before there is a token. */
  prepare(url: string): void;
  open(handlers: RoomHandlers): Room;
}
