/** The admin's calls, each by its name. */

import { type ApiClient, Problem, segment, type RequestOptions } from "../../lib/api";
import type { Session } from "../../lib/types";
import type { History, Life, LogLine, Pool, SessionsPage } from "./types";

export interface SessionsQuery {
  status: string;
  q: string;
  limit: number;
  cursor: string | null;
}

export interface Abilities {
  drain: boolean;
  undrain: boolean;
}

export class AdminApi {
  readonly client: ApiClient;
  readonly #onRefused: (problem: Problem) => void;

  /** `onRefused` hears of it when the token is no longer taken. */
  constructor(client: ApiClient, onRefused: (problem: Problem) => void) {
    this.client = client;
    this.#onRefused = onRefused;
  }

  pool = (): Promise<Pool> => this.#call("/api/pool");

  history = (): Promise<History> => this.#call("/api/pool/history?seconds=3600");

  /** Of one kind of agent, where there are several. */
  resize = (size: number, agent?: string): Promise<{ size: number; previous: number }> =>
    this.#call("/api/pool/resize", { method: "POST", body: agent === undefined ? { size } : { size, agent } });

  sessions = (query: SessionsQuery, signal: AbortSignal): Promise<SessionsPage> =>
    this.#call(`/api/sessions?${sessionsSearch(query)}`, { signal });

  session = (id: string, signal: AbortSignal): Promise<Session> =>
    this.#call(`/api/session/${segment(id)}`, { signal });

  life = (id: string, signal: AbortSignal): Promise<Life> => this.#call(`/api/session/${segment(id)}/life`, { signal });

  logs = (id: string, limit: number, signal: AbortSignal): Promise<{ lines: LogLine[] }> =>
    this.#call(`/api/session/${segment(id)}/logs?limit=${limit}`, { signal });

  end = (id: string): Promise<{ changed: boolean }> => this.#call(`/api/session/${segment(id)}`, { method: "DELETE" });

  drain = (host: string, draining: boolean): Promise<unknown> =>
    this.#call(`/api/hosts/${segment(host)}/${draining ? "drain" : "undrain"}`, { method: "POST" });

  async abilities(): Promise<Abilities> {
    return abilitiesOf(await this.#call("/openapi.json"));
  }

  async #call<T>(path: string, options?: RequestOptions): Promise<T> {
    try {
      return await this.client.request<T>(path, options);
    } catch (error) {
      if (error instanceof Problem && isRefusal(error)) this.#onRefused(error);
      throw error;
    }
  }
}

/** Whether signing in again is the way on: another token, or none is set at all. */
export function isRefusal(problem: Problem): boolean {
  return problem.status === 401 || problem.status === 403;
}

export function sessionsSearch(query: SessionsQuery): string {
  const search = new URLSearchParams({ limit: String(query.limit) });
  if (query.status) search.set("status", query.status);
  if (query.q) search.set("q", query.q);
  if (query.cursor) search.set("cursor", query.cursor);
  return search.toString();
}

/** What this server can do to a host, by its own OpenAPI document. */
export function abilitiesOf(document: unknown): Abilities {
  const paths = (document as { paths?: Record<string, object> } | null)?.paths ?? {};
  const has = (act: string): boolean =>
    Object.entries(paths).some(([path, item]) => hostAct.exec(path)?.[1] === act && "post" in item);
  return { drain: has("drain"), undrain: has("undrain") };
}

const hostAct = /^\/api\/hosts\/\{[^}/]+\}\/(drain|undrain)$/;

/** A failure in words, whatever was thrown. */
export function wordsOf(error: unknown): string {
  return error instanceof Problem ? error.detail : "Something went wrong in this page.";
}
