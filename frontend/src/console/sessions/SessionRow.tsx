import { memo } from "react";

import { duration } from "../../lib/format";
import type { Session } from "../../lib/types";
import { Badge } from "../../ui";
import { sessionHash } from "../detail/route";
import { Age } from "../live/Age";
import { CopyButton } from "../shell/CopyButton";
import { STATUS_TONES } from "./status";

export const SessionRow = memo(function SessionRow({ session, open }: { session: Session; open: boolean }) {
  const { sessionId, status, userId, host, agentPid, startupTime, createdAt, assignedAt, endedAt } = session;
  const why = session.error ?? session.endReason;
  return (
    <tr data-session={sessionId} data-status={status} data-open={open || undefined}>
      <th scope="row">
        <span className="c-id">
          <a href={sessionHash(sessionId)} aria-current={open || undefined} title={sessionId}>
            {sessionId}
          </a>
          <CopyButton text={sessionId} what="session id" />
        </span>
      </th>
      <td>
        <Badge tone={STATUS_TONES[status]}>{status}</Badge>
      </td>
      <td className="c-user" title={userId ?? undefined}>
        {userId ?? <span className="c-soft">nobody yet</span>}
      </td>
      <td className="c-wide">{host ?? "–"}</td>
      <td className="c-wide c-number">{agentPid ?? "–"}</td>
      <td className="c-mid c-number">{startupTime === null ? "–" : duration(startupTime)}</td>
      <td className="c-roomy c-number">
        <Age since={createdAt} suffix=" ago" />
      </td>
      <td className="c-mid c-number">{assignedAt === null ? "–" : <Age since={assignedAt} until={endedAt} />}</td>
      <td className="c-wide c-why" data-failed={session.error !== null || undefined} title={why ?? undefined}>
        {why ?? "–"}
      </td>
    </tr>
  );
});
