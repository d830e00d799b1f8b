/** A session as it changes: by server-sent events, or asked for again and again where those do not get through. */

import { type ApiClient, isFinal, Problem, segment } from "../lib/api";
import { EventStream, type EventStreamOptions } from "../lib/sse";
import type { Session } from "../lib/types";

export interface Watch {
  stop(): void;
}

export interface WatchHandlers {
  onSession(session: Session): void;
  /** The server knows no such session, or will not say: for good. */
  onLost(problem: Problem): void;
}

/** Proxies that hold events back give no error: silence for so long is the sign. */
export const FIRST_EVENT_MS = 2_000;
export const POLL_MS = 500;
/** Once it talks, less can change. */
export const POLL_LATER_MS = 2_000;

type OpenStream = (options: EventStreamOptions) => { close(): void };

export function watchSession(
  api: ApiClient,
  sessionId: string,
  handlers: WatchHandlers,
  open: OpenStream = (options) => new EventStream(options),
): Watch {
  const path = `/api/session/${segment(sessionId)}`;
  let stopped = false;
  let polling = false;
  let pollMs = POLL_MS;
  let timer: ReturnType<typeof setTimeout> | undefined = setTimeout(poll, FIRST_EVENT_MS);

  const stream = open({
    url: `${api.base}${path}/events`,
    headers: () => api.authorization(),
    onEvent(event) {
      if (event.event !== "session") return;
      streaming();
      seen(JSON.parse(event.data) as Session);
    },
    onStatus(status, problem) {
      if (stopped || status === "open" || status === "connecting") return;
      // not what an API without events or a proxy in between answers about a session
      if (problem && isFinal(problem) && problem.code.startsWith("session_")) lost(problem);
      else poll();
    },
  });

  function streaming(): void {
    polling = false;
    clearTimeout(timer);
  }

  function seen(session: Session): void {
    if (stopped) return;
    pollMs = session.status === "active" ? POLL_LATER_MS : POLL_MS;
    if (session.status === "ended" || session.status === "failed") stop();
    handlers.onSession(session);
  }

  function lost(problem: Problem): void {
    if (stopped) return;
    stop();
    handlers.onLost(problem);
  }

  function poll(): void {
    if (polling || stopped) return;
    polling = true;
    void ask();
  }

  async function ask(): Promise<void> {
    try {
      const session = await api.request<Session>(path);
      if (polling) seen(session);
    } catch (error) {
      if (error instanceof Problem && isFinal(error)) lost(error);
    }
    // a stream that came through meanwhile has set it to false
    if (polling && !stopped) timer = setTimeout(() => void ask(), pollMs);
  }

  function stop(): void {
    stopped = true;
    polling = false;
    clearTimeout(timer);
    stream.close();
  }

  return { stop };
}
