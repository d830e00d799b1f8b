/** The list of sessions: which page, what of it is known, and when to ask again. No I/O and no clock. */

import type { Session } from "../../lib/types";
import { shareRows } from "../data/share";
import type { SessionsChanged, SessionsPage } from "../data/types";

export const PAGE_SIZE = 50;
/** Of a search: longer ones the server refuses. */
export const SEARCH_AT_MOST = 128;

export interface ListState {
  status: string;
  q: string;
  /** Where each page up to this one begins; the first begins at null. */
  cursors: readonly (string | null)[];
  rows: readonly Session[];
  /** Where the next page begins; null when this is the last one. */
  next: string | null;
  /** Nothing of what was asked for is known yet. */
  loading: boolean;
  problem: string | null;
}

export const FIRST: ListState = {
  status: "",
  q: "",
  cursors: [null],
  rows: [],
  next: null,
  loading: true,
  problem: null,
};

export function filtered(state: ListState, filter: { status?: string; q?: string }): ListState {
  return { ...state, ...filter, cursors: [null], next: null, loading: true };
}

export function turnedOn(state: ListState): ListState {
  return state.next === null ? state : { ...state, cursors: [...state.cursors, state.next], next: null, loading: true };
}

export function turnedBack(state: ListState): ListState {
  if (state.cursors.length === 1) return state;
  return { ...state, cursors: state.cursors.slice(0, -1), next: null, loading: true };
}

export function withPage(state: ListState, page: SessionsPage): ListState {
  return {
    ...state,
    rows: shareRows(state.rows, page.sessions, (row) => row.sessionId),
    next: page.cursor,
    loading: false,
    problem: null,
  };
}

/** Rows that answer an earlier question are not left standing under this one. */
export function withFailure(state: ListState, words: string): ListState {
  return { ...state, rows: state.loading ? [] : state.rows, loading: false, problem: words };
}

const SOON_MS = 1_000;
const LATER_MS = 5_000;

/** How long after the last look these changes are worth the next one; null when they cannot show on this page. */
export function refreshAfterMs(state: ListState, changed: SessionsChanged): number | null {
  if (changed.more || changed.ids.some((id) => state.rows.some((row) => row.sessionId === id))) return SOON_MS;
  const candidates = changed.ids.filter((id) => couldMatch(state.q, id));
  if (candidates.length === 0) return null;
  // new ones come to the first page; another page they reach only by a change of state
  return state.cursors.length === 1 ? SOON_MS : LATER_MS;
}

/** By its id alone; whose session it is, nobody knows here. */
function couldMatch(q: string, id: string): boolean {
  return !/^(session|prewarm)_/.test(q) || id.startsWith(q);
}

/** What somebody would lose if this session were ended now. */
export function loss(session: Session): "call" | "place" | null {
  if (session.status === "active") return "call";
  if (session.status === "ready") return session.assignedAt !== null || session.userId !== null ? "call" : null;
  return session.status === "starting" && session.userId !== null ? "place" : null;
}

export function isOver(session: Session): boolean {
  return session.status === "ended" || session.status === "failed";
}
