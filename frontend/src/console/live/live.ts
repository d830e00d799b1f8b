/** The one stream that the screen lives on. */

import type { EventSourceMessage } from "eventsource-parser";

import type { Problem } from "../../lib/api";
import { EventStream, type StreamStatus } from "../../lib/sse";
import { type AdminApi, isRefusal } from "../data/admin";
import { Store } from "../data/store";
import type { Overview, Sample, SessionsChanged } from "../data/types";
import { type LiveState, NOTHING_YET, withHistory, withOverview, withSample, withStatus } from "./state";

/** A stream that is silent for so long is given up, and another one opened. It is called stale long before. */
const GIVE_UP_MS = 12_000;

export class Live extends Store<LiveState> {
  readonly #admin: AdminApi;
  readonly #onRefused: (problem: Problem) => void;
  readonly #sessionsListeners = new Set<(changed: SessionsChanged) => void>();
  #stream: EventStream | undefined;
  #generation = 0;

  constructor(admin: AdminApi, onRefused: (problem: Problem) => void) {
    super(NOTHING_YET);
    this.#admin = admin;
    this.#onRefused = onRefused;
  }

  /** Opens the stream; also when one is open or waits to be opened again. */
  start = (): void => {
    this.stop();
    const { client } = this.#admin;
    const generation = this.#generation;
    this.#stream = new EventStream({
      url: `${client.base}/api/events`,
      headers: () => client.authorization(),
      staleMs: GIVE_UP_MS,
      onEvent: (event) => this.#heard(event),
      // one that was replaced has nothing more to say
      onStatus: (status, problem) => {
        if (this.#generation === generation) this.#moved(status, problem);
      },
    });
  };

  stop = (): void => {
    this.#generation += 1;
    this.#stream?.close();
    this.#stream = undefined;
  };

  /** Calls the listener for each batch of changed sessions; returns how to stop it. */
  onSessions = (listener: (changed: SessionsChanged) => void): (() => void) => {
    this.#sessionsListeners.add(listener);
    return () => void this.#sessionsListeners.delete(listener);
  };

  #moved(status: StreamStatus, problem?: Problem): void {
    if (problem && isRefusal(problem)) {
      this.#onRefused(problem);
      return;
    }
    this.set(withStatus(this.get(), status, problem));
    if (status === "open") this.#catchUp();
  }

  /** What happened while no stream was open. */
  #catchUp(): void {
    this.#tell({ ids: [], more: true });
    void this.#admin.history().then(
      ({ samples, everyS }) => this.set(withHistory(this.get(), samples, everyS)),
      () => undefined, // the chart goes on with live samples; that the server is away, the stream says
    );
  }

  #heard(event: EventSourceMessage): void {
    const data = parsed(event.data);
    if (data === undefined) return;
    const nowMs = Date.now();
    if (event.event === "overview") this.set(withOverview(this.get(), data as Overview, nowMs));
    if (event.event === "sample") this.set(withSample(this.get(), data as Sample, nowMs));
    if (event.event === "sessions") this.#tell(data as SessionsChanged);
  }

  #tell(changed: SessionsChanged): void {
    for (const listener of this.#sessionsListeners) listener(changed);
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data) as unknown;
  } catch {
    return undefined; // cut off; the next one comes within two seconds
  }
}
