/** Measures one click: when what was reached, until the agent's first sound; tells it once. */

import type { Mark, Marks } from "../lib/types";
import { clickedAt, isComplete, marked, type Timeline } from "./timeline";

/** Louder than the noise that a codec makes of silence. */
export const SOUND_LEVEL = 0.01;
export const LOOK_MS = 20;
/** An agent may have nothing to say: then what there is has to do. */
export const WAIT_AT_MOST_MS = 30_000;

export interface StopwatchParts {
  nowMs: () => number;
  /** How loud the agent is; null while it cannot be measured. */
  level: () => number | null;
  onMarks: (marks: Marks | null) => void;
  report: (sessionId: string, marks: Marks) => void;
}

export class Stopwatch {
  readonly #parts: StopwatchParts;
  #timeline: Timeline | null = null;
  #sessionId: string | null = null;
  #looking: ReturnType<typeof setInterval> | undefined;

  constructor(parts: StopwatchParts) {
    this.#parts = parts;
  }

  get running(): boolean {
    return this.#timeline !== null;
  }

  click(): void {
    this.#timeline = clickedAt(this.#parts.nowMs());
    this.#sessionId = null;
    this.#parts.onMarks(this.#timeline.marks);
  }

  mark(name: Mark, sessionId?: string): void {
    if (!this.#timeline) return;
    this.#sessionId = sessionId ?? this.#sessionId;
    this.#timeline = marked(this.#timeline, name, this.#parts.nowMs());
    this.#parts.onMarks(this.#timeline.marks);
    if (name === "connected") this.#listen(this.#parts.nowMs());
    if (isComplete(this.#timeline)) this.stop();
  }

  /** Reports what there is, if there is a session to report it to. The marks stay on show. */
  stop(): void {
    clearInterval(this.#looking);
    const { marks } = this.#timeline ?? {};
    if (marks && this.#sessionId) this.#parts.report(this.#sessionId, marks);
    this.#timeline = null;
    this.#sessionId = null;
  }

  #listen(sinceMs: number): void {
    clearInterval(this.#looking);
    this.#looking = setInterval(() => {
      if ((this.#parts.level() ?? 0) >= SOUND_LEVEL) this.mark("firstSound");
      else if (this.#parts.nowMs() - sinceMs > WAIT_AT_MOST_MS) this.stop();
    }, LOOK_MS);
  }
}
