import { describe, expect, it, vi } from "vitest";

import { ApiClient, isFinal, Problem, retryAfterS, segment } from "./api";

function answering(status: number, body: unknown, headers: Record<string, string> = {}) {
  return vi.fn<typeof fetch>(() => {
    const text = body === undefined ? null : JSON.stringify(body);
    return Promise.resolve(new Response(text, { status, headers }));
  });
}

async function problemOf(request: Promise<unknown>): Promise<Problem> {
  const error: unknown = await request.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof Problem) return error;
  throw new Error("no problem");
}

describe("a request", () => {
  it("is JSON, with the bearer in a header and nowhere else", async () => {
    const fetch = answering(200, { sessionId: "s" });
    const api = new ApiClient({ base: "https://greenroom.example/", bearer: () => "secret", fetch });
    await expect(api.request("/api/x", { method: "POST", body: { a: 1 } })).resolves.toEqual({ sessionId: "s" });
    const [url, init] = fetch.mock.calls[0] ?? [];
    expect(url).toBe("https://greenroom.example/api/x");
    expect(init).toMatchObject({ method: "POST", body: '{"a":1}', credentials: "omit", cache: "no-store" });
    expect(init?.headers).toMatchObject({ Authorization: "Bearer secret", "Content-Type": "application/json" });
  });

  it("presents nothing when there is nothing", async () => {
    const fetch = answering(200, {});
    await new ApiClient({ fetch }).request("/api/x");
    expect(fetch.mock.calls[0]?.[1]?.headers).toEqual({ Accept: "application/json" });
  });

  it("may be answered with nothing", async () => {
    await expect(new ApiClient({ fetch: answering(204, undefined) }).request("/api/x")).resolves.toBeUndefined();
  });
});

describe("a failure", () => {
  it("says what the problem says", async () => {
    const body = { code: "at_capacity", detail: "Every agent is busy.", errors: [{ field: "a", message: "b" }] };
    const fetch = answering(503, body, { "Retry-After": "7" });
    expect(await problemOf(new ApiClient({ fetch }).request("/api/x"))).toMatchObject({
      ...body,
      status: 503,
      retryAfterS: 7,
    });
  });

  it("that is a proxy's own page is told by its status", async () => {
    const fetch = vi.fn(() => Promise.resolve(new Response("<html>", { status: 502 })));
    expect(await problemOf(new ApiClient({ fetch }).request("/api/x"))).toMatchObject({
      code: "http_502",
      status: 502,
    });
  });

  it("without an answer is unreachable, too slow, or given up", async () => {
    const failing = (name: string) => vi.fn(() => Promise.reject(Object.assign(new Error(), { name })));
    const codeOf = async (name: string) =>
      (await problemOf(new ApiClient({ fetch: failing(name) }).request("/api/x"))).code;
    expect(await codeOf("TypeError")).toBe("unreachable");
    expect(await codeOf("TimeoutError")).toBe("timeout");
    expect(await codeOf("AbortError")).toBe("aborted");
  });

  it("of a success that is not JSON is a failure", async () => {
    const fetch = vi.fn(() => Promise.resolve(new Response("<html>", { status: 200 })));
    expect((await problemOf(new ApiClient({ fetch }).request("/api/x"))).code).toBe("not_json");
  });
});

describe("asking again", () => {
  it.each([
    [401, true],
    [404, true],
    [422, true],
    [408, false],
    [429, false],
    [500, false],
    [503, false],
    [null, false],
  ])("after %s is final: %s", (status, final) => expect(isFinal(new Problem("code", "", status))).toBe(final));

  it("reads Retry-After as seconds and as a date", () => {
    expect(retryAfterS("12")).toBe(12);
    expect(retryAfterS("Thu, 01 Jan 1970 00:00:30 GMT", 10_500)).toBe(20);
    expect(retryAfterS("Thu, 01 Jan 1970 00:00:30 GMT", 99_000)).toBe(0);
    expect(retryAfterS("soon")).toBeNull();
    expect(retryAfterS(null)).toBeNull();
  });
});

it("an id cannot leave its part of a path", () => expect(segment("../x?y")).toBe("..%2Fx%3Fy"));
