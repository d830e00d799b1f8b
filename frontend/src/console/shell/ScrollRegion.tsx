import type { HTMLAttributes, Ref } from "react";

interface ScrollRegionProps extends HTMLAttributes<HTMLDivElement> {
  label: string;
  ref?: Ref<HTMLDivElement>;
}

/** Scrolls by itself, for the keyboard as well: that is why it takes the focus. */
export function ScrollRegion({ label, role = "group", children, ...rest }: ScrollRegionProps) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what cannot be focused cannot be scrolled by keys
    <div {...rest} role={role} aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
