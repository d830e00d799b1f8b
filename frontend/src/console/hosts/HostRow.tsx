import { memo } from "react";

import { bytes } from "../../lib/format";
import { Badge, StatusDot } from "../../ui";
import type { Abilities } from "../data/admin";
import type { Host } from "../data/types";
import { Meter } from "../shell/Meter";
import { DrainButton } from "./DrainButton";
import { heartbeat, memoryUsed, STATE_TONES, stateOf, zygoteOf } from "./hosts";

interface HostRowProps {
  host: Host;
  withLoad: boolean;
  abilities: Abilities;
}

export const HostRow = memo(function HostRow({ host, withLoad, abilities }: HostRowProps) {
  const state = stateOf(host);
  const memory = memoryUsed(host);
  const zygote = zygoteOf(host);
  return (
    <tr data-host={host.host} data-state={state}>
      <th scope="row">{host.host}</th>
      <td>
        <Badge tone={STATE_TONES[state]}>{state}</Badge>
      </td>
      <td className="c-number">{heartbeat(host.heartbeatAgeS)}</td>
      <td>
        <span className="c-measure" title={host.capacityReason ?? undefined}>
          <Meter share={host.capacity > 0 ? host.agents / host.capacity : 1} high={1} />
          {host.agents} / {host.capacity}
          {host.capacityLimit ? <span className="c-soft"> by {host.capacityLimit}</span> : null}
        </span>
      </td>
      <td className="c-number c-mid">{host.warm}</td>
      <td className="c-mid">
        <span className="c-measure" title={`${bytes(host.agentPrivateBytes)} private to each agent`}>
          <Meter share={memory.share} />
          {bytes(memory.bytes)} / {bytes(host.memoryTotalBytes)}
        </span>
      </td>
      {withLoad ? <td className="c-number c-wide">{host.load?.toFixed(2) ?? "–"}</td> : null}
      <td className="c-mid">
        <span className="c-zygote" title={zygote.why || undefined}>
          <StatusDot tone={zygote.tone} />
          {zygote.word}
          {zygote.why ? <span className="c-zygote-why">{zygote.why}</span> : null}
        </span>
      </td>
      <td className="c-wide c-soft">{host.version || "–"}</td>
      {abilities.drain || abilities.undrain ? (
        <td className="c-act">
          <DrainButton host={host} abilities={abilities} />
        </td>
      ) : null}
    </tr>
  );
});
