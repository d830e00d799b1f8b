const JUMP = 60;

/** The moment that a key leads to; null puts the cursor away, undefined is not our key. */
export function moved(
  key: string,
  index: number | null,
  samples: readonly { at: number }[],
): number | null | undefined {
  const last = samples.length - 1;
  const from = index ?? last;
  const targets: Record<string, number> = {
    ArrowLeft: from - 1,
    ArrowDown: from - 1,
    ArrowRight: from + 1,
    ArrowUp: from + 1,
    PageDown: from - JUMP,
    PageUp: from + JUMP,
    Home: 0,
    End: last,
  };
  if (key === "Escape" && index !== null) return null;
  const target = targets[key];
  return target === undefined ? undefined : samples[Math.min(last, Math.max(0, target))]?.at;
}
