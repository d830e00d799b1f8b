import { useState } from "react";

import { clock } from "../../lib/format";
import type { Sample } from "../data/types";
import { ScrollRegion } from "../shell/ScrollRegion";
import { bucketsOf, COLUMNS } from "./buckets";

/** The same as a table: means of five minutes each. */
export function HistoryTable({ samples }: { samples: readonly Sample[] }) {
  const [open, setOpen] = useState(false);
  return (
    <details className="c-details" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      {open ? <Rows samples={samples} /> : null}
    </details>
  );
}

function Rows({ samples }: { samples: readonly Sample[] }) {
  return (
    <ScrollRegion className="c-scroll" label="The last hour as a table">
      <table className="c-table">
        <caption className="gr-visually-hidden">Means of five minutes each, the newest first</caption>
        <thead>
          <tr>
            <th scope="col">From</th>
            {COLUMNS.map(({ name }) => (
              <th key={name} scope="col" className="c-number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {bucketsOf(samples).map(({ at, values }) => (
            <tr key={at}>
              <th scope="row">{clock(at)}</th>
              {COLUMNS.map(({ name, format }, i) => {
                const value = values[i] ?? null;
                return (
                  <td key={name} className="c-number">
                    {value === null ? "–" : format(value)}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
