/** For each part that can be down: what an operator does about it. */

import type { Health, Overview, Part } from "../data/types";

interface Rule {
  part: string;
  /** Applies when the part's own words match; the first rule that applies counts. */
  when?: RegExp;
  /** Why calls do or do not suffer. */
  means: string;
  advice: string;
}

const STOPPED =
  "So many agents in a row could not be started that only one is tried now and then. Those that wait are handed out, and calls go on.";

const RULES: readonly Rule[] = [
  {
    part: "redis",
    means: "No call can be started. Calls under way go on, and hosts keep their reports until it is back.",
    advice: "Bring Redis back and check REDIS_URL. Nothing else needs to be done afterwards.",
  },
  {
    part: "livekit",
    when: /refus/i,
    means: "LiveKit answers, but does not take our key: agents cannot join rooms.",
    advice: "Compare LIVEKIT_API_KEY and LIVEKIT_API_SECRET with the server's, then restart the API, worker and host.",
  },
  {
    part: "livekit",
    means: "Agents cannot join rooms, and calls that lose their connection end.",
    advice:
      "Check that the LiveKit server runs and that LIVEKIT_URL is reached from here; greenroom doctor joins a room to prove it.",
  },
  {
    part: "hosts",
    when: /zygote/i,
    means: "A host is up, but cannot start agents.",
    advice:
      "A zygote that is starting takes a few seconds. One that failed says why: mend AGENT, then supervisorctl restart host.",
  },
  {
    part: "hosts",
    means: "No agent can be started. Calls under way go on.",
    advice:
      "Start a host: supervisorctl restart host. If it goes down again, its lines in logs/greenroom.log say why. Check REDIS_URL on its machine.",
  },
  {
    part: "beat",
    when: /not refilled yet/i,
    means: "The pool has not been filled since the start.",
    advice: "Give it 30 s. If it stays so: supervisorctl restart beat worker.",
  },
  {
    part: "beat",
    means: "The pool is refilled only when somebody calls, and nothing is reaped.",
    advice: "Restart the clock: supervisorctl restart beat. If that does not help, restart the worker as well.",
  },
  {
    part: "spawns",
    when: /livekit_unavailable/,
    means: STOPPED,
    advice: "Bring LiveKit back and check LIVEKIT_URL from the worker's machine. The pool then fills by itself.",
  },
  {
    part: "spawns",
    when: /zygote_unavailable/,
    means: STOPPED,
    advice:
      "Mend what it names (often AGENT, or memory), then supervisorctl restart host. The pool then fills by itself.",
  },
  {
    part: "spawns",
    means: STOPPED,
    advice: "See why in greenroom logs ID of a session that failed, and mend that. The pool then fills by itself.",
  },
];

const ANY: Omit<Rule, "part"> = {
  means: "A part of Greenroom does not work.",
  advice: "Run greenroom doctor on its machine; it says what to mend.",
};

export interface Trouble {
  part: string;
  detail: string;
  means: string;
  advice: string;
}

/** What is wrong with this part and what to do. */
export function adviceFor(part: string, detail: string): Trouble {
  const rule = RULES.find((each) => each.part === part && (each.when?.test(detail) ?? true)) ?? ANY;
  return { part, detail, means: rule.means, advice: rule.advice };
}

const CONSEQUENCE = /^unknown while/i;

export function isUnknown(part: Part): boolean {
  return !part.ok && CONSEQUENCE.test(part.detail);
}

/** The parts that are down. One of which nothing is known because another is down is not a trouble of its own. */
export function troublesOf(health: Health): Trouble[] {
  return Object.entries(health.parts)
    .filter(([, part]) => !part.ok && !isUnknown(part))
    .map(([name, part]) => adviceFor(name, part.detail));
}

/** Nothing is broken, but a caller or an operator would notice. */
export function warningsOf(overview: Overview): string[] {
  const { pool, capacity, hosts } = overview;
  const lost = (hosts ?? []).filter((host) => !host.alive).map((host) => host.host);
  const failed = (hosts ?? []).filter((host) => host.alive && host.zygote.startsWith("failed"));
  const full = capacity !== null && capacity.available === 0;
  return [
    full ? `At capacity: all ${capacity.max} agents are in use. Raise MAX_BOTS or add a machine.` : "",
    pool && !full && pool.ready === 0 && pool.target > 0 ? "No agent is waiting: the next caller waits for one." : "",
    lost.length > 0 ? `No heartbeat from ${listed(lost)}: see whether the machine is up, and restart its host.` : "",
    failed.length > 0
      ? `${listed(failed.map((host) => host.host))} cannot start agents: the zygote failed. Its reason is in the table of hosts.`
      : "",
  ].filter(Boolean);
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}
