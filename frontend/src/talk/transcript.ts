/** Keeps the captions of a call up to date: what is heard and typed, and what was said while the page was away. */

import type { Turn } from "../lib/types";
import { all, type Captions, divided, heard, NO_CAPTIONS, restored, type Segment, settled } from "./captions";
import type { CallState } from "./states";

const AGAIN_MS = 1_000;

export interface TranscriptParts {
  turns: (sessionId: string) => Promise<readonly Turn[]>;
  onChange: (captions: Captions) => void;
}

export class Transcript {
  readonly #parts: TranscriptParts;
  #captions = NO_CAPTIONS;
  #ids = 0;
  /** The session whose turns are asked for once more: what its agent was saying while they were loaded is not among them. */
  #behind: string | null = null;
  /** Goes up when a call is left: turns that come after that are not of the next one. */
  #turn = 0;

  constructor(parts: TranscriptParts) {
    this.#parts = parts;
  }

  clear(): void {
    this.#behind = null;
    this.#set(NO_CAPTIONS);
  }

  heard(segment: Segment): void {
    this.#set(heard(this.#captions, segment));
  }

  typed(text: string): void {
    this.heard({ id: this.#id("typed"), role: "user", text, final: true });
  }

  /** Another agent takes over. */
  divide(): void {
    this.#set(divided(this.#captions, this.#id("divider")));
  }

  /** Its room is left for another one. */
  settle(): void {
    this.#set(settled(this.#captions));
  }

  leave(): void {
    this.#turn += 1;
    this.#behind = null;
    this.settle();
  }

  async load(sessionId: string): Promise<void> {
    const turn = this.#turn;
    // what is being said just now becomes a turn when it is finished
    this.#behind = sessionId;
    try {
      const turns = await this.#parts.turns(sessionId);
      if (turn === this.#turn) this.#set(restored(this.#captions, turns, sessionId));
    } catch {
      // the conversation goes on without its past
    }
  }

  /**
   * The agent finished a sentence whose beginning was said while the page was away, or that it said before the page's
   * connection for data was open: then nothing at all of it came.
   */
  catchUp(before: CallState, now: CallState): void {
    const { sessionId } = now;
    if (before.agentState !== "speaking" || now.agentState !== "listening" || sessionId === null) return;
    const nothingCame = !this.#hasHeard();
    if (sessionId !== this.#behind && !nothingCame) return;
    void this.load(sessionId);
    this.#behind = null;
    if (nothingCame) setTimeout(() => this.#again(sessionId, this.#turn), AGAIN_MS);
  }

  /** The sentence may have become a turn a moment after the agent fell silent. */
  #again(sessionId: string, turn: number): void {
    if (turn === this.#turn && !this.#hasHeard()) void this.load(sessionId);
  }

  #hasHeard(): boolean {
    return all(this.#captions).some((caption) => caption.role === "assistant");
  }

  #set(captions: Captions): void {
    this.#captions = captions;
    this.#parts.onChange(captions);
  }

  #id(kind: string): string {
    this.#ids += 1;
    return `${kind}-${this.#ids}`;
  }
}
