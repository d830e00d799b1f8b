import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ApiClient, Problem } from "../lib/api";
import type { EventStreamOptions, StreamStatus } from "../lib/sse";
import { FIRST_EVENT_MS, POLL_AT_MOST_MS, POLL_LATER_MS, POLL_MS, watchSession } from "./watch";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setUp() {
  let status = "starting";
  let failure: number | null = null;
  let retryAfter: string | null = null;
  const fetch = vi.fn(() =>
    Promise.resolve(
      failure === null
        ? Response.json({ sessionId: "s", status })
        : Response.json(
            { code: "session_not_found" },
            { status: failure, headers: retryAfter === null ? {} : { "Retry-After": retryAfter } },
          ),
    ),
  );
  const seen: string[] = [];
  const lost: string[] = [];
  const close = vi.fn();
  let stream: EventStreamOptions | undefined;
  const watch = watchSession(
    new ApiClient({ fetch }),
    "s",
    { onSession: (session) => seen.push(session.status), onLost: (problem) => lost.push(problem.code) },
    (options) => {
      stream = options;
      return { close };
    },
  );
  return {
    watch,
    fetch,
    seen,
    lost,
    close,
    url: stream?.url,
    event: (next: string) =>
      stream?.onEvent({ event: "session", data: JSON.stringify({ sessionId: "s", status: next }), id: undefined }),
    streamIs: (next: StreamStatus, problem?: Problem) => stream?.onStatus?.(next, problem),
    answer: (next: string) => void (status = next),
    fail: (code: number | null, after: string | null = null) => {
      failure = code;
      retryAfter = after;
    },
  };
}

describe("watching a session", () => {
  it("does not poll where events get through", async () => {
    const { event, fetch, seen, url } = setUp();
    expect(url).toBe("/api/session/s/events");
    event("starting");
    await vi.advanceTimersByTimeAsync(60_000);
    event("ready");
    expect(seen).toEqual(["starting", "ready"]);
    expect(fetch).not.toHaveBeenCalled();
  });

  it("polls when nothing came for a while, and stops when something does", async () => {
    const { answer, event, fetch, seen } = setUp();
    await vi.advanceTimersByTimeAsync(FIRST_EVENT_MS - 1);
    expect(fetch).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1 + POLL_MS);
    answer("ready");
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(seen).toEqual(["starting", "starting", "ready"]);
    event("active");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetch).toHaveBeenCalledTimes(3);
  });

  it("polls at once when the stream breaks", async () => {
    const { fetch, streamIs } = setUp();
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(0);
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  it("polls on where the API has no events", async () => {
    const { fetch, lost, streamIs } = setUp();
    streamIs("closed", new Problem("not_found", "", 404));
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(fetch).toHaveBeenCalledTimes(2);
    expect(lost).toEqual([]);
  });

  it("asks less often once the user talks", async () => {
    const { answer, fetch, streamIs } = setUp();
    answer("active");
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(POLL_LATER_MS - 1);
    expect(fetch).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it.each(["ended", "failed"])("is over when the session is %s", async (status) => {
    const { close, event, fetch, seen, streamIs } = setUp();
    event(status);
    streamIs("lost");
    event("active");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(seen).toEqual([status]);
    expect(close).toHaveBeenCalled();
    expect(fetch).not.toHaveBeenCalled();
  });

  it("tells when the server knows no such session", async () => {
    const { fail, lost, streamIs } = setUp();
    fail(404);
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(0);
    expect(lost).toEqual(["session_not_found"]);
  });

  it("goes on through a server that is away", async () => {
    const { fail, lost, fetch, streamIs } = setUp();
    fail(503);
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(3 * POLL_MS);
    expect(fetch).toHaveBeenCalledTimes(3);
    expect(lost).toEqual([]);
  });

  it("asks a server that is away less and less often, and often again once it is back", async () => {
    const { fail, fetch, streamIs } = setUp();
    fail(503);
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(60_000);
    // at 0, 0.5, 1.5, 3.5 and 7.5 s, then each 5 s
    expect(fetch).toHaveBeenCalledTimes(5 + 10);
    fail(null);
    await vi.advanceTimersByTimeAsync(POLL_AT_MOST_MS);
    const before = fetch.mock.calls.length;
    await vi.advanceTimersByTimeAsync(10 * POLL_MS);
    expect(fetch).toHaveBeenCalledTimes(before + 10);
  });

  it("waits as long as it is told to", async () => {
    const { fail, fetch, streamIs } = setUp();
    fail(503, "7");
    streamIs("lost");
    await vi.advanceTimersByTimeAsync(6_999);
    expect(fetch).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("asks at once, then as seldom as it is told to, where there are too many streams", async () => {
    const { fetch, streamIs } = setUp();
    streamIs("lost", new Problem("too_many_streams", "", 503, 5));
    await vi.advanceTimersByTimeAsync(4_999);
    expect(fetch).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("stops when it is told to", async () => {
    const { close, fetch, watch } = setUp();
    watch.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(close).toHaveBeenCalled();
    expect(fetch).not.toHaveBeenCalled();
  });
});
