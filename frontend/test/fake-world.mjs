// A Greenroom that never was: hosts, sessions, a pool and an hour of samples, changing each second. No I/O.

import { firstLines, nextLine } from "./fake-log.mjs";

const HOUR_S = 3600;
const EVERY_S = 5;
const NOT_MEASURED = { from: 2100, to: 1860 }; // seconds ago: a gap, as if the API had been down
const STATUSES = ["active", "ready", "starting", "ended", "failed"];
const SHARES = [0.12, 0.04, 0.01, 0.78, 0.05];
const HTML_USER = "<img src=x onerror=alert(1)>";

/** The same numbers at each start, so that screenshots can be compared. */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export class World {
  constructor({ sessions = 1000, hosts = 20, now = Date.now() / 1000, seed = 7 } = {}) {
    this.random = randomOf(seed);
    this.started = now;
    this.pool = { target: 12, ready: 12, starting: 0 };
    this.max = Math.max(50, hosts * 25);
    this.hosts = Array.from({ length: hosts }, (_, i) => this.#host(i, now));
    this.sessions = new Map();
    for (let i = 0; i < sessions; i++) this.#addSession(i, now);
    this.samples = this.#hour(now);
    this.logs = new Map();
    this.assigned = 4211;
    this.resizedAt = 0;
  }

  #host(i, now) {
    const total = 24 * 2 ** 30;
    return {
      host: `voice-${i + 1}`,
      alive: i !== 13,
      draining: i === 6,
      heartbeatAgeS: i === 13 ? 94 : this.random(),
      startedAt: now - 86_400 * (1 + i),
      agents: 4 + Math.floor(this.random() * 14),
      warm: i < 12 ? 1 : 0,
      capacity: 25,
      capacityLimit: "memory",
      capacityReason: "memory: 1512 MiB available, 512 MiB in reserve, 40 MiB for an agent in a call",
      memoryTotalBytes: total,
      memoryAvailableBytes: total * (0.3 + this.random() * 0.5),
      agentPrivateBytes: 24e6 + this.random() * 6e6,
      zygote: "ready",
      version: i % 7 === 3 ? "0.1.0" : "0.2.0",
      load: Math.round(this.random() * 300) / 100,
    };
  }

  #statusOf(share) {
    let sum = 0;
    return STATUSES[SHARES.findIndex((each) => (sum += each) > share)] ?? "ended";
  }

  #addSession(i, now, status = this.#statusOf(this.random())) {
    const warm = this.random() < 0.93;
    const createdAt = now - 30 - this.random() * (status === "starting" ? 3 : status === "active" ? 900 : 80_000);
    const assignedAt = status === "starting" || (status === "ready" && this.random() < 0.7) ? null : createdAt + 20;
    const over = status === "ended" || status === "failed";
    const id = `${warm ? "prewarm" : "session"}_${hex(this.random)}${hex(this.random)}${hex(this.random)}${hex(this.random)}`;
    this.sessions.set(id, {
      sessionId: id,
      status,
      userId: assignedAt === null && status !== "starting" ? null : i % 97 === 5 ? HTML_USER : `user_${1 + (i % 240)}`,
      prewarmed: warm,
      createdAt,
      startupTime: status === "starting" ? null : 0.09 + this.random() * 0.2,
      assignedAt,
      endedAt: over ? createdAt + 20 + this.random() * 600 : null,
      endReason: status === "ended" ? "the user left" : null,
      replacements: 0,
      queuePosition: status === "starting" ? 1 : null,
      error: status === "failed" ? "agent_died: the agent was ended by signal 11 (SIGSEGV)" : null,
      host: status === "starting" ? null : `voice-${1 + (i % this.hosts.length)}`,
      agentPid: status === "starting" ? null : 2000 + i,
    });
  }

  #hour(now) {
    const samples = [];
    for (let ago = HOUR_S; ago > 0; ago -= EVERY_S) {
      if (ago <= NOT_MEASURED.from && ago > NOT_MEASURED.to) continue;
      samples.push(this.sampleAt(Math.floor((now - ago) / EVERY_S) * EVERY_S));
    }
    return samples;
  }

  /** Calls come in waves; the pool dips under each wave and is refilled. */
  sampleAt(at) {
    const wave = 0.5 + 0.5 * Math.sin(at / 420);
    const busy = Math.max(0, Math.sin(at / 97)) ** 6;
    const dip = Math.round(this.pool.target * 0.6 * busy * wave);
    const starts = this.random() < 0.35 + 0.5 * wave;
    return {
      at,
      ready: Math.max(0, this.pool.target - dip),
      target: this.pool.target,
      starting: Math.min(dip, Math.round(dip * 0.5 + this.random())),
      active: Math.round(14 + 12 * wave + 3 * this.random()),
      waiting: busy > 0.95 ? 2 : 0,
      warmHitRate: starts ? (dip > 5 && this.random() < 0.4 ? 0.75 : 1) : null,
      startP50Ms: starts ? 3 + 2 * this.random() + dip : null,
      startP95Ms: starts ? 7 + 5 * this.random() + dip * 6 : null,
      spawnP50Ms: dip > 0 ? 110 + 60 * this.random() + dip * 9 : null,
      refillLagMs: dip > 0 ? 20 + dip * 60 * this.random() : null,
    };
  }

  /** One second passes; returns the ids of the sessions that changed. */
  tick(now) {
    if (this.random() < 0.3) this.#addSession(this.sessions.size, now, this.random() < 0.3 ? "starting" : "active");
    for (const host of this.hosts) if (host.alive) host.heartbeatAgeS = this.random() * 1.2;
    this.#fill();
    const living = [...this.sessions.values()].filter((session) => session.endedAt === null);
    return living
      .filter((session) => session.status === "active" || session.status === "starting")
      .slice(0, 200)
      .filter(() => this.random() < 0.02)
      .map((session) => this.#move(session, now).sessionId);
  }

  #move(session, now) {
    const wasStarting = session.status === "starting";
    if (wasStarting)
      Object.assign(session, { status: "active", startupTime: 0.2, assignedAt: now, queuePosition: null });
    else this.end(session, now, "the user left");
    if (!wasStarting && this.random() < 0.8) this.#addSession(this.sessions.size, now, "active");
    return session;
  }

  end(session, now, endReason) {
    Object.assign(session, { status: "ended", endedAt: now, endReason });
  }

  /** The pool moves four agents a second towards its target. */
  #fill() {
    const missing = this.pool.target - this.pool.ready;
    if (missing < 0) this.pool.ready = this.pool.target;
    const arriving = Math.min(4, Math.max(0, missing));
    this.pool.ready += this.pool.starting > 0 ? arriving : 0;
    this.pool.starting = Math.min(4, Math.max(0, this.pool.target - this.pool.ready));
  }

  poolView() {
    const { target, ready, starting } = this.pool;
    const converged = ready === target;
    const reason = `floor ${target}; 40.0 starts a minute need no more`;
    return { target, floor: target, reason, ready, starting, converged, waiting: this.queue().length, max: this.max };
  }

  queue() {
    const now = Date.now() / 1000;
    return [...this.sessions.values()]
      .filter((session) => session.status === "starting")
      .slice(0, 20)
      .map(({ sessionId, userId, createdAt }, i) => ({
        sessionId,
        userId,
        position: i + 1,
        waitingS: now - createdAt,
      }));
  }

  counts() {
    const of = (status) => [...this.sessions.values()].filter((session) => session.status === status).length;
    const [ready, starting, active] = [of("ready") + this.pool.ready, of("starting"), of("active")];
    return { ready, starting, active, pool: this.pool.ready, total: ready + starting + active };
  }

  page({ status, q, limit, cursor }) {
    const order = ["starting", "ready", "active", "ended", "failed"];
    const rows = [...this.sessions.values()]
      .filter((session) => !status || session.status === status)
      .filter((session) => !q || session.sessionId.startsWith(q) || session.userId === q)
      .sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status) || b.createdAt - a.createdAt);
    const from = Number(cursor ?? 0);
    return {
      sessions: rows.slice(from, from + limit),
      cursor: from + limit < rows.length ? String(from + limit) : null,
    };
  }

  life(session) {
    const { createdAt, assignedAt, endedAt, status } = session;
    const events = [{ name: "created", at: createdAt }];
    if (session.startupTime) events.push({ name: "ready", at: createdAt + session.startupTime });
    if (assignedAt !== null)
      events.push({ name: "assigned", at: assignedAt }, { name: "token", at: assignedAt + 0.012 });
    const joined = status === "active" || (endedAt !== null && assignedAt !== null);
    if (joined) events.push({ name: "joined", at: assignedAt + 0.31 });
    if (status === "ended") events.push({ name: "left", at: endedAt - 2 });
    if (endedAt !== null) events.push({ name: status, at: endedAt });
    const marks = { click: 0, answer: 12, token: 12, connected: 268, agentSeen: 311, firstSound: 842 };
    return {
      success: true,
      events,
      turns: joined ? this.#turns(assignedAt) : [],
      click: joined ? { marks } : null,
      endReason: session.endReason,
      error: session.error,
    };
  }

  #turns(from) {
    const random = randomOf(from);
    return Array.from({ length: 24 }, (_, i) => ({
      role: i % 2 ? "assistant" : "user",
      at: from + 2 + i * 4,
      latencyMs: i % 2 ? Math.round(380 + 500 * random() ** 3) : null,
      interrupted: i % 2 === 1 && random() < 0.15,
      characters: Math.round(20 + 150 * random()),
    }));
  }

  logOf(session, now, limit) {
    const lines = this.logs.get(session.sessionId) ?? firstLines(session);
    if (session.endedAt === null) lines.push(nextLine(lines.length, now));
    this.logs.set(session.sessionId, lines.slice(-2000));
    return lines.slice(-limit);
  }
}

function hex(random) {
  return Math.floor(random() * 2 ** 32)
    .toString(16)
    .padStart(8, "0");
}
