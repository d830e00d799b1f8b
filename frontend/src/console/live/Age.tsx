import { duration } from "../../lib/format";
import { useServerNow } from "./hooks";

/** How long ago it was, by the server's clock; or how long it took, when it has an end. */
export function Age({ since, until = null, suffix = "" }: { since: number; until?: number | null; suffix?: string }) {
  const now = useServerNow();
  const end = until ?? now;
  if (end === null) return <>–</>;
  return (
    <time dateTime={new Date(since * 1000).toISOString()} title={new Date(since * 1000).toLocaleString()}>
      {duration(Math.max(0, until === null ? Math.floor(end - since) : end - since))}
      {suffix}
    </time>
  );
}
