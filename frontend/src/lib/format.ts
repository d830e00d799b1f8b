/** Numbers as people read them. */

/** 0.04 → "40 ms", 3.2 → "3.2 s", 90 → "1 min 30 s", 7300 → "2 h 2 min". */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${trimmed(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return parts(Math.floor(whole / 60), "min", whole % 60, "s");
  return parts(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
}

export function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : duration(ms / 1000);
}

/** "just now", "12 s ago", … */
export function ago(seconds: number): string {
  return seconds < 1 ? "just now" : `${duration(Math.floor(seconds))} ago`;
}

export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return `${value < 10 && power > 0 ? trimmed(value) : Math.round(value)} ${units[power] ?? "B"}`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** "1 agent", "2 agents". */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** Time of the day, of Unix seconds. */
export function clock(at: number, locale?: string): string {
  return new Date(at * 1000).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** 3:07, as a call's length is shown. */
export function stopwatch(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function parts(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

function trimmed(value: number): string {
  return value.toFixed(1).replace(/\.0$/, "");
}
