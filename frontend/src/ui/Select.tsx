import { type ReactNode, type SelectHTMLAttributes, useId } from "react";

import { classes } from "./classes";
import { ChevronDownIcon } from "./icons";

export interface SelectProps extends Omit<SelectHTMLAttributes<HTMLSelectElement>, "onChange"> {
  label: ReactNode;
  hideLabel?: boolean;
  options: readonly { value: string; label: string }[];
  onChange: (value: string) => void;
}

export function Select({ label, hideLabel = false, options, onChange, className, ...select }: SelectProps) {
  const id = useId();
  return (
    <div className={classes("gr-field", className)}>
      <label htmlFor={id} className={hideLabel ? "gr-visually-hidden" : "gr-field-label"}>
        {label}
      </label>
      <span className="gr-select">
        <select
          {...select}
          id={id}
          onChange={(event) => {
            onChange(event.target.value);
          }}
        >
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
        <ChevronDownIcon />
      </span>
    </div>
  );
}
