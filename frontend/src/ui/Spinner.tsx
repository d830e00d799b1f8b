/** Decoration: whatever waits says so in words or with aria-busy. */
export function Spinner() {
  return <span className="gr-spinner" aria-hidden="true" />;
}
