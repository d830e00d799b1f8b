/** What was said, as it is shown: restored turns, then what came live. Pure. */

import type { Turn } from "../lib/types";

export type Role = "user" | "assistant";

export interface Caption {
  id: string;
  /** `divider`: another agent took over here. */
  role: Role | "divider";
  text: string;
  /** What is not final may still change. */
  final: boolean;
}

/** A piece of transcript: the whole text so far, under the id of its segment. */
export interface Segment {
  id: string;
  role: Role;
  text: string;
  final: boolean;
}

export interface Captions {
  restored: readonly Caption[];
  live: readonly Caption[];
}

export const NO_CAPTIONS: Captions = { restored: [], live: [] };
const LIVE_AT_MOST = 500;

export function all(captions: Captions): readonly Caption[] {
  return [...captions.restored, ...captions.live];
}

/** Adds the segment, or replaces what it said before. Empty text takes an interim caption away again. */
export function heard(captions: Captions, segment: Segment): Captions {
  const text = segment.text.trim();
  const index = captions.live.findIndex((caption) => caption.id === segment.id);
  const known = captions.live[index];
  if (!text) return known && !known.final ? { ...captions, live: captions.live.toSpliced(index, 1) } : captions;
  if (!known) return appended(captions, { ...segment, text });
  // a late interim does not undo what is final
  if (known.final && !segment.final) return captions;
  return { ...captions, live: captions.live.with(index, { ...segment, text }) };
}

/** Nothing more comes of what was not finished: its room was left. */
export function settled(captions: Captions): Captions {
  if (captions.live.every((caption) => caption.final)) return captions;
  return { ...captions, live: captions.live.map((caption) => ({ ...caption, final: true })) };
}

/** What was restored stays above the line: the turns of the session that comes now do not stand in for it. */
export function divided(captions: Captions, id: string): Captions {
  const shown = all(captions);
  const last = shown.at(-1);
  if (!last || last.role === "divider") return captions;
  return { restored: [], live: [...shown, { id, role: "divider", text: "", final: true }] };
}

/** The session's finished turns, each in its place; of those that are there already, only what they say more. */
export function restored(captions: Captions, turns: readonly Turn[], sessionId: string): Captions {
  const live = [...captions.live];
  const unseen = new Set([...live.keys()].filter((index) => live[index]?.final));
  /** What was said after a caption and is not there, by that caption's index. */
  const after = new Map<number, readonly Caption[]>();
  let missing: Caption[] = [];
  // from the newest: the same words may have been said long ago as well
  for (const [index, turn] of [...turns.entries()].reverse()) {
    const text = turn.text.trim();
    const same = [...unseen].findLast((at) => live[at] && isOf(live[at], turn));
    const caption = same === undefined ? undefined : live[same];
    if (same === undefined || !caption) {
      missing.unshift({ id: `turn-${sessionId}-${index}`, role: turn.role, text, final: true });
      continue;
    }
    unseen.delete(same);
    after.set(same, missing);
    missing = [];
    // cut short because the page was away while it was said
    if (text.length > caption.text.length) live[same] = { ...caption, text };
  }
  return { restored: missing, live: live.flatMap((caption, index) => [caption, ...(after.get(index) ?? [])]) };
}

function isOf(caption: Caption, turn: Turn): boolean {
  if (caption.role !== turn.role) return false;
  const [shown, whole] = [plain(caption.text), plain(turn.text)];
  // a user's words come whole; an agent's may have been heard or spoken in part
  return shown === whole || (turn.role === "assistant" && (whole.startsWith(shown) || shown.startsWith(whole)));
}

function appended(captions: Captions, caption: Caption): Captions {
  return { ...captions, live: [...captions.live, caption].slice(-LIVE_AT_MOST) };
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
}
