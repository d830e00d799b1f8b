import { type ReactNode, useEffect, useId, useRef, useState } from "react";

import { duration } from "../../lib/format";
import type { Session } from "../../lib/types";
import { Badge, CloseIcon, IconButton, Notice } from "../../ui";
import { useStore } from "../data/store";
import { ConnectionSign } from "../live/ConnectionSign";
import { useConnection } from "../live/hooks";
import { CopyButton } from "../shell/CopyButton";
import { useConsole } from "../shell/context";
import { isOver } from "../sessions/list";
import { STATUS_TONES } from "../sessions/status";
import { Detail, type DetailState } from "./detail-store";
import { EndSession } from "./EndSession";
import { Log } from "./Log";
import { closeSession } from "./route";
import { Timeline } from "./Timeline";
import { ClickMarks, Turns } from "./Turns";

/** One session: over the page's right side, or over all of it on a phone. */
export function SessionPanel({ id }: { id: string }) {
  const { admin, live } = useConsole();
  const [detail] = useState(() => new Detail(admin, id));
  const state = useStore(detail, (value) => value);
  const connection = useConnection();
  const headingId = useId();
  const heading = useOpening(id);

  useEffect(() => {
    detail.start();
    const stopListening = live.onSessions(detail.changed);
    return () => {
      stopListening();
      detail.stop();
    };
  }, [detail, live]);

  return (
    <aside
      className="c-panel"
      aria-labelledby={headingId}
      data-region="session"
      data-session={id}
      data-state={stateOf(state)}
      data-connection={connection}
    >
      <header className="c-panel-head">
        <h2 id={headingId} ref={heading} tabIndex={-1} className="c-panel-title">
          <span className="gr-visually-hidden">Session </span>
          {id}
        </h2>
        <CopyButton text={id} what="session id" />
        {connection === "live" ? null : <ConnectionSign connection={connection} />}
        <IconButton variant="ghost" size="sm" label="Close details" icon={<CloseIcon />} onClick={closeSession} />
      </header>
      <div className="c-panel-body">
        {state.problem ? <Notice tone="bad">{state.problem}</Notice> : null}
        {state.session ? <Facts session={state.session} /> : null}
        {state.life ? <LifeParts state={state} /> : null}
        {state.session ? <Log state={state} /> : null}
        {!state.session && !state.problem ? <p className="c-empty">Looking…</p> : null}
      </div>
    </aside>
  );
}

function stateOf({ session, problem }: DetailState): string {
  if (!session) return problem ? "missing" : "loading";
  return isOver(session) ? "over" : "living";
}

/** Takes the focus in, gives it back to the row it came from, and closes by Escape. */
function useOpening(id: string) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    heading.current?.focus();
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) closeSession();
    };
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("keydown", onKey);
      placeToReturnTo(id)?.focus({ preventScroll: true });
    };
  }, [id]);
  return heading;
}

/** Its row, or the list's filter when the row is on the page no more. */
function placeToReturnTo(id: string): HTMLElement | null {
  const rows = [...document.querySelectorAll<HTMLElement>("tr[data-session]")];
  const row = rows.find((each) => each.dataset["session"] === id)?.querySelector("a");
  return row ?? document.querySelector<HTMLElement>("[data-region=sessions] input:checked");
}

function Facts({ session }: { session: Session }) {
  return (
    <section className="c-facts" aria-label="Facts">
      <div className="c-facts-head">
        <Badge tone={STATUS_TONES[session.status]}>{session.status}</Badge>
        <span className="c-soft">{session.prewarmed ? "was waiting in the pool" : "started for its caller"}</span>
        <EndSession session={session} />
      </div>
      <dl>
        <Fact name="User">{session.userId ?? "nobody yet"}</Fact>
        {session.agent && session.agent !== "default" ? <Fact name="Agent">{session.agent}</Fact> : null}
        <Fact name="Host">{session.host ?? "–"}</Fact>
        <Fact name="Pid">{session.agentPid ?? "–"}</Fact>
        <Fact name="Start-up">{session.startupTime === null ? "–" : duration(session.startupTime)}</Fact>
        {session.queuePosition === null ? null : <Fact name="Place in the queue">{session.queuePosition}</Fact>}
        {session.endReason ? <Fact name="Ended because">{session.endReason}</Fact> : null}
      </dl>
      {session.error ? <Notice tone="bad">{session.error}</Notice> : null}
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function LifeParts({ state: { life } }: { state: DetailState }) {
  if (!life) return null;
  return (
    <div className="c-life">
      <Timeline events={life.events} />
      <div className="c-life-measures">
        <ClickMarks click={life.click} />
        <Turns turns={life.turns} />
      </div>
    </div>
  );
}
