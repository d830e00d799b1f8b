import type { ReactNode } from "react";

import type { Tone } from "./Badge";
import { classes } from "./classes";
import { AlertIcon, CheckIcon, InfoIcon } from "./icons";

export interface NoticeProps {
  tone?: Exclude<Tone, "neutral">;
  title?: ReactNode;
  action?: ReactNode;
  className?: string;
  children?: ReactNode;
}

const ICONS = { info: InfoIcon, good: CheckIcon, warn: AlertIcon, bad: AlertIcon };

/** Words about what goes on. A bad one interrupts a screen reader, the others wait for their turn. */
export function Notice({ tone = "info", title, action, className, children }: NoticeProps) {
  const Icon = ICONS[tone];
  return (
    <div className={classes("gr-notice", `gr-tone-${tone}`, className)} role={tone === "bad" ? "alert" : "status"}>
      <Icon />
      <div className="gr-notice-text">
        {title ? <p className="gr-notice-title">{title}</p> : null}
        {children}
      </div>
      {action ? <div className="gr-notice-action">{action}</div> : null}
    </div>
  );
}
