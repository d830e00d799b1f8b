import { memo } from "react";

import { Button, Card, Field, Notice } from "../../ui";
import { useStore } from "../data/store";
import { useConsole } from "../shell/context";
import { ScrollRegion } from "../shell/ScrollRegion";
import { PAGE_SIZE, SEARCH_AT_MOST } from "./list";
import { SessionRow } from "./SessionRow";
import { StatusFilter } from "./StatusFilter";

export const SessionsCard = memo(function SessionsCard({ openId }: { openId: string | null }) {
  const { list } = useConsole();
  const loading = useStore(list, (state) => state.loading);
  const problem = useStore(list, (state) => state.problem);
  return (
    <Card
      className="c-sessions"
      title="Sessions"
      data-region="sessions"
      data-state={loading ? "loading" : problem ? "failed" : "loaded"}
    >
      <div className="c-toolbar">
        <StatusFilter />
        <Field
          className="c-search"
          label="Session id or user"
          hideLabel
          type="search"
          placeholder="Session id or user"
          maxLength={SEARCH_AT_MOST}
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => list.byWords(event.target.value)}
        />
      </div>
      {problem ? (
        <Notice
          tone="bad"
          title="The sessions could not be read."
          action={
            <Button size="sm" onClick={list.again}>
              Try again
            </Button>
          }
        >
          {problem}
        </Notice>
      ) : null}
      <SessionsTable openId={openId} />
      <Pager />
    </Card>
  );
});

const COLUMNS = [
  { name: "Session", hide: "" },
  { name: "Status", hide: "" },
  { name: "User", hide: "" },
  { name: "Host", hide: "c-wide" },
  { name: "Pid", hide: "c-wide c-number" },
  { name: "Start-up", hide: "c-mid c-number" },
  { name: "Created", hide: "c-roomy c-number" },
  { name: "In use", hide: "c-mid c-number" },
  { name: "Ended because", hide: "c-wide" },
];

function SessionsTable({ openId }: { openId: string | null }) {
  const { list } = useConsole();
  const rows = useStore(list, (state) => state.rows);
  const loading = useStore(list, (state) => state.loading);
  const failed = useStore(list, (state) => state.problem !== null);
  if (rows.length === 0)
    return failed ? null : <p className="c-empty">{loading ? "Looking…" : "No session like this."}</p>;
  return (
    <ScrollRegion className="c-scroll" label="Sessions" aria-busy={loading}>
      <table className="c-table c-sessions-table">
        <thead>
          <tr>
            {COLUMNS.map(({ name, hide }) => (
              <th key={name} scope="col" className={hide || undefined}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((session) => (
            <SessionRow key={session.sessionId} session={session} open={session.sessionId === openId} />
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}

function Pager() {
  const { list } = useConsole();
  const page = useStore(list, (state) => state.cursors.length);
  const shown = useStore(list, (state) => state.rows.length);
  const isLast = useStore(list, (state) => state.next === null);
  if (page === 1 && isLast) return null;
  const first = (page - 1) * PAGE_SIZE + 1;
  return (
    <nav className="c-pager" aria-label="Pages of sessions">
      <Button size="sm" disabled={page === 1} onClick={list.previous}>
        Previous
      </Button>
      <span className="c-note" role="status">
        {shown > 0 ? `${first} to ${first + shown - 1}` : `Page ${page}`}
      </span>
      <Button size="sm" disabled={isLast} onClick={list.next}>
        Next
      </Button>
    </nav>
  );
}
