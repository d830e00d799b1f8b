import type { ReactNode } from "react";

import { classes } from "./classes";

export type Tone = "neutral" | "good" | "warn" | "bad" | "info";

/** A colour beside words that say the same; never the only sign of something. */
export function StatusDot({ tone = "neutral", pulse = false }: { tone?: Tone; pulse?: boolean }) {
  return <span className={classes("gr-dot", `gr-tone-${tone}`, pulse && "gr-dot-pulse")} aria-hidden="true" />;
}

export interface BadgeProps {
  tone?: Tone;
  dot?: boolean;
  pulse?: boolean;
  className?: string;
  children: ReactNode;
}

export function Badge({ tone = "neutral", dot = false, pulse = false, className, children }: BadgeProps) {
  return (
    <span className={classes("gr-badge", `gr-tone-${tone}`, className)}>
      {dot ? <StatusDot tone={tone} pulse={pulse} /> : null}
      {children}
    </span>
  );
}
