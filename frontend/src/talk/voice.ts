/** The user's side of the sound: the microphone from the asking to the silence, whichever room it goes to. */

import type { Device, MicrophoneError, Microphones } from "./microphone";
import type { Memory } from "./memory";
import type { Room } from "./room";
import { listened, NO_SILENCE, type Silence } from "./silence";
import type { Sound } from "./sound";
import { Store } from "./store";
import type { MicrophoneTrouble } from "./words";

export interface VoiceView {
  status: "off" | "asking" | "on";
  trouble: MicrophoneTrouble | null;
  muted: boolean;
  deviceId: string | null;
}

const OFF: VoiceView = { status: "off", trouble: null, muted: false, deviceId: null };

export class Voice {
  readonly view = new Store<VoiceView>(OFF);
  #track: MediaStreamTrack | null = null;
  #room: Room | null = null;
  #silence: Silence = NO_SILENCE;
  /** Of several openings only the last one counts. */
  #turn = 0;

  constructor(
    private readonly microphones: Microphones,
    private readonly sound: Sound,
    private readonly memory: Memory,
  ) {}

  /** Opens the microphone unless it is open; what goes wrong is in the view. */
  async open(): Promise<void> {
    if (this.view.get().status !== "off") return;
    const { deviceId } = this.memory;
    await this.#take(deviceId ? { id: deviceId, exactly: false } : null);
  }

  async choose(deviceId: string): Promise<void> {
    this.memory.deviceId = deviceId;
    await this.#take({ id: deviceId, exactly: true });
  }

  /** The next room to speak into; null for none. */
  use(room: Room | null): void {
    this.#room = room;
    if (!room) return;
    room.setMuted(this.view.get().muted);
    void room.setMicrophone(this.#track);
  }

  /** It is open, but its sound does not get into the room. */
  failed(): void {
    if (this.#track) this.#lost("failed");
  }

  setMuted(muted: boolean): void {
    this.view.set({ muted });
    this.#room?.setMuted(muted);
  }

  /** Look at the level, now and then, while the agent listens. */
  check(agentListens: boolean, nowMs: number): void {
    const { status, muted, trouble } = this.view.get();
    const heard = status === "on" && agentListens && !muted;
    this.#silence = listened(this.#silence, heard ? this.sound.level("microphone") : null, nowMs);
    if (this.#silence.silent && !trouble) this.view.set({ trouble: "silent" });
    if (!this.#silence.silent && trouble === "silent") this.view.set({ trouble: null });
  }

  close(): void {
    this.#turn += 1;
    this.#drop();
    this.view.set({ status: "off", trouble: null, muted: false });
  }

  async #take(device: Device | null): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    this.view.set({ status: "asking", trouble: null });
    try {
      const track = await this.microphones.open(device);
      if (turn === this.#turn) this.#opened(track);
      else track.stop();
    } catch (error) {
      if (turn === this.#turn) this.#lost((error as MicrophoneError).trouble);
    }
  }

  #opened(track: MediaStreamTrack): void {
    this.#track?.stop();
    this.#track = track;
    this.#silence = NO_SILENCE;
    track.addEventListener("ended", () => {
      if (track === this.#track) this.#lost("lost");
    });
    this.sound.listen("microphone", track);
    this.view.set({ status: "on", deviceId: track.getSettings().deviceId ?? null });
    void this.#room?.setMicrophone(track);
  }

  #lost(trouble: MicrophoneTrouble): void {
    this.#drop();
    this.view.set({ status: "off", trouble });
  }

  #drop(): void {
    this.#track?.stop();
    this.#track = null;
    this.#silence = NO_SILENCE;
    this.sound.listen("microphone", null);
    void this.#room?.setMicrophone(null);
  }
}
