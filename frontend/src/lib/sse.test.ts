import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { EventStream, type EventStreamOptions, type StreamStatus } from "./sse";

/** One connection that the test feeds by hand. */
class Connection {
  readonly init: RequestInit;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  readonly response: Response;

  constructor(init: RequestInit = {}) {
    this.init = init;
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#controller = controller) });
    this.response = new Response(body, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
    init.signal?.addEventListener("abort", () => this.#controller?.error(new Error("aborted")));
  }

  async send(text: string): Promise<void> {
    this.#controller?.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async close(): Promise<void> {
    this.#controller?.close();
    await settle();
  }
}

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

function setUp(options: Partial<EventStreamOptions> = {}) {
  const connections: Connection[] = [];
  const events: string[] = [];
  const statuses: StreamStatus[] = [];
  const problems: (string | undefined)[] = [];
  const stream = new EventStream({
    url: "/events",
    fetch: (_, init) => {
      const connection = new Connection(init);
      connections.push(connection);
      return Promise.resolve(connection.response);
    },
    onEvent: ({ event, data }) => events.push(`${event ?? "message"}:${data}`),
    onStatus: (status, problem) => {
      statuses.push(status);
      problems.push(problem?.code);
    },
    random: () => 1,
    ...options,
  });
  const connection = (index: number): Connection => {
    const found = connections[index];
    if (!found) throw new Error(`no connection ${index}`);
    return found;
  };
  return { stream, connections, connection, events, statuses, problems };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("a stream of events", () => {
  it("passes on events, also those that come in pieces", async () => {
    const { connection, events, statuses } = setUp({ headers: () => ({ Authorization: "Bearer secret" }) });
    await settle();
    await connection(0).send("event: session\nda");
    await connection(0).send("ta: {}\n\n: keep-alive\n\ndata: é\n\n");
    expect(events).toEqual(["session:{}", "message:é"]);
    expect(statuses).toEqual(["connecting", "open"]);
    expect(connection(0).init.headers).toMatchObject({ Authorization: "Bearer secret", Accept: "text/event-stream" });
  });

  it("is taken up again after it broke off, where it broke off, ever later", async () => {
    const { connection, connections, statuses } = setUp();
    await settle();
    await connection(0).send("id: 7\nretry: 100\ndata: x\n\n");
    await connection(0).close();
    expect(statuses.at(-1)).toBe("lost");
    await vi.advanceTimersByTimeAsync(99);
    expect(connections).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(connection(1).init.headers).toMatchObject({ "Last-Event-ID": "7" });
    await connection(1).close();
    await vi.advanceTimersByTimeAsync(199);
    expect(connections).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(connections).toHaveLength(3);
  });

  it("that is silent is stale, and opened anew", async () => {
    const { connection, connections, statuses } = setUp({ staleMs: 1_000 });
    await settle();
    await vi.advanceTimersByTimeAsync(900);
    await connection(0).send(": keep-alive\n\n");
    await vi.advanceTimersByTimeAsync(900);
    expect(statuses).not.toContain("stale");
    await vi.advanceTimersByTimeAsync(100);
    expect(statuses.slice(-2)).toEqual(["stale", "lost"]);
    await vi.advanceTimersByTimeAsync(500);
    expect(connections).toHaveLength(2);
  });

  it("is not opened again after an answer that will not change", async () => {
    const fetch = vi.fn(() => Promise.resolve(Response.json({ code: "session_not_found" }, { status: 404 })));
    const { statuses, problems, stream } = setUp({ fetch });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect([statuses.at(-1), problems.at(-1)]).toEqual(["closed", "session_not_found"]);
    expect(stream.closed).toBe(true);
  });

  it("waits for as long as it is told to", async () => {
    const busy = (): Promise<Response> =>
      Promise.resolve(Response.json({ code: "rate_limited" }, { status: 429, headers: { "Retry-After": "9" } }));
    const fetch = vi.fn(busy);
    setUp({ fetch });
    await vi.advanceTimersByTimeAsync(8_999);
    expect(fetch).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it("takes a page of a proxy for no stream", async () => {
    const fetch = vi.fn(() => Promise.resolve(new Response("<html>", { headers: { "Content-Type": "text/html" } })));
    const { statuses, problems } = setUp({ fetch });
    await settle();
    expect([statuses.at(-1), problems.at(-1)]).toEqual(["lost", "not_a_stream"]);
  });

  it("is over when it is closed", async () => {
    const { connection, connections, events, statuses, stream } = setUp();
    await settle();
    stream.close();
    stream.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(connection(0).init.signal?.aborted).toBe(true);
    expect(connections).toHaveLength(1);
    expect(statuses.filter((status) => status === "closed")).toHaveLength(1);
    expect(events).toEqual([]);
  });
});
