/** A session's life laid out: what happened, how long after what, and which share of it each phase took. */

import type { Tone } from "../../ui";
import type { LifeEvent } from "../data/types";

const WORDS: Record<string, { label: string; phase: string; tone: Tone; colour: string }> = {
  created: { label: "Created", phase: "Starting", tone: "warn", colour: "starting" },
  ready: { label: "Ready in its room", phase: "Waiting", tone: "good", colour: "waiting" },
  assigned: { label: "Assigned to a caller", phase: "Joining", tone: "info", colour: "joining" },
  token: { label: "Token taken", phase: "Joining", tone: "info", colour: "joining" },
  joined: { label: "User joined", phase: "In the call", tone: "info", colour: "call" },
  left: { label: "User left", phase: "User away", tone: "neutral", colour: "away" },
  ended: { label: "Ended", phase: "", tone: "neutral", colour: "" },
  failed: { label: "Failed", phase: "", tone: "bad", colour: "" },
};

export interface Moment {
  name: string;
  label: string;
  at: number;
  tone: Tone;
  /** Seconds since the moment before; null for the first. */
  afterS: number | null;
}

export interface Phase {
  name: string;
  colour: string;
  lengthS: number;
  share: number;
}

export function momentsOf(events: readonly LifeEvent[]): Moment[] {
  return events.map(({ name, at }, i) => {
    const before = events[i - 1];
    const words = WORDS[name];
    return {
      name,
      label: words?.label ?? name,
      tone: words?.tone ?? "neutral",
      at,
      afterS: before ? Math.max(0, at - before.at) : null,
    };
  });
}

/** One phase from each moment to the next, the last until now unless it is over; equal neighbours are one. */
export function phasesOf(events: readonly LifeEvent[], now: number): Phase[] {
  const phases: { name: string; colour: string; lengthS: number }[] = [];
  const end = events.findIndex(({ name }) => name === "ended" || name === "failed");
  // the room may still be emptied after the end: that is no phase of a call
  const lived = end < 0 ? events : events.slice(0, end);
  const joinedAt = lived.findIndex(({ name }) => name === "joined");
  // who has joined and takes another token is in the call, or away, as before
  const openings = lived.filter(({ name }, i) => name !== "token" || joinedAt < 0 || i < joinedAt);
  openings.forEach(({ name, at }, i) => {
    const words = WORDS[name] ?? { phase: name, colour: "away" };
    const lengthS = Math.max(0, (openings[i + 1]?.at ?? events[end]?.at ?? now) - at);
    const last = phases.at(-1);
    if (last?.name === words.phase) last.lengthS += lengthS;
    else phases.push({ name: words.phase, colour: words.colour, lengthS });
  });
  const total = phases.reduce((sum, phase) => sum + phase.lengthS, 0);
  return phases.map((phase) => ({ ...phase, share: total > 0 ? phase.lengthS / total : 0 }));
}
