// What a fake agent writes into its log: levels, printed lines, a traceback, and markup that must stay text.

export function firstLines({ sessionId, createdAt, userId, error }) {
  const lines = Array.from({ length: 120 }, (_, i) => nextLine(i, createdAt + i / 5));
  lines[0] = {
    at: createdAt,
    level: "info",
    logger: "agent.process",
    message: "joined",
    room: sessionId,
    startup_s: 0.12,
  };
  lines[1] = { at: createdAt, stream: "stdout", message: `hello ${userId ?? "nobody"} <script>alert(1)</script>` };
  if (error) lines.push({ at: createdAt, level: "error", logger: "agent", message: "agent failed", exception: TRACE });
  return lines;
}

const TRACE = 'Traceback (most recent call last):\n  File "agent/process.py", line 261, in run\nRuntimeError: no voice';

export function nextLine(i, at) {
  if (i % 17 === 9)
    return { at, level: "warning", logger: "agent.voices", message: "recognition was slow", took_ms: 900 + i };
  if (i % 41 === 20)
    return { at, level: "error", logger: "agent.conversation", message: "turn failed", error: "timeout" };
  if (i % 13 === 5) return { stream: "native", message: "webrtc: jitter buffer grew to 60 ms" };
  return {
    at,
    level: i % 3 ? "info" : "debug",
    logger: "agent.conversation",
    message: "turn finished",
    turn: i,
    latency_ms: 400 + (i % 9) * 31,
  };
}
