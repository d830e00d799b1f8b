/** A host as it is shown. */

import { duration } from "../../lib/format";
import type { Tone } from "../../ui";
import type { Host } from "../data/types";

export type HostState = "alive" | "draining" | "lost";

export function stateOf(host: Host): HostState {
  if (!host.alive) return "lost";
  return host.draining ? "draining" : "alive";
}

export const STATE_TONES: Record<HostState, Tone> = { alive: "good", draining: "warn", lost: "bad" };

const URGENCY: Record<HostState, number> = { lost: 0, draining: 1, alive: 2 };

/** What wants to be looked at first, then by name, host-2 before host-10. */
export function ordered(hosts: readonly Host[]): Host[] {
  const urgency = (host: Host): number => (zygoteOf(host).tone === "bad" ? 0 : URGENCY[stateOf(host)]);
  return [...hosts].sort(
    (a, b) => urgency(a) - urgency(b) || a.host.localeCompare(b.host, undefined, { numeric: true }),
  );
}

/** Of several kinds of agents that one which is not well, by its name. */
export function zygoteOf(host: Host): { word: string; why: string; tone: Tone } {
  const kinds = Object.entries(host.zygotes ?? {});
  const failed = kinds.find(([, status]) => status.startsWith("failed"));
  const worst = failed ?? kinds.find(([, status]) => status !== "ready");
  if (kinds.length < 2 || worst === undefined) return inWords(host.zygote);
  const one = inWords(worst[1]);
  return { ...one, word: `${worst[0]} ${one.word}` };
}

function inWords(status: string): { word: string; why: string; tone: Tone } {
  const [word = "", ...why] = status.split(":");
  const tone: Tone = word === "ready" ? "good" : word === "failed" ? "bad" : "warn";
  return { word: word || "unknown", why: why.join(":").trim(), tone };
}

/** Agents that are not merely waiting: with a caller, or about to be. */
export function inUse(host: Host): number {
  return Math.max(0, host.agents - host.warm);
}

export function memoryUsed(host: Host): { bytes: number; share: number } {
  const used = Math.max(0, host.memoryTotalBytes - host.memoryAvailableBytes);
  return { bytes: used, share: host.memoryTotalBytes > 0 ? used / host.memoryTotalBytes : 0 };
}

/** Of one width while all is well: it changes each second. */
export function heartbeat(ageS: number): string {
  return ageS < 10 ? `${ageS.toFixed(1)} s` : duration(ageS);
}

export function hostsSummary(hosts: readonly Host[]): string {
  const of = (state: HostState): number => hosts.filter((host) => stateOf(host) === state).length;
  const words = (["alive", "draining", "lost"] as const).filter((state) => of(state) > 0);
  return words.map((state) => `${of(state)} ${state}`).join(", ");
}
