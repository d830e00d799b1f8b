import { memo } from "react";

import { Badge, Card } from "../../ui";
import { useStore } from "../data/store";
import type { AgentPool, Overview } from "../data/types";
import { useConsole } from "../shell/context";
import { kindsOf } from "./resize";
import { ResizeForm } from "./ResizeForm";

export const PoolCard = memo(function PoolCard() {
  const { live } = useConsole();
  const overview = useStore(live, (state) => state.overview);
  const pool = overview?.pool ?? null;
  const state = pool === null ? "unknown" : pool.converged ? "converged" : "moving";
  return (
    <Card
      className="c-pool"
      title="Pool"
      data-region="pool"
      data-state={state}
      actions={pool ? <PoolBadge converged={pool.converged} /> : null}
    >
      {overview && pool ? (
        <>
          <p className="c-hero">
            <span className="c-hero-number" data-testid="pool-ready">
              {pool.ready}
            </span>
            <span className="c-hero-words">
              of <span data-testid="pool-target">{pool.target}</span> ready
            </span>
          </p>
          {kindsOf(pool).length > 0 ? (
            <Kinds kinds={kindsOf(pool)} />
          ) : (
            <p className="c-hint" data-testid="pool-reason">
              {pool.reason}
            </p>
          )}
          <Figures overview={overview} />
          <CapacityBar overview={overview} />
          <ResizeForm pool={pool} />
        </>
      ) : (
        <p className="c-empty">{overview ? "Unknown while Redis is away." : "Looking…"}</p>
      )}
    </Card>
  );
});

/** The pool of each kind of agent. */
function Kinds({ kinds }: { kinds: readonly AgentPool[] }) {
  return (
    <table className="c-kinds">
      <caption className="gr-visually-hidden">Pools by kind of agent</caption>
      <thead>
        <tr>
          <th scope="col">Agent</th>
          <th scope="col">Ready</th>
          <th scope="col">Starting</th>
        </tr>
      </thead>
      <tbody>
        {kinds.map(({ agent, ready, target, starting, converged, reason }) => (
          <tr key={agent} data-agent={agent} data-state={converged ? "converged" : "moving"} title={reason}>
            <th scope="row">{agent}</th>
            <td>
              {ready} of {target}
            </td>
            <td>{starting}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function PoolBadge({ converged }: { converged: boolean }) {
  return (
    <Badge tone={converged ? "good" : "warn"} dot pulse={!converged}>
      {converged ? "Converged" : "Moving"}
    </Badge>
  );
}

function Figures({ overview: { pool, sessions } }: { overview: Overview }) {
  const figures = [
    { name: "Starting", value: pool?.starting },
    { name: "In calls", value: sessions?.active },
    { name: "Callers waiting", value: pool?.waiting },
  ];
  return (
    <dl className="c-figures">
      {figures.map(({ name, value }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value ?? "–"}</dd>
        </div>
      ))}
    </dl>
  );
}

/** What the agents that may run at once are used for. */
function CapacityBar({ overview: { sessions, capacity } }: { overview: Overview }) {
  if (!sessions || !capacity || capacity.max === 0) return null;
  const width = (agents: number) => ({ width: `${(agents / capacity.max) * 100}%` });
  return (
    <div className="c-capacity">
      <p>
        <span>Capacity</span>
        <span>
          {capacity.current} of {capacity.max}
        </span>
      </p>
      <div className="c-capacity-bar" aria-hidden="true">
        <span data-part="active" style={width(sessions.active)} />
        <span data-part="ready" style={width(sessions.ready)} />
        <span data-part="starting" style={width(sessions.starting)} />
      </div>
    </div>
  );
}
