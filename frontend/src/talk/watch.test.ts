import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ApiClient, Problem } from "../lib/api";
import type { EventStreamOptions, StreamStatus } from "../lib/sse";
import { FIRST_EVENT_MS, POLL_LATER_MS, POLL_MS, watchSession } from "./watch";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setUp() {
  let status = "starting";
  let failure: number | null = null;
  const fetch = vi.fn(() =>
    Promise.resolve(
      failure === null
        ? Response.json({ sessionId: "s", status })
        : Response.json({ code: "session_not_found" }, { status: failure }),
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
    fail: (code: number) => void (failure = code),
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
    expect(fetch).toHaveBeenCalledTimes(4);
    expect(lost).toEqual([]);
  });

  it("stops when it is told to", async () => {
    const { close, fetch, watch } = setUp();
    watch.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(close).toHaveBeenCalled();
    expect(fetch).not.toHaveBeenCalled();
  });
});
