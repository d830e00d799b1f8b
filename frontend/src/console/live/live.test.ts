import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiClient } from "../../lib/api";
import { AdminApi } from "../data/admin";
import { answering, OVERVIEW, sample } from "../testing";
import { Live } from "./live";
import { connectionOf } from "./state";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A console whose event streams the test writes to. */
function scene(status = 200) {
  const streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  const stream = (_: URL, init?: RequestInit): Response => {
    if (status !== 200) return Response.json({ code: "x", detail: "No." }, { status });
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        streams.push(controller);
        init?.signal?.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
  const { asked, fetch } = answering({
    "GET /api/events": stream,
    "GET /api/pool/history": () => ({ everyS: 5, samples: [sample(1_090), sample(1_095)] }),
  });
  vi.stubGlobal("fetch", fetch);
  const refused = vi.fn();
  const live = new Live(new AdminApi(new ApiClient({ fetch }), refused), refused);
  live.start();
  const send = async (event: string, data: unknown): Promise<void> => {
    streams.at(-1)?.enqueue(new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
    await vi.advanceTimersByTimeAsync(0);
  };
  return { live, asked, streams, send, refused, connection: () => connectionOf(live.get(), Date.now()) };
}

test("events become state, and the hour before is fetched", async () => {
  const { live, send, connection } = scene();
  await vi.advanceTimersByTimeAsync(0);
  await send("overview", OVERVIEW);
  await send("sample", sample(1_100));
  expect(live.get().overview).toEqual(OVERVIEW);
  expect(live.get().samples.map((s) => s.at)).toEqual([1_090, 1_095, 1_100]);
  expect(connection()).toBe("live");
  live.stop();
});

test("listeners hear which sessions changed, and that anything may have after a break", async () => {
  const { live, send } = scene();
  const heard = vi.fn();
  const stop = live.onSessions(heard);
  await vi.advanceTimersByTimeAsync(0);
  expect(heard).toHaveBeenLastCalledWith({ ids: [], more: true });
  await send("sessions", { ids: ["a"], more: false });
  expect(heard).toHaveBeenLastCalledWith({ ids: ["a"], more: false });
  stop();
  await send("sessions", { ids: ["b"], more: false });
  expect(heard).toHaveBeenCalledTimes(2);
  live.stop();
});

test("a silent stream is stale first, then lost and opened again", async () => {
  const { live, send, asked, connection } = scene();
  await vi.advanceTimersByTimeAsync(0);
  await send("overview", OVERVIEW);
  await vi.advanceTimersByTimeAsync(5_500);
  expect(connection()).toBe("stale");
  await vi.advanceTimersByTimeAsync(7_000);
  expect(connection()).toBe("lost");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.filter((call) => call === "GET /api/events")).toHaveLength(2);
  await send("overview", OVERVIEW);
  expect(connection()).toBe("live");
  live.stop();
});

test("a stream that breaks is lost at once; what was cut off is left out", async () => {
  const { live, send, streams, connection } = scene();
  await vi.advanceTimersByTimeAsync(0);
  await send("overview", OVERVIEW);
  streams[0]?.enqueue(new TextEncoder().encode('event: overview\ndata: {"at":\n\n'));
  streams[0]?.close();
  await vi.advanceTimersByTimeAsync(0);
  expect(live.get().overview).toEqual(OVERVIEW);
  expect(connection()).toBe("lost");
  live.stop();
});

test.each([401, 403])("%i leads back to the sign-in", async (status) => {
  const { live, refused } = scene(status);
  await vi.advanceTimersByTimeAsync(0);
  expect(refused).toHaveBeenCalledOnce();
  live.stop();
});

test("a stopped one is silent", async () => {
  const { live, send } = scene();
  await vi.advanceTimersByTimeAsync(0);
  live.stop();
  const before = live.get();
  await send("overview", OVERVIEW).catch(() => undefined);
  expect(live.get()).toBe(before);
});
