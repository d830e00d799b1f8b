/** The room on LiveKit: the only place that knows livekit-client. Loaded when it is needed, or a moment before. */

import {
  ConnectionState,
  DisconnectReason,
  isBrowserSupported,
  LocalAudioTrack,
  type LocalTrack,
  LogLevel,
  ParticipantKind,
  type RemoteParticipant,
  type RemoteTrack,
  Room as LivekitRoom,
  RoomEvent,
  setLogLevel,
  type TextStreamHandler,
  Track,
} from "livekit-client";

import { AGENT_STATES, type AgentState, type LostReason } from "./states";
import type { Room, RoomHandlers, Rooms } from "./room";

const AGENT_STATE = "lk.agent.state";
const TRANSCRIPTION = "lk.transcription";
const CHAT = "lk.chat";
/** Shorter than LiveKit's own: the call tries again with a fresh token, and says so. */
const CONNECT_TIMEOUT_MS = 8_000;

// a token must not be in a log, and the page says itself what goes wrong
setLogLevel(LogLevel.silent);

export const livekitRooms: Rooms = {
  supported: isBrowserSupported,
  prepare: (url) => void new LivekitRoom().prepareConnection(url),
  open: (handlers) => new RoomOnLivekit(handlers),
};

/** livekit-client's own types do not go together with exact optional properties. */
type Microphone = LocalAudioTrack & LocalTrack<Track.Kind.Audio>;

class RoomOnLivekit implements Room {
  readonly #room = new LivekitRoom({ stopLocalTrackOnUnpublish: false });
  /** None once it is closed: nobody wants to hear of a room that was left. */
  #handlers: RoomHandlers | null;
  readonly #agents = new Set<string>();
  #microphone: Microphone | null = null;
  /** Changes of the microphone, one after the other: a track cannot be replaced while it is being published. */
  #changes: Promise<void> = Promise.resolve();
  #muted = false;
  #volume = 1;
  #connected = false;

  constructor(handlers: RoomHandlers) {
    this.#handlers = handlers;
    this.#listen();
  }

  async connect(url: string, token: string): Promise<void> {
    await this.#room.connect(url, token, {
      maxRetries: 0,
      websocketTimeout: CONNECT_TIMEOUT_MS,
      peerConnectionTimeout: CONNECT_TIMEOUT_MS,
    });
    if (!this.#handlers) return;
    this.#connected = true;
    this.#handlers.joined();
    for (const participant of this.#room.remoteParticipants.values()) this.#appeared(participant);
    this.#handlers.audioBlocked(!this.#room.canPlaybackAudio);
    void this.#queue(() => this.#publish());
  }

  setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    return this.#queue(() => this.#change(track));
  }

  async #change(track: MediaStreamTrack | null): Promise<void> {
    const microphone = this.#microphone;
    if (track && microphone) {
      await microphone.replaceTrack(track, true);
      return;
    }
    this.#microphone = null;
    if (microphone && this.#connected) await this.#room.localParticipant.unpublishTrack(microphone, false);
    if (!track) return;
    this.#microphone = new LocalAudioTrack(track, undefined, true) as Microphone;
    if (this.#connected) await this.#publish();
  }

  setMuted(muted: boolean): void {
    this.#muted = muted;
    if (!this.#microphone) return;
    void (muted ? this.#microphone.mute() : this.#microphone.unmute());
  }

  async sendText(text: string): Promise<void> {
    await this.#room.localParticipant.sendText(text, { topic: CHAT });
  }

  startAudio(): Promise<void> {
    return this.#room.startAudio();
  }

  setVolume(volume: number): void {
    this.#volume = volume;
    for (const participant of this.#room.remoteParticipants.values()) participant.setVolume(volume);
  }

  close(): void {
    this.#handlers = null;
    void this.#room.disconnect(false);
  }

  #queue(change: () => Promise<void>): Promise<void> {
    this.#changes = this.#changes
      .then(() => (this.#handlers ? change() : undefined))
      .catch(() => {
        // a room that is lost meanwhile says so itself, and publishes when it is back
        if (this.#room.state === ConnectionState.Connected) this.#handlers?.microphoneFailed();
      });
    return this.#changes;
  }

  async #publish(): Promise<void> {
    if (!this.#microphone || this.#room.localParticipant.getTrackPublication(Track.Source.Microphone)) return;
    if (this.#muted) await this.#microphone.mute();
    await this.#room.localParticipant.publishTrack(this.#microphone, { source: Track.Source.Microphone, dtx: true });
  }

  #listen(): void {
    this.#room
      // the first is a short gap that LiveKit often closes unnoticed, but nobody knows that beforehand
      .on(RoomEvent.SignalReconnecting, () => this.#handlers?.reconnecting())
      .on(RoomEvent.Reconnecting, () => this.#handlers?.reconnecting())
      .on(RoomEvent.Reconnected, () => {
        this.#handlers?.reconnected();
        void this.#queue(() => this.#publish());
      })
      .on(RoomEvent.Disconnected, (reason) => this.#disconnected(reason))
      .on(RoomEvent.ParticipantConnected, (participant) => this.#appeared(participant))
      .on(RoomEvent.ParticipantDisconnected, (participant) => this.#vanished(participant))
      .on(RoomEvent.ParticipantAttributesChanged, (_, participant) => this.#state(participant as RemoteParticipant))
      .on(RoomEvent.TrackSubscribed, (track, _, participant) => this.#trackAdded(track, participant))
      .on(RoomEvent.TrackUnsubscribed, (track) => this.#trackRemoved(track))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.#handlers?.audioBlocked(!this.#room.canPlaybackAudio));
    this.#room.registerTextStreamHandler(TRANSCRIPTION, (reader, sender) => void this.#transcript(reader, sender));
  }

  #disconnected(reason?: DisconnectReason): void {
    // a connect() that failed says so itself
    if (!this.#connected) return;
    this.#connected = false;
    this.#handlers?.lost(lostReason(reason));
  }

  #appeared(participant: RemoteParticipant): void {
    if (!this.#connected || participant.kind !== ParticipantKind.AGENT || this.#agents.has(participant.identity))
      return;
    this.#agents.add(participant.identity);
    participant.setVolume(this.#volume);
    this.#handlers?.agentJoined();
    this.#state(participant);
  }

  #vanished(participant: RemoteParticipant): void {
    if (this.#agents.delete(participant.identity) && this.#agents.size === 0) this.#handlers?.agentLeft();
  }

  #state(participant: RemoteParticipant): void {
    const state = participant.attributes[AGENT_STATE];
    if (this.#agents.has(participant.identity) && isAgentState(state)) this.#handlers?.agentState(state);
  }

  #trackAdded(track: RemoteTrack, participant: RemoteParticipant): void {
    if (track.kind !== Track.Kind.Audio) return;
    track.attach();
    participant.setVolume(this.#volume);
    this.#handlers?.agentTrack(track.mediaStreamTrack);
  }

  #trackRemoved(track: RemoteTrack): void {
    if (track.kind !== Track.Kind.Audio) return;
    track.detach();
    this.#handlers?.agentTrack(null);
  }

  /** A stream is one version of a segment: the user's come anew and whole, the agent's grow. */
  async #transcript(...[reader, { identity }]: Parameters<TextStreamHandler>): Promise<void> {
    const attributes = reader.info.attributes ?? {};
    const id = attributes["lk.segment_id"] ?? reader.info.id;
    const role = identity === this.#room.localParticipant.identity ? "user" : "assistant";
    const isFinal = attributes["lk.transcription_final"] === "true";
    let text = "";
    try {
      for await (const part of reader) {
        text += part;
        this.#handlers?.transcript({ id, role, text, final: false });
      }
    } catch {
      // cut short: what came so far stands
    }
    this.#handlers?.transcript({ id, role, text, final: isFinal || role === "assistant" });
  }
}

function isAgentState(state: string | undefined): state is AgentState {
  return AGENT_STATES.some((known) => known === state);
}

function lostReason(reason?: DisconnectReason): LostReason {
  switch (reason) {
    case DisconnectReason.DUPLICATE_IDENTITY:
      return "moved";
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
    case DisconnectReason.PARTICIPANT_REMOVED:
      return "closed";
    default:
      return "network";
  }
}
