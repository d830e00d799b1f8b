/** Calls of the API: JSON there and back, and every failure as one kind of error. */

import type { ProblemBody } from "./types";

/** Why a call failed. `code` is what programs go by; `unreachable` and `timeout` mean that there was no answer. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly code: string,
    readonly detail: string,
    readonly status: number | null = null,
    readonly retryAfterS: number | null = null,
    readonly errors: readonly { field: string; message: string }[] = [],
  ) {
    super(detail);
  }
}

export interface ApiOptions {
  /** Origin of the API; empty for the page's own. */
  base?: string;
  /** What to present as `Authorization: Bearer …`, asked for at each call. */
  bearer?: () => string | null;
  fetch?: typeof fetch;
  timeoutMs?: number;
}

export interface RequestOptions {
  method?: "GET" | "POST" | "DELETE";
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Survives the page, for what is sent while it closes. */
  keepalive?: boolean;
}

const TIMEOUT_MS = 15_000;

export class ApiClient {
  readonly base: string;
  readonly #bearer: () => string | null;
  readonly #fetch: typeof fetch;
  readonly #timeoutMs: number;

  constructor(options: ApiOptions = {}) {
    this.base = (options.base ?? "").replace(/\/+$/, "");
    this.#bearer = options.bearer ?? (() => null);
    this.#fetch = options.fetch ?? ((...args) => fetch(...args));
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  /** The headers that say who asks. */
  authorization(): Record<string, string> {
    const bearer = this.#bearer();
    return bearer ? { Authorization: `Bearer ${bearer}` } : {};
  }

  /** @throws {Problem} for every answer that is not a success, and for none. */
  async request<T>(path: string, options: RequestOptions = {}): Promise<T> {
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    let response: Response;
    try {
      response = await this.#fetch(this.base + path, this.#init(options, signal));
    } catch (error) {
      throw noAnswer(error);
    }
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return undefined as T;
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw error instanceof SyntaxError ? new Problem("not_json", "The answer was not JSON.") : noAnswer(error);
    }
  }

  #init(options: RequestOptions, signal: AbortSignal): RequestInit {
    const hasBody = options.body !== undefined;
    return {
      method: options.method ?? "GET",
      headers: {
        Accept: "application/json",
        ...(hasBody ? { "Content-Type": "application/json" } : {}),
        ...this.authorization(),
        ...options.headers,
      },
      ...(hasBody ? { body: JSON.stringify(options.body) } : {}),
      ...(options.keepalive ? { keepalive: true } : {}),
      credentials: "omit",
      cache: "no-store",
      signal,
    };
  }
}

/** An id as a part of a path. */
export function segment(id: string): string {
  return encodeURIComponent(id);
}

/** Whether there is no sense in asking again with the same words. */
export function isFinal(problem: Problem): boolean {
  const { status } = problem;
  return status !== null && status >= 400 && status < 500 && status !== 408 && status !== 429;
}

function noAnswer(error: unknown): Problem {
  const name = error instanceof Error ? error.name : "";
  if (name === "AbortError") return new Problem("aborted", "The request was given up.");
  if (name === "TimeoutError") return new Problem("timeout", "The server did not answer in time.");
  return new Problem("unreachable", "The server cannot be reached.");
}

/** What an answer that is not a success says. */
export async function problemOf(response: Response): Promise<Problem> {
  let body: Partial<ProblemBody> = {};
  try {
    body = ((await response.json()) ?? {}) as Partial<ProblemBody>;
  } catch {
    // a proxy's own error page: the status has to do
  }
  return new Problem(
    typeof body.code === "string" ? body.code : `http_${response.status}`,
    typeof body.detail === "string" ? body.detail : `The server answered ${response.status}.`,
    response.status,
    retryAfterS(response.headers.get("Retry-After")),
    Array.isArray(body.errors) ? body.errors : [],
  );
}

/** Seconds from a Retry-After header, which may also be a date. */
export function retryAfterS(header: string | null, nowMs = Date.now()): number | null {
  if (header === null) return null;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - nowMs) / 1000));
}
