import { memo, useLayoutEffect, useRef, useState } from "react";

import { clock, count } from "../../lib/format";
import { Badge, Button, Field, Notice } from "../../ui";
import { isOver } from "../sessions/list";
import { ScrollRegion } from "../shell/ScrollRegion";
import type { DetailState } from "./detail-store";
import { type LogRow, matching } from "./log-rows";

/** So near to its end, a reader is taken along. */
const NEAR_PX = 32;

export function Log({ state: { session, log, logProblem, logLoaded } }: { state: DetailState }) {
  const [words, setWords] = useState("");
  const [troubleOnly, setTroubleOnly] = useState(false);
  const rows = matching(log, { words, troubleOnly });
  const living = session !== null && !isOver(session);
  const { region, following, onScroll, toEnd } = useFollowing(rows);

  return (
    <section
      className="c-section c-log-section"
      aria-label="Log"
      data-region="log"
      data-state={following ? "following" : "held"}
    >
      <div className="c-log-head">
        <h3>Log</h3>
        {living ? (
          <Badge tone={following ? "good" : "neutral"} dot>
            {following ? "Following" : "Held"}
          </Badge>
        ) : null}
        <span className="c-note">{count(rows.length, "line")}</span>
      </div>
      <div className="c-log-filter">
        <Field
          label="Filter the log"
          hideLabel
          type="search"
          placeholder="Filter"
          value={words}
          onChange={(event) => setWords(event.target.value)}
        />
        <label className="c-check">
          <input type="checkbox" checked={troubleOnly} onChange={(event) => setTroubleOnly(event.target.checked)} />
          Warnings and errors
        </label>
      </div>
      {logProblem ? <Notice tone="warn">{logProblem}</Notice> : null}
      <div className="c-log-frame">
        <ScrollRegion
          ref={region}
          className="c-log"
          label="The agent's log"
          role="log"
          aria-live="off"
          onScroll={onScroll}
        >
          {rows.map((row) => (
            <Line key={row.key} row={row} />
          ))}
          {rows.length === 0 ? <p className="c-empty">{logLoaded ? "No line." : "Looking…"}</p> : null}
        </ScrollRegion>
        {following ? null : (
          <Button className="c-log-newest" size="sm" variant="primary" onClick={toEnd}>
            Newest
          </Button>
        )}
      </div>
    </section>
  );
}

/** Keeps the newest line in view for as long as the reader is there; who scrolled up is left alone. */
function useFollowing(rows: readonly LogRow[]) {
  const region = useRef<HTMLDivElement>(null);
  const [following, setFollowing] = useState(true);

  const toEnd = (): void => {
    const element = region.current;
    if (element) element.scrollTop = element.scrollHeight;
  };

  useLayoutEffect(() => {
    if (following) toEnd();
  }, [rows, following]);

  const onScroll = (): void => {
    const element = region.current;
    if (element) setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX);
  };
  return { region, following, onScroll, toEnd };
}

const Line = memo(function Line({ row }: { row: LogRow }) {
  return (
    <div className="c-line-row" data-level={row.level}>
      <time>{row.at === null ? "" : clock(row.at)}</time>
      <span className="c-line-level">{row.source}</span>
      <span className="c-line-text">
        {row.message} {row.extra ? <span className="c-line-extra">{row.extra}</span> : null}
        {row.exception ? <pre>{row.exception}</pre> : null}
      </span>
    </div>
  );
});
