import { type InputHTMLAttributes, type ReactNode, useId } from "react";

import { classes } from "./classes";

export interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
  label: ReactNode;
  hint?: ReactNode;
  error?: ReactNode;
  /** The label is there for screen readers only. */
  hideLabel?: boolean;
}

export function Field({ label, hint, error, hideLabel = false, className, ...input }: FieldProps) {
  const id = useId();
  const notes = [hint ? `${id}-hint` : "", error ? `${id}-error` : ""].join(" ").trim();
  return (
    <div className={classes("gr-field", className)}>
      <label htmlFor={id} className={hideLabel ? "gr-visually-hidden" : "gr-field-label"}>
        {label}
      </label>
      <input
        {...input}
        id={id}
        className="gr-input"
        aria-invalid={error ? true : undefined}
        aria-describedby={notes || undefined}
      />
      {hint ? (
        <span id={`${id}-hint`} className="gr-field-hint">
          {hint}
        </span>
      ) : null}
      {error ? (
        <span id={`${id}-error`} className="gr-field-error" role="alert">
          {error}
        </span>
      ) : null}
    </div>
  );
}
