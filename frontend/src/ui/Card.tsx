import { type HTMLAttributes, type ReactNode, useId } from "react";

import { classes } from "./classes";

export interface CardProps extends Omit<HTMLAttributes<HTMLElement>, "title"> {
  title?: ReactNode;
  /** Beside the title: a badge, a button. */
  actions?: ReactNode;
  headingLevel?: 2 | 3;
}

/** A panel; with a title it is a region that is named by it. */
export function Card({ title, actions, headingLevel = 2, className, children, ...rest }: CardProps) {
  const id = useId();
  const Heading = headingLevel === 2 ? "h2" : "h3";
  return (
    <section {...rest} className={classes("gr-card", className)} aria-labelledby={title ? id : undefined}>
      {(title ?? actions) ? (
        <div className="gr-card-head">
          {title ? (
            <Heading id={id} className="gr-card-title">
              {title}
            </Heading>
          ) : null}
          {actions}
        </div>
      ) : null}
      <div className="gr-card-body">{children}</div>
    </section>
  );
}
