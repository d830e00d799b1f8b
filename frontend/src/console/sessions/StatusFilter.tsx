import { useStore } from "../data/store";
import type { SessionCounts } from "../data/types";
import { useConsole } from "../shell/context";

const STATUSES: readonly { value: string; label: string; count?: keyof SessionCounts }[] = [
  { value: "", label: "All" },
  { value: "active", label: "Active", count: "active" },
  { value: "ready", label: "Ready", count: "ready" },
  { value: "starting", label: "Starting", count: "starting" },
  { value: "ended", label: "Ended" },
  { value: "failed", label: "Failed" },
];

export function StatusFilter() {
  const { list, live } = useConsole();
  const chosen = useStore(list, (state) => state.status);
  const counts = useStore(live, (state) => state.overview?.sessions ?? null);
  return (
    <fieldset className="c-segments">
      <legend className="gr-visually-hidden">Status</legend>
      {STATUSES.map(({ value, label, count }) => (
        <label key={value}>
          <input
            type="radio"
            name="status"
            value={value}
            checked={chosen === value}
            onChange={() => list.byStatus(value)}
          />
          <span>
            {label}
            {count && counts ? <span className="c-segment-count">{counts[count]}</span> : null}
          </span>
        </label>
      ))}
    </fieldset>
  );
}
