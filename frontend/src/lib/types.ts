/** What the API answers, as docs and OpenAPI document describe it. Times are Unix seconds, unless a name ends in Ms. */

export type SessionStatus = "starting" | "ready" | "active" | "ended" | "failed";

/** All that a browser needs to join a room. The token is never stored, logged or put into an address. */
export interface Join {
  url: string;
  token: string;
  room: string;
  identity: string;
  expiresAt: number;
}

export interface ReadyAnswer {
  sessionId: string;
  status: "ready";
  prewarmed: boolean;
  latencyMs: number;
  join?: Join;
}

export interface StartingAnswer {
  sessionId: string;
  status: "starting";
  queuePosition: number;
  /** null while nobody can say */
  estimatedWaitMs: number | null;
}

export type StartAnswer = ReadyAnswer | StartingAnswer;

export interface Session {
  sessionId: string;
  status: SessionStatus;
  /** The kind of its agent. */
  agent?: string;
  userId: string | null;
  prewarmed: boolean;
  createdAt: number;
  startupTime: number | null;
  assignedAt: number | null;
  endedAt: number | null;
  endReason: string | null;
  queuePosition: number | null;
  estimatedWaitMs?: number | null;
  /** "code: words" */
  error: string | null;
  /** Agents that died in this call and were replaced. */
  replacements: number;
  /** For the admin only. */
  host?: string | null;
  agentPid?: number | null;
}

export interface Turn {
  role: "user" | "assistant";
  text: string;
  at: number;
  interrupted: boolean;
  latencyMs: number | null;
}

/** In their order; each in ms after the click. */
export const MARKS = ["click", "answer", "token", "connected", "agentSeen", "firstSound"] as const;
export type Mark = (typeof MARKS)[number];
export type Marks = Partial<Record<Mark, number>>;

export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  errors?: { field: string; message: string }[];
}
