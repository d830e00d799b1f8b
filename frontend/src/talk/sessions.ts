/** The calls of the API that the talk page makes. */

import { type ApiClient, isFinal, Problem, segment } from "../lib/api";
import type { Join, Marks, Session, StartAnswer, Turn } from "../lib/types";
import type { Failure } from "./states";

export interface StartBody {
  userId: string;
  userName: string;
  voice?: string;
  language?: string;
  metadata?: Record<string, string>;
}

export interface Sessions {
  start(body: StartBody, key: string): Promise<StartAnswer>;
  token(sessionId: string, userName: string): Promise<Join>;
  session(sessionId: string): Promise<Session>;
  turns(sessionId: string): Promise<readonly Turn[]>;
  end(sessionId: string): Promise<void>;
  report(sessionId: string, marks: Marks): Promise<void>;
}

export function sessionsOf(api: ApiClient): Sessions {
  const path = (sessionId: string, part = ""): string => `/api/session/${segment(sessionId)}${part}`;
  return {
    start: (body, key) => {
      return api.request("/api/session/start", { method: "POST", body, headers: { "Idempotency-Key": key } });
    },
    token: (sessionId, userName) => api.request("/api/token", { method: "POST", body: { sessionId, userName } }),
    session: (sessionId) => api.request(path(sessionId)),
    turns: async (sessionId) => (await api.request<{ turns: Turn[] }>(path(sessionId, "/turns"))).turns,
    end: (sessionId) => api.request(path(sessionId), { method: "DELETE", keepalive: true }),
    report: (sessionId, marks) => {
      return api.request(path(sessionId, "/timeline"), { method: "POST", body: { marks }, keepalive: true });
    },
  };
}

export function failureOf(error: unknown): Failure {
  if (!(error instanceof Problem)) return { code: "page", detail: "", retryAfterS: null, final: true };
  return { code: error.code, detail: error.detail, retryAfterS: error.retryAfterS, final: isFinal(error) };
}
