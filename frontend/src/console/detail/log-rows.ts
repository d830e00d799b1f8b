/** An agent's log as it is shown: lines as words, the tail joined on to what is already there, and the filter. */

import type { LogLine } from "../data/types";

export type Level = "debug" | "info" | "warning" | "error" | "plain";

export interface LogRow {
  key: number;
  raw: string;
  at: number | null;
  level: Level;
  /** What stands in the level's column: also the stream of what was merely printed. */
  source: string;
  message: string;
  /** Everything else that the line says, as name=value. */
  extra: string;
  exception: string | null;
}

export const ROWS_KEPT = 2_000;

const SHOWN_ELSEWHERE = new Set(["at", "level", "stream", "logger", "message", "text", "exception"]);
const LEVELS: Record<string, Level> = {
  debug: "debug",
  info: "info",
  warning: "warning",
  warn: "warning",
  error: "error",
  critical: "error",
  stderr: "warning",
};

/** What is shown, gone on with by the newest tail of the log. The known rows stay the same objects. */
export function followed(rows: readonly LogRow[], tail: readonly LogLine[]): readonly LogRow[] {
  const raws = tail.map((line) => JSON.stringify(line));
  const fresh = raws.length - overlap(rows, raws);
  if (fresh === 0) return rows;
  const key = (rows.at(-1)?.key ?? 0) + 1;
  const more = tail.slice(-fresh).map((line, i) => rowOf(line, key + i, raws[raws.length - fresh + i] ?? ""));
  return [...rows, ...more].slice(-ROWS_KEPT);
}

/** How many of the tail's first lines are the last rows. */
function overlap(rows: readonly LogRow[], raws: readonly string[]): number {
  const last = rows.at(-1)?.raw;
  for (let end = raws.length; end > 0; end--) {
    if (raws[end - 1] !== last || end > rows.length) continue;
    const start = rows.length - end;
    if (raws.slice(0, end).every((raw, i) => raw === rows[start + i]?.raw)) return end;
  }
  return 0;
}

export function rowOf(line: LogLine, key: number, raw: string): LogRow {
  const source = text(line["level"]) || text(line["stream"]) || "";
  const logger = text(line["logger"]);
  const extra = Object.entries(line).filter(([name]) => !SHOWN_ELSEWHERE.has(name));
  return {
    key,
    raw,
    at: typeof line["at"] === "number" ? line["at"] : null,
    level: LEVELS[source.toLowerCase()] ?? "plain",
    source,
    message: text(line["message"]) || text(line["text"]),
    extra: [...(logger ? [["logger", logger]] : []), ...extra]
      .map(([name, value]) => `${text(name)}=${text(value)}`)
      .join("  "),
    exception: line["exception"] === undefined ? null : text(line["exception"]),
  };
}

function text(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

export interface LogFilter {
  words: string;
  /** Only warnings and errors. */
  troubleOnly: boolean;
}

export function matching(rows: readonly LogRow[], { words, troubleOnly }: LogFilter): readonly LogRow[] {
  const wanted = words.trim().toLowerCase();
  if (!wanted && !troubleOnly) return rows;
  return rows.filter(
    (row) =>
      (!troubleOnly || row.level === "warning" || row.level === "error") && row.raw.toLowerCase().includes(wanted),
  );
}
