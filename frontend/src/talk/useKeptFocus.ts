import { type FocusEvent, type RefObject, useLayoutEffect, useRef } from "react";

import type { Phase } from "./states";

/** Where the one thing to do is a button. */
const RESTING: ReadonlySet<string> = new Set<Phase>(["idle", "ended", "failed"]);

interface KeptFocus<T> {
  ref: RefObject<T | null>;
  onFocus: () => void;
  onBlur: (event: FocusEvent) => void;
  onClickCapture: () => void;
}

/**
 * Keeps the focus in a panel whose focused button goes away with its stage: on the button that begins anew before and
 * after a call, on the panel itself otherwise. It takes nothing away from anything else on the page.
 */
export function useKeptFocus<T extends HTMLElement>(stage: string): KeptFocus<T> {
  const ref = useRef<T>(null);
  /** The user was last busy in here. React tells of no blur for what it takes away itself. */
  const isOurs = useRef(false);

  useLayoutEffect(() => {
    const panel = ref.current;
    if (!panel || !isOurs.current || !isNowhere(document.activeElement, panel)) return;
    // not on a "Cancel" that was not there before: a key still held down would press it
    const next = RESTING.has(stage) ? panel.querySelector<HTMLElement>("button") : panel;
    (next ?? panel).focus({ preventScroll: true });
  }, [stage]);

  return {
    ref,
    onFocus: () => void (isOurs.current = true),
    onBlur: ({ currentTarget, relatedTarget }) => void (isOurs.current = currentTarget.contains(relatedTarget)),
    // not every browser gives the focus to a button that is clicked
    onClickCapture: () => void (isOurs.current = true),
  };
}

/** On the body, or in a shadow root whose focused element is gone. */
function isNowhere(active: Element | null, panel: HTMLElement): boolean {
  const root = panel.getRootNode();
  if (root instanceof ShadowRoot && root.host === active) return root.activeElement === null;
  return active === null || active === document.body;
}
