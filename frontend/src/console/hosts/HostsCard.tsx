import { memo, useEffect, useState } from "react";

import { Card } from "../../ui";
import type { Abilities } from "../data/admin";
import { useStore } from "../data/store";
import type { Host } from "../data/types";
import { useConsole } from "../shell/context";
import { ScrollRegion } from "../shell/ScrollRegion";
import { HostRow } from "./HostRow";
import { hostsSummary, ordered } from "./hosts";

export const HostsCard = memo(function HostsCard() {
  const { live } = useConsole();
  const hosts = useStore(live, (state) => state.overview?.hosts ?? null);
  const heard = useStore(live, (state) => state.overview !== null);
  return (
    <Card
      className="c-hosts"
      title="Hosts"
      actions={hosts ? <span className="c-note">{hostsSummary(hosts)}</span> : null}
      data-region="hosts"
    >
      {hosts && hosts.length > 0 ? <HostsTable hosts={hosts} /> : <p className="c-empty">{emptyWords(heard, hosts)}</p>}
    </Card>
  );
});

function emptyWords(heard: boolean, hosts: readonly Host[] | null): string {
  if (!heard) return "Looking…";
  return hosts ? "No host has ever reported here." : "Unknown while Redis is away.";
}

function HostsTable({ hosts }: { hosts: readonly Host[] }) {
  const abilities = useAbilities();
  const withLoad = hosts.some((host) => typeof host.load === "number");
  const withActs = abilities.drain || abilities.undrain;
  return (
    <ScrollRegion className="c-scroll c-scroll-tall" label="Hosts">
      <table className="c-table">
        <thead>
          <tr>
            <th scope="col">Host</th>
            <th scope="col">State</th>
            <th scope="col" className="c-number">
              Heartbeat
            </th>
            <th scope="col">Agents</th>
            <th scope="col" className="c-number c-mid">
              Waiting
            </th>
            <th scope="col" className="c-mid">
              Memory
            </th>
            {withLoad ? (
              <th scope="col" className="c-number c-wide">
                Load
              </th>
            ) : null}
            <th scope="col" className="c-mid">
              Zygote
            </th>
            <th scope="col" className="c-wide">
              Version
            </th>
            {withActs ? (
              <th scope="col">
                <span className="gr-visually-hidden">Acts</span>
              </th>
            ) : null}
          </tr>
        </thead>
        <tbody>
          {ordered(hosts).map((host) => (
            <HostRow key={host.host} host={host} withLoad={withLoad} abilities={abilities} />
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}

const NONE: Abilities = { drain: false, undrain: false };

/** Whether this server can drain, by its OpenAPI document; without one, it cannot. */
function useAbilities(): Abilities {
  const { admin } = useConsole();
  const [abilities, setAbilities] = useState(NONE);
  useEffect(() => {
    let wanted = true;
    void admin.abilities().then(
      (found) => {
        if (wanted) setAbilities(found);
      },
      () => undefined,
    );
    return () => void (wanted = false);
  }, [admin]);
  return abilities;
}
