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
/** A server that is away is asked less and less often. */
export const POLL_AT_MOST_MS = 5_000;

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
  let failures = 0;
  /** What a server with too many streams asks for between two requests. */
  let crowdedMs = 0;
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
      crowdedMs = problem?.code === "too_many_streams" ? (problem.retryAfterS ?? 0) * 1000 : 0;
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
    let askedMs = 0;
    try {
      const session = await api.request<Session>(path);
      failures = 0;
      if (polling) seen(session);
    } catch (error) {
      failures += 1;
      if (error instanceof Problem) {
        askedMs = (error.retryAfterS ?? 0) * 1000;
        if (isFinal(error)) lost(error);
      }
    }
    // a stream that came through meanwhile has set it to false
    if (polling && !stopped) timer = setTimeout(() => void ask(), Math.max(pauseMs(), askedMs, crowdedMs));
  }

  function pauseMs(): number {
    return failures === 0 ? pollMs : Math.min(POLL_AT_MOST_MS, POLL_MS * 2 ** (failures - 1));
  }

  function stop(): void {
    stopped = true;
    polling = false;
    clearTimeout(timer);
    stream.close();
  }

  return { stop };
}
