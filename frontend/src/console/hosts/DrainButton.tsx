import { useState } from "react";

import { count } from "../../lib/format";
import { Button } from "../../ui";
import type { Abilities } from "../data/admin";
import type { Host } from "../data/types";
import { Confirm } from "../shell/Confirm";
import { useConsole } from "../shell/context";
import { useAct } from "../shell/useAct";
import { inUse } from "./hosts";

export function DrainButton({ host, abilities }: { host: Host; abilities: Abilities }) {
  const { admin } = useConsole();
  const { busy, act } = useAct();
  const [asking, setAsking] = useState(false);
  const calls = inUse(host);

  const drain = (draining: boolean): void => {
    setAsking(false);
    void act(async () => {
      await admin.drain(host.host, draining);
      return draining ? `${host.host} is draining: it takes no new calls.` : `${host.host} takes calls again.`;
    });
  };

  if (host.draining) {
    return abilities.undrain ? (
      <Button size="sm" variant="ghost" busy={busy} aria-label={`Undrain ${host.host}`} onClick={() => drain(false)}>
        Undrain
      </Button>
    ) : null;
  }
  if (!abilities.drain || !host.alive) return null;
  return (
    <>
      <Button
        size="sm"
        variant="ghost"
        busy={busy}
        aria-label={`Drain ${host.host}`}
        onClick={() => (calls > 0 ? setAsking(true) : drain(true))}
      >
        Drain
      </Button>
      <Confirm
        open={asking}
        title={`Drain ${host.host}?`}
        act="Drain it"
        onConfirm={() => drain(true)}
        onClose={() => setAsking(false)}
      >
        <p>
          {count(calls, "agent")} on it {calls === 1 ? "is" : "are"} in use. It takes no new calls from now on; those
          that have not ended when the drain&apos;s time is up are ended.
        </p>
      </Confirm>
    </>
  );
}
