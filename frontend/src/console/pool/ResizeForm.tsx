import { type SyntheticEvent, useId, useState } from "react";

import { duration } from "../../lib/format";
import { Button, IconButton, MinusIcon, PlusIcon, Select } from "../../ui";
import { useStore } from "../data/store";
import type { Pool, PoolSize } from "../data/types";
import { useNowMs } from "../live/clock";
import { useConsole } from "../shell/context";
import { kindsOf, poolOf, progressOf, type ResizeState, sizeOf } from "./resize";

export function ResizeForm({ pool: whole }: { pool: Pool }) {
  const { resize } = useConsole();
  const state = useStore(resize, (value) => value);
  const [typed, setTyped] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const kinds = kindsOf(whole);
  const agent = kinds.length > 0 ? (kinds.find((each) => each.agent === chosen) ?? kinds[0])?.agent : undefined;
  const pool = poolOf(whole, agent);
  const id = useId();
  const value = typed ?? String(pool.floor);
  const parsed = sizeOf(value, pool.max, pool.max === whole.max);

  const step = (by: number): void => {
    const from = "size" in parsed ? parsed.size : pool.floor;
    setTyped(String(Math.min(pool.max, Math.max(0, from + by))));
    setError(null);
  };

  const onSubmit = (event: SyntheticEvent): void => {
    event.preventDefault();
    if ("error" in parsed) {
      setError(parsed.error);
      return;
    }
    setError(null);
    setTyped(null);
    void resize.to(parsed.size, agent);
  };

  const choose = (kind: string): void => {
    setChosen(kind);
    setTyped(null);
    setError(null);
  };

  return (
    <form className="c-resize" onSubmit={onSubmit} noValidate data-state={state.step}>
      {agent !== undefined && (
        <Select
          label="Agent"
          value={agent}
          options={kinds.map((each) => ({ value: each.agent, label: each.agent }))}
          onChange={choose}
        />
      )}
      <label htmlFor={id} className="gr-field-label">
        Pool size
      </label>
      <div className="c-resize-row">
        <div className="c-stepper">
          <IconButton variant="ghost" size="sm" label="One less" icon={<MinusIcon />} onClick={() => step(-1)} />
          <input
            id={id}
            inputMode="numeric"
            autoComplete="off"
            value={value}
            onChange={(event) => setTyped(event.target.value)}
            aria-invalid={error ? true : undefined}
            aria-describedby={`${id}-hint`}
          />
          <IconButton variant="ghost" size="sm" label="One more" icon={<PlusIcon />} onClick={() => step(1)} />
        </div>
        <Button type="submit" variant={typed === null ? "secondary" : "primary"} busy={state.step === "sending"}>
          Resize
        </Button>
      </div>
      <Progress state={state} pool={whole} />
      <p className="c-hint" id={`${id}-hint`}>
        At least so many wait; more while many callers arrive. Shrinking ends waiting agents only, never a call.
      </p>
      <p className="c-resize-said" role="status" data-tone={error || state.step === "failed" ? "bad" : undefined}>
        {error ?? said(state)}
      </p>
    </form>
  );
}

function said(state: ResizeState): string {
  if (state.step === "failed") return state.detail;
  if (state.step === "done") return `${moved(state)}: converged in ${duration(state.tookMs / 1000)}.`;
  return "";
}

/** From where to where; of which kind, where there are several. */
function moved({ agent, previous, size }: { agent?: string | undefined; previous: number; size: number }): string {
  return `${agent === undefined ? "" : `${agent} `}${previous} → ${size}`;
}

function Progress({ state, pool: whole }: { state: ResizeState; pool: Pool }) {
  const nowMs = useNowMs();
  if (state.step !== "moving") return null;
  const pool: PoolSize = poolOf(whole, state.agent);
  const seconds = Math.max(0, Math.floor((nowMs - state.askedAtMs) / 1000));
  return (
    <div className="c-progress">
      <progress value={progressOf(state, pool)} aria-label={`Pool moving to ${state.size}`} />
      <p>
        {moved(state)}: {pool.ready} ready, {pool.starting} starting · {seconds} s
      </p>
    </div>
  );
}
