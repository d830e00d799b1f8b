import { useEffect, useState } from "react";

import type { Problem } from "../../lib/api";
import { SessionPanel } from "../detail/SessionPanel";
import { useOpenSession } from "../detail/route";
import { HealthStrip } from "../health/HealthStrip";
import { HistoryCard } from "../history/HistoryCard";
import { HostsCard } from "../hosts/HostsCard";
import { PoolCard } from "../pool/PoolCard";
import { QueueCard } from "../queue/QueueCard";
import { SessionsCard } from "../sessions/SessionsCard";
import { type Console, ConsoleContext, createConsole } from "./context";
import { Frame } from "./Frame";
import { OutcomeRegion } from "./OutcomeRegion";
import { useMedia } from "./useMedia";

interface SignedInProps {
  token: string;
  onSignOut: (problem?: Problem) => void;
}

export function SignedIn({ token, onSignOut }: SignedInProps) {
  const [console] = useState(() => createConsole(token, onSignOut));
  useEffect(() => run(console), [console]);
  const open = useOpenSession();
  // on a phone the panel covers everything, which then is not there for the keyboard either
  const covered = useMedia("(width < 48rem)") && open !== null;

  return (
    <ConsoleContext value={console}>
      <Frame covered={covered} onSignOut={() => onSignOut()}>
        <HealthStrip />
        <div className="c-grid">
          <PoolCard />
          <HistoryCard />
          <QueueCard />
          <HostsCard />
          <SessionsCard openId={open} />
        </div>
      </Frame>
      {open === null ? null : <SessionPanel key={open} id={open} />}
      <OutcomeRegion />
    </ConsoleContext>
  );
}

/** Starts what works for the screen, and returns how to end it. */
function run({ live, list, resize, outcomes }: Console): () => void {
  const stopListening = live.onSessions(list.changed);
  const stopWatching = live.subscribe(() => {
    const pool = live.get().overview?.pool;
    if (pool) resize.saw(pool);
  });
  live.start();
  list.again();
  return () => {
    stopListening();
    stopWatching();
    for (const part of [live, list, resize]) part.stop();
    outcomes.dismiss();
  };
}
