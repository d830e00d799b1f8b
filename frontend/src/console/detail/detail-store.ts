/** All that is known of the one session that is open, kept fresh while it lives and the page is looked at. */

import { Problem } from "../../lib/api";
import type { Session } from "../../lib/types";
import { type AdminApi, wordsOf } from "../data/admin";
import { share } from "../data/share";
import { Store } from "../data/store";
import type { Life, SessionsChanged } from "../data/types";
import { isOver } from "../sessions/list";
import { followed, type LogRow } from "./log-rows";

const LOG_MS = 1_000;
const LOG_LINES = 500;
const RECORD_MS = 1_000;

export interface DetailState {
  session: Session | null;
  life: Life | null;
  /** Why there is no life, or no session. */
  problem: string | null;
  log: readonly LogRow[];
  logProblem: string | null;
  logLoaded: boolean;
}

const NOTHING: DetailState = {
  session: null,
  life: null,
  problem: null,
  log: [],
  logProblem: null,
  logLoaded: false,
};

export class Detail extends Store<DetailState> {
  readonly #admin: AdminApi;
  readonly #id: string;
  #closing = new AbortController();
  #logTimer: ReturnType<typeof setTimeout> | undefined;
  #recordTimer: ReturnType<typeof setTimeout> | undefined;
  #recordAtMs = -Infinity;
  /** A look at the log is under way or due. */
  #following = false;

  constructor(admin: AdminApi, id: string) {
    super(NOTHING);
    this.#admin = admin;
    this.#id = id;
  }

  start = (): void => {
    this.stop();
    this.#closing = new AbortController();
    document.addEventListener("visibilitychange", this.#seen);
    void this.#lookAtRecord();
    void this.#lookAtLog();
  };

  stop = (): void => {
    document.removeEventListener("visibilitychange", this.#seen);
    this.#closing.abort();
    clearTimeout(this.#logTimer);
    clearTimeout(this.#recordTimer);
    this.#recordTimer = undefined;
  };

  changed = (changed: SessionsChanged): void => {
    if (!changed.more && !changed.ids.includes(this.#id)) return;
    if (this.#recordTimer !== undefined) return;
    const inMs = Math.max(0, this.#recordAtMs + RECORD_MS - Date.now());
    this.#recordTimer = setTimeout(() => void this.#lookAtRecord(), inMs);
  };

  readonly #seen = (): void => {
    if (document.visibilityState === "visible" && !this.#following) void this.#lookAtLog();
  };

  async #lookAtRecord(): Promise<void> {
    const { signal } = this.#closing;
    this.#recordTimer = undefined;
    this.#recordAtMs = Date.now();
    try {
      const [session, life] = await Promise.all([
        this.#admin.session(this.#id, signal),
        this.#admin.life(this.#id, signal),
      ]);
      if (signal.aborted) return;
      const known = this.get();
      this.patch({ session: share(known.session, session), life: share(known.life, life), problem: null });
    } catch (error) {
      if (!signal.aborted) this.patch({ problem: failure(error) });
    }
  }

  async #lookAtLog(): Promise<void> {
    const { signal } = this.#closing;
    this.#following = true;
    const { session } = this.get();
    const last = session !== null && isOver(session);
    try {
      const { lines } = await this.#admin.logs(this.#id, LOG_LINES, signal);
      if (signal.aborted) return;
      this.patch({ log: followed(this.get().log, lines), logProblem: null, logLoaded: true });
    } catch (error) {
      if (signal.aborted) return;
      this.patch({ logProblem: wordsOf(error), logLoaded: true });
    }
    // nothing more can come, as the last look was after its end; or nobody looks
    this.#following = !last && document.visibilityState === "visible";
    if (this.#following) this.#logTimer = setTimeout(() => void this.#lookAtLog(), LOG_MS);
  }
}

function failure(error: unknown): string {
  if (error instanceof Problem && error.code === "session_not_found") {
    return "There is no such session. Records are kept for a day after the end.";
  }
  return wordsOf(error);
}
