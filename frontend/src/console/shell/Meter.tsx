/** How full something is, beside the numbers that say the same. */
export function Meter({ share, high = 0.9 }: { share: number; high?: number }) {
  const width = `${Math.round(Math.min(1, Math.max(0, share)) * 100)}%`;
  return (
    <span className="c-meter" data-high={share >= high || undefined} aria-hidden="true">
      <span style={{ width }} />
    </span>
  );
}
