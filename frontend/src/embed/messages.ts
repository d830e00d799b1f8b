/** What the light part (a button) and the heavy part (the panel) of the embedded call know of each other. */

import type { Phase } from "../talk/states";

export interface EmbedOptions {
  /** Origin of the Greenroom server. */
  server: string;
  bearer?: () => string | null;
  userId?: string;
  userName?: string;
  language?: string;
  voice?: string;
  /** Heading of the panel. */
  label: string;
  /** Which of a page's elements this is: each has a call of its own, and comes back to that one. */
  place: string;
}

export interface EmbedListener {
  onState(state: { phase: Phase; agentState: string | null; sessionId: string | null }): void;
  onCaption(caption: { role: "user" | "assistant"; text: string }): void;
  /** The user has closed the panel. */
  onClose(): void;
}

export interface Panel {
  /** Within a click, or soon after: the browser asks for the microphone. */
  start(): void;
  end(): void;
  dispose(): void;
}

export interface PanelModule {
  mountPanel: (root: ShadowRoot, options: EmbedOptions, listener: EmbedListener) => Panel;
}

/** Where a tab keeps the session of the element at this place: see `talk/memory.ts`. */
export function sessionKey(place: string): string {
  return `greenroom.sessionId:${place}`;
}
