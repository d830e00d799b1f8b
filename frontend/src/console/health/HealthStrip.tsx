import { memo, useEffect } from "react";

import { AlertIcon, CheckIcon, StatusDot } from "../../ui";
import { useStore } from "../data/store";
import type { Health, Overview } from "../data/types";
import { useConnection } from "../live/hooks";
import { useConsole } from "../shell/context";
import { isUnknown, type Trouble, troublesOf, warningsOf } from "./advice";

const TITLE = "Greenroom console";
const WORDS: Record<Health["status"], string> = { healthy: "Healthy", degraded: "Degraded", unhealthy: "Unhealthy" };

export const HealthStrip = memo(function HealthStrip() {
  const { live } = useConsole();
  const overview = useStore(live, (state) => state.overview);
  const connection = useConnection();
  const status = overview?.health.status ?? "unknown";

  // a tab in the background says it as well
  useEffect(() => {
    document.title = status === "unhealthy" || status === "degraded" ? `${WORDS[status]} · ${TITLE}` : TITLE;
    return () => void (document.title = TITLE);
  }, [status]);

  return (
    <section className="c-health" aria-label="Health" data-region="health" data-state={status}>
      {overview ? (
        <Verdict overview={overview} now={connection === "live"} />
      ) : (
        <p className="c-health-word">Looking…</p>
      )}
    </section>
  );
});

function Verdict({ overview, now }: { overview: Overview; now: boolean }) {
  const { health } = overview;
  const troubles = troublesOf(health);
  const warnings = warningsOf(overview);
  return (
    <>
      <div className="c-health-row">
        <p className="c-health-word" role="status">
          {health.status === "healthy" ? <CheckIcon /> : <AlertIcon />}
          {now ? WORDS[health.status] : `Was ${health.status}`}
        </p>
        <Parts health={health} />
      </div>
      {troubles.length > 0 ? (
        <ul className="c-troubles">
          {troubles.map((trouble) => (
            <TroubleItem key={trouble.part} trouble={trouble} />
          ))}
        </ul>
      ) : null}
      {warnings.length > 0 ? (
        <ul className="c-warnings">
          {warnings.map((words) => (
            <li key={words}>
              <StatusDot tone="warn" />
              {words}
            </li>
          ))}
        </ul>
      ) : null}
    </>
  );
}

function Parts({ health }: { health: Health }) {
  return (
    <ul className="c-parts" aria-label="Parts">
      {Object.entries(health.parts).map(([name, part]) => (
        <li key={name} data-part={name} data-ok={part.ok}>
          <StatusDot tone={part.ok ? "good" : isUnknown(part) ? "neutral" : "bad"} />
          <span className="c-part-name">{name}</span>
          <span className="c-part-detail">{part.ok ? part.detail : isUnknown(part) ? "unknown" : "down"}</span>
        </li>
      ))}
    </ul>
  );
}

function TroubleItem({ trouble }: { trouble: Trouble }) {
  return (
    <li className="c-trouble" data-part={trouble.part}>
      <p className="c-trouble-what">
        <strong>{trouble.part}</strong> {trouble.detail}
      </p>
      <p className="c-trouble-means">{trouble.means}</p>
      <p className="c-trouble-advice">
        <strong>What to do:</strong> {trouble.advice}
      </p>
    </li>
  );
}
