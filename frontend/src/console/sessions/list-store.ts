import { isFinal, Problem } from "../../lib/api";
import { type AdminApi, wordsOf } from "../data/admin";
import { Store } from "../data/store";
import type { SessionsChanged } from "../data/types";
import {
  filtered,
  FIRST,
  type ListState,
  PAGE_SIZE,
  refreshAfterMs,
  turnedBack,
  turnedOn,
  withFailure,
  withPage,
} from "./list";

/** Typing asks when it pauses. */
const TYPING_MS = 250;
const RETRY_MS = 5_000;

export class SessionList extends Store<ListState> {
  readonly #admin: AdminApi;
  #request = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAtMs = Infinity;
  #lookedAtMs = -Infinity;

  constructor(admin: AdminApi) {
    super(FIRST);
    this.#admin = admin;
  }

  byStatus = (status: string): void => this.#ask(filtered(this.get(), { status }));
  byWords = (q: string): void => this.#ask(filtered(this.get(), { q: q.trim() }), TYPING_MS);
  next = (): void => this.#ask(turnedOn(this.get()));
  previous = (): void => this.#ask(turnedBack(this.get()));
  again = (): void => this.#look();

  /** Some sessions changed: looks again, but no more than once a second. */
  changed = (changed: SessionsChanged): void => {
    const afterMs = refreshAfterMs(this.get(), changed);
    if (afterMs !== null) this.#lookAt(Math.max(Date.now(), this.#lookedAtMs + afterMs));
  };

  stop = (): void => {
    this.#request.abort();
    clearTimeout(this.#timer);
    this.#dueAtMs = Infinity;
  };

  #ask(state: ListState, inMs = 0): void {
    if (state === this.get()) return;
    this.stop();
    this.set(state);
    if (inMs === 0) this.#look();
    else this.#lookAt(Date.now() + inMs);
  }

  #lookAt(atMs: number): void {
    if (atMs >= this.#dueAtMs) return;
    clearTimeout(this.#timer);
    this.#dueAtMs = atMs;
    this.#timer = setTimeout(() => this.#look(), atMs - Date.now());
  }

  #look(): void {
    this.stop();
    this.#lookedAtMs = Date.now();
    this.#request = new AbortController();
    void this.#fetch(this.#request.signal);
  }

  async #fetch(signal: AbortSignal): Promise<void> {
    const { status, q, cursors } = this.get();
    try {
      const query = { status, q, limit: PAGE_SIZE, cursor: cursors.at(-1) ?? null };
      const page = await this.#admin.sessions(query, signal);
      if (!signal.aborted) this.set(withPage(this.get(), page));
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.code === "aborted")) return;
      this.set(withFailure(this.get(), wordsOf(error)));
      // the same question would be refused again
      if (!(error instanceof Problem && isFinal(error))) this.#lookAt(Date.now() + RETRY_MS);
    }
  }
}
