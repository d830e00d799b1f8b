/** How loud the agent and the microphone are, measured on the sound itself. */

export type Side = "agent" | "microphone";

export interface Sound {
  /** Within a click, or the browser may measure nothing. */
  wake(): void;
  listen(side: Side, track: MediaStreamTrack | null): void;
  /** 0 (silence) to about 1; null while nothing can be measured. */
  level(side: Side): number | null;
  /** Fills `bands` with the strength of low to high tones, each 0 to 1. */
  bands(side: Side, bands: Float32Array): void;
  close(): void;
}

const FFT_SIZE = 1024;
/** Speech has little above: of 48 kHz's bins, these are up to about 6 kHz. */
const HIGHEST_BIN = 128;

interface Ear {
  source: MediaStreamAudioSourceNode;
  analyser: AnalyserNode;
}

export class BrowserSound implements Sound {
  #context: AudioContext | null = null;
  readonly #tracks = new Map<Side, MediaStreamTrack>();
  readonly #ears = new Map<Side, Ear>();
  readonly #samples = new Float32Array(FFT_SIZE);
  readonly #tones = new Uint8Array(FFT_SIZE / 2);

  wake(): void {
    if (typeof AudioContext === "undefined") return;
    if (!this.#context) {
      this.#context = new AudioContext({ latencyHint: "interactive" });
      for (const [side, track] of this.#tracks) this.#hear(this.#context, side, track);
    }
    if (this.#context.state !== "running") void this.#context.resume();
  }

  listen(side: Side, track: MediaStreamTrack | null): void {
    this.#ears.get(side)?.source.disconnect();
    this.#ears.delete(side);
    if (!track) {
      this.#tracks.delete(side);
      return;
    }
    this.#tracks.set(side, track);
    if (this.#context) this.#hear(this.#context, side, track);
    // after a reload nobody has touched the page yet, and a context that is made now may stay silent
    else if (touched()) this.wake();
  }

  level(side: Side): number | null {
    const ear = this.#ears.get(side);
    if (!ear || this.#context?.state !== "running") return null;
    ear.analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return Math.sqrt(sum / FFT_SIZE);
  }

  bands(side: Side, bands: Float32Array): void {
    bands.fill(0);
    const ear = this.#ears.get(side);
    if (!ear) return;
    ear.analyser.getByteFrequencyData(this.#tones);
    // each band spans more bins than the one before it, as hearing does
    for (let band = 0; band < bands.length; band += 1) {
      const from = edge(band, bands.length);
      const to = Math.max(from + 1, edge(band + 1, bands.length));
      let loudest = 0;
      for (let bin = from; bin < to; bin += 1) loudest = Math.max(loudest, this.#tones[bin] ?? 0);
      bands[band] = loudest / 255;
    }
  }

  #hear(context: AudioContext, side: Side, track: MediaStreamTrack): void {
    const source = context.createMediaStreamSource(new MediaStream([track]));
    const analyser = new AnalyserNode(context, { fftSize: FFT_SIZE, smoothingTimeConstant: 0.75 });
    source.connect(analyser);
    this.#ears.set(side, { source, analyser });
  }

  close(): void {
    for (const ear of this.#ears.values()) ear.source.disconnect();
    this.#ears.clear();
    this.#tracks.clear();
    void this.#context?.close();
    this.#context = null;
  }
}

function edge(band: number, bands: number): number {
  return Math.floor(2 + (HIGHEST_BIN - 2) * (band / bands) ** 1.6);
}

function touched(): boolean {
  // not in every browser
  const activation = (navigator as Partial<Navigator>).userActivation;
  return activation?.hasBeenActive ?? true;
}
