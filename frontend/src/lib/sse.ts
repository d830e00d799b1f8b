/** Server-sent events over fetch: unlike EventSource it can present an Authorization header. */

import { createParser, type EventSourceMessage } from "eventsource-parser";

import { isFinal, Problem, problemOf } from "./api";

/** `stale`: open, but nothing came for longer than it should. `lost`: will try again. `closed`: for good. */
export type StreamStatus = "connecting" | "open" | "stale" | "lost" | "closed";

export interface EventStreamOptions {
  url: string;
  headers?: () => Record<string, string>;
  onEvent: (event: EventSourceMessage) => void;
  onStatus?: (status: StreamStatus, problem?: Problem) => void;
  fetch?: typeof fetch;
  /** A byte, be it of a comment, is expected at least so often. */
  staleMs?: number;
  random?: () => number;
}

const STALE_MS = 25_000;
const RETRY_MS = 500;
const RETRY_AT_MOST_MS = 15_000;

/** Opens the stream, and keeps it open, until `close()` or an answer that will not change. */
export class EventStream {
  readonly #options: EventStreamOptions;
  readonly #closing = new AbortController();
  #request = new AbortController();
  #staleTimer: ReturnType<typeof setTimeout> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MS;
  #attempt = 0;
  #lastId: string | undefined;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    void this.#connect();
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  close(): void {
    if (this.closed) return;
    this.#closing.abort();
    this.#stopTimers();
    this.#request.abort();
    this.#options.onStatus?.("closed");
  }

  async #connect(): Promise<void> {
    this.#request = new AbortController();
    this.#options.onStatus?.("connecting");
    this.#awake();
    try {
      await this.#read(await this.#open());
      this.#lost();
    } catch (error) {
      this.#lost(error instanceof Problem ? error : new Problem("unreachable", "The server cannot be reached."));
    }
  }

  async #open(): Promise<ReadableStream<Uint8Array>> {
    const request = this.#options.fetch ?? fetch;
    const response = await request(this.#options.url, {
      headers: {
        Accept: "text/event-stream",
        ...(this.#lastId ? { "Last-Event-ID": this.#lastId } : {}),
        ...this.#options.headers?.(),
      },
      credentials: "omit",
      cache: "no-store",
      signal: this.#request.signal,
    });
    if (!response.ok) throw await problemOf(response);
    const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream") ?? false;
    if (!isStream || !response.body) throw new Problem("not_a_stream", "The answer was not an event stream.");
    if (!this.closed) this.#options.onStatus?.("open");
    return response.body;
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const parser = createParser({
      onEvent: (event) => {
        if (this.closed) return;
        this.#attempt = 0;
        this.#lastId = event.id ?? this.#lastId;
        this.#options.onEvent(event);
      },
      onRetry: (ms) => (this.#retryMs = ms),
    });
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      this.#awake();
      parser.feed(decoder.decode(part.value, { stream: true }));
    }
  }

  /** Something came: the next thing is expected within `staleMs`. */
  #awake(): void {
    clearTimeout(this.#staleTimer);
    if (this.closed) return;
    this.#staleTimer = setTimeout(() => {
      this.#options.onStatus?.("stale");
      this.#request.abort();
    }, this.#options.staleMs ?? STALE_MS);
  }

  #lost(problem?: Problem): void {
    this.#stopTimers();
    if (this.closed) return;
    if (problem && isFinal(problem)) {
      this.#closing.abort();
      this.#options.onStatus?.("closed", problem);
      return;
    }
    this.#options.onStatus?.("lost", problem);
    this.#retryTimer = setTimeout(() => void this.#connect(), this.#delayMs(problem));
  }

  #delayMs(problem?: Problem): number {
    const jitter = 0.5 + (this.#options.random ?? Math.random)() / 2;
    const backoff = Math.min(RETRY_AT_MOST_MS, this.#retryMs * 2 ** this.#attempt) * jitter;
    this.#attempt += 1;
    return Math.max(backoff, (problem?.retryAfterS ?? 0) * 1000);
  }

  #stopTimers(): void {
    clearTimeout(this.#staleTimer);
    clearTimeout(this.#retryTimer);
  }
}
