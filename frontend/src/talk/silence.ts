/** How long a microphone that should be heard has given nothing. Pure. */

/** Quieter than any room: a microphone that is switched off, or the wrong one. */
export const SILENT_LEVEL = 0.004;
export const SILENT_FOR_MS = 12_000;

export interface Silence {
  sinceMs: number | null;
  silent: boolean;
}

export const NO_SILENCE: Silence = { sinceMs: null, silent: false };

/** `level` is null while it says nothing: muted, no microphone, or the agent is not listening. */
export function listened(silence: Silence, level: number | null, nowMs: number): Silence {
  if (level === null) return silence.silent ? silence : NO_SILENCE;
  if (level >= SILENT_LEVEL) return NO_SILENCE;
  const sinceMs = silence.sinceMs ?? nowMs;
  return { sinceMs, silent: silence.silent || nowMs - sinceMs >= SILENT_FOR_MS };
}
