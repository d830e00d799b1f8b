import { type AdminApi, wordsOf } from "../data/admin";
import { Store } from "../data/store";
import type { Pool } from "../data/types";
import { IDLE, type ResizeState, withPool } from "./resize";

/** Looks at the pool more often than the stream does, so that "took 0.4 s" is not always "1 s"; but not for ever. */
const LOOK_MS = 200;
const LOOK_AT_MOST_MS = 20_000;

export class Resize extends Store<ResizeState> {
  readonly #admin: AdminApi;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(admin: AdminApi) {
    super(IDLE);
    this.#admin = admin;
  }

  async to(size: number, agent?: string): Promise<void> {
    clearTimeout(this.#timer);
    const askedAtMs = Date.now();
    this.set({ step: "sending", size, askedAtMs, agent });
    try {
      const answer = await this.#admin.resize(size, agent);
      this.set({ step: "moving", size: answer.size, previous: answer.previous, askedAtMs, agent });
      this.#lookSoon(askedAtMs);
    } catch (error) {
      this.set({ step: "failed", detail: wordsOf(error) });
    }
  }

  saw = (pool: Pool): void => this.set(withPool(this.get(), pool, Date.now()));

  stop = (): void => clearTimeout(this.#timer);

  #lookSoon(askedAtMs: number): void {
    clearTimeout(this.#timer);
    if (this.get().step !== "moving" || Date.now() - askedAtMs > LOOK_AT_MOST_MS) return;
    this.#timer = setTimeout(() => void this.#look(askedAtMs), LOOK_MS);
  }

  async #look(askedAtMs: number): Promise<void> {
    const pool = await this.#admin.pool().catch(() => null);
    if (pool) this.saw(pool);
    this.#lookSoon(askedAtMs);
  }
}
