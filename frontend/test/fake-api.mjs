// An API with 1,000 sessions and 20 hosts, to try the console on: node test/fake-api.mjs --port 8090
//
// Serves ../dist as the real one does, with its content security policy. What goes wrong is set while it runs:
//   GET /_fake?health=ok|redis|livekit|hosts|beat   which part is down
//             &stream=ok|stale|lost|silent          events stop; connections break; comments only
//             &admin=on|off                         whether ADMIN_TOKEN is "set"
//             &drain=on|off                         whether hosts can be drained
//             &token=…                              another admin token, as after a restart
// or at its start by the environment: FAKE_HEALTH, FAKE_STREAM, FAKE_ADMIN, FAKE_DRAIN, FAKE_TOKEN.
// Each GET /_fake answers how it is set, and how many calls of each path were made.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { parseArgs } from "node:util";

import { World } from "./fake-world.mjs";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "8090" },
    sessions: { type: "string", default: "1000" },
    hosts: { type: "string", default: "20" },
    dist: { type: "string", default: new URL("../dist", import.meta.url).pathname },
  },
});

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};
const DOWN = {
  redis: "does not answer",
  livekit: "LiveKit does not answer; check LIVEKIT_URL and the server",
  hosts: "no host is alive",
  beat: "the last refill was 131 s ago; is beat running?",
  spawns: "they have failed for 9 s, and wait (the next one in 4 s): LiveKit is away (livekit_unavailable)",
};

const env = process.env;
const knobs = {
  health: env.FAKE_HEALTH ?? "ok",
  stream: env.FAKE_STREAM ?? "ok",
  admin: env.FAKE_ADMIN ?? "on",
  drain: env.FAKE_DRAIN ?? "on",
  token: env.FAKE_TOKEN ?? "fake-admin-token",
};
const calls = {};
const streams = new Set();
const world = new World({ sessions: Number(options.sessions), hosts: Number(options.hosts) });

class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.problem = { type: "about:blank", title: code, status, detail, code, success: false };
  }
}

const now = () => Date.now() / 1000;

function health() {
  const away = knobs.health === "redis";
  const part = (name, fine) => {
    if (knobs.health === name) return { ok: false, detail: DOWN[name] };
    if (away && ["hosts", "beat", "spawns"].includes(name)) return { ok: false, detail: "unknown while Redis is away" };
    return { ok: true, detail: fine };
  };
  const alive = world.hosts.filter((host) => host.alive).length;
  const parts = {
    redis: part("redis", "answers"),
    livekit: part("livekit", "answers"),
    hosts: part("hosts", `${alive} alive`),
    beat: part("beat", "in time"),
    spawns: part("spawns", "are tried"),
  };
  const wrong = Object.entries(parts).filter(([, { ok }]) => !ok);
  const reason = wrong.map(([name, { detail }]) => `${name}: ${detail}`).join("; ") || null;
  const status = wrong.length === 0 ? "healthy" : knobs.health === "spawns" ? "degraded" : "unhealthy";
  return { status, reason, parts };
}

function overview() {
  const base = { at: now(), health: health(), version: "0.2.0" };
  const nothing = { pool: null, sessions: null, capacity: null, stats: null, hosts: null, queue: null };
  if (knobs.health === "redis") return { ...base, ...nothing };
  const sessions = world.counts();
  const capacity = { current: sessions.total, max: world.max, available: Math.max(0, world.max - sessions.total) };
  const stats = { totalSpawned: 5120, totalAssigned: world.assigned };
  const hosts =
    knobs.health === "hosts" ? world.hosts.map((h) => ({ ...h, alive: false, heartbeatAgeS: 40 })) : world.hosts;
  return { ...base, pool: world.poolView(), sessions, capacity, stats, hosts, queue: world.queue() };
}

function tell(event, data) {
  if (knobs.stream === "stale") return;
  const text = knobs.stream === "silent" ? ": keep-alive\n\n" : `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  for (const stream of streams) stream.write(text);
}

let ticks = 0;
setInterval(() => {
  const ids = world.tick(now());
  tell("overview", overview());
  if (ids.length) tell("sessions", { ids, more: false });
  ticks += 1;
  if (ticks % 5) return;
  const sample = { ...world.sampleAt(now()), ready: world.pool.ready, starting: world.pool.starting };
  world.samples = [...world.samples.slice(-719), sample];
  tell("sample", sample);
}, 1000);

function requireAdmin(request) {
  if (knobs.admin === "off")
    throw new Refusal(403, "forbidden", "Admin calls are off: set ADMIN_TOKEN and start again.");
  if (request.headers.authorization === `Bearer ${knobs.token}`) return;
  throw new Refusal(401, "unauthorized", "Present the admin token: Authorization: Bearer $ADMIN_TOKEN.");
}

function openStream(response) {
  if (knobs.stream === "lost") throw new Refusal(503, "store_unavailable", "The API is shutting down.");
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write("retry: 500\n\n");
  streams.add(response);
  response.on("close", () => streams.delete(response));
  if (knobs.stream === "ok") response.write(`event: overview\ndata: ${JSON.stringify(overview())}\n\n`);
}

function found(id) {
  const session = world.sessions.get(id);
  if (!session) throw new Refusal(404, "session_not_found", "There is no session with this id.");
  return session;
}

function resize({ size }) {
  if (!(size >= 0 && size <= world.max)) throw new Refusal(422, "invalid_request", `size: at most ${world.max}`);
  const previous = world.pool.target;
  world.pool.target = size;
  return { success: true, size, previous, converged: false, statusUrl: "/api/pool" };
}

function ended(id) {
  const session = found(id);
  const changed = session.endedAt === null;
  if (changed) world.end(session, now(), "ended by its caller");
  tell("sessions", { ids: [id], more: false });
  return { success: true, sessionId: id, status: session.status, changed };
}

function drained(name, draining) {
  const host = world.hosts.find((each) => each.host === name);
  if (!host || knobs.drain === "off") throw new Refusal(404, "host_not_found", "There is no host with this id.");
  host.draining = draining;
  return { success: true };
}

const openapi = () => ({
  paths:
    knobs.drain === "on" ? { "/api/hosts/{host}/drain": { post: {} }, "/api/hosts/{host}/undrain": { post: {} } } : {},
});

const query = (url) => ({
  status: url.searchParams.get("status"),
  q: url.searchParams.get("q"),
  cursor: url.searchParams.get("cursor"),
  limit: Number(url.searchParams.get("limit") ?? 50),
});

const ROUTES = [
  ["GET", /^\/openapi\.json$/, openapi],
  ["GET", /^\/api\/pool$/, () => ({ success: true, ...world.poolView() })],
  ["GET", /^\/api\/pool\/history$/, () => ({ success: true, everyS: 5, samples: world.samples })],
  ["POST", /^\/api\/pool\/resize$/, (_, { body }) => resize(body)],
  ["GET", /^\/api\/sessions$/, (_, { url }) => ({ success: true, ...world.page(query(url)) })],
  ["GET", /^\/api\/session\/([^/]+)$/, ([id]) => ({ success: true, ...found(id) })],
  ["DELETE", /^\/api\/session\/([^/]+)$/, ([id]) => ended(id)],
  ["GET", /^\/api\/session\/([^/]+)\/life$/, ([id]) => ({ sessionId: id, ...world.life(found(id)) })],
  [
    "GET",
    /^\/api\/session\/([^/]+)\/logs$/,
    ([id], { url }) => ({ success: true, sessionId: id, lines: world.logOf(found(id), now(), query(url).limit) }),
  ],
  ["POST", /^\/api\/hosts\/([^/]+)\/drain$/, ([name]) => drained(name, true)],
  ["POST", /^\/api\/hosts\/([^/]+)\/undrain$/, ([name]) => drained(name, false)],
];

function turnKnobs(url) {
  for (const [name, value] of url.searchParams) if (name in knobs) knobs[name] = value;
  if (knobs.stream === "lost") for (const stream of streams) stream.destroy();
  return { ...knobs, calls };
}

async function bodyOf(request) {
  let text = "";
  for await (const part of request) text += part;
  return text ? JSON.parse(text) : {};
}

async function file(path, response) {
  const name = { "/": "index.html", "/console": "console.html" }[path] ?? normalize(path).slice(1);
  try {
    const content = await readFile(join(options.dist, name));
    response.writeHead(200, {
      "Content-Type": TYPES[extname(name)] ?? "application/octet-stream",
      "Content-Security-Policy": CSP,
      "X-Content-Type-Options": "nosniff",
    });
    response.end(content);
  } catch {
    throw new Refusal(404, "not_found", "There is no such page.");
  }
}

async function answer(request, response) {
  const url = new URL(request.url, "http://fake");
  calls[url.pathname] = (calls[url.pathname] ?? 0) + 1;
  if (url.pathname === "/_fake") return send(response, 200, turnKnobs(url));
  const isApi = url.pathname.startsWith("/api/");
  if (isApi) requireAdmin(request);
  if (url.pathname === "/api/events") return openStream(response);
  for (const [method, pattern, handle] of ROUTES) {
    const match = request.method === method && pattern.exec(url.pathname);
    if (match)
      return send(response, 200, handle(match.slice(1).map(decodeURIComponent), { url, body: await bodyOf(request) }));
  }
  if (isApi) throw new Refusal(404, "not_found", "There is no such call.");
  return file(url.pathname, response);
}

function send(response, status, content) {
  response.writeHead(status, { "Content-Type": status < 400 ? "application/json" : "application/problem+json" });
  response.end(JSON.stringify(content));
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (!(error instanceof Refusal)) process.stderr.write(`${error.stack}\n`);
    const problem = error.problem ?? { status: 500, code: "internal_error", detail: "The fake broke." };
    send(response, problem.status, problem);
  });
}).listen(Number(options.port), "127.0.0.1", () => {
  process.stdout.write(`fake API on http://127.0.0.1:${options.port}/console, token ${knobs.token}\n`);
});
