import type { SessionStatus } from "../../lib/types";
import type { Tone } from "../../ui";

export const STATUS_TONES: Record<SessionStatus, Tone> = {
  starting: "warn",
  ready: "good",
  active: "info",
  ended: "neutral",
  failed: "bad",
};
