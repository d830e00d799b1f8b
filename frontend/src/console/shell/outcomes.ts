/** What came of the last act, for the one place that says it. */

import { Store } from "../data/store";

export interface Outcome {
  id: number;
  tone: "good" | "bad";
  text: string;
}

/** Good news goes by itself; bad news stays until it is put away. */
const GOOD_MS = 8_000;

export class Outcomes extends Store<Outcome | null> {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super(null);
  }

  say(tone: Outcome["tone"], text: string): void {
    clearTimeout(this.#timer);
    this.set({ id: (this.get()?.id ?? 0) + 1, tone, text });
    if (tone === "good") this.#timer = setTimeout(this.dismiss, GOOD_MS);
  }

  dismiss = (): void => {
    clearTimeout(this.#timer);
    this.set(null);
  };
}
