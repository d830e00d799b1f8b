/** What the page says, for each phase and each failure: what happened, and the way on. */

import type { AgentState, CallState, Failure } from "./states";

export interface Words {
  title: string;
  text: string;
}

const AGENT: Record<AgentState, string> = {
  initializing: "Getting ready",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
};

/** One or two words on how it goes, beside the visualiser; none before and after the call. */
export function stateWords(call: CallState): string {
  switch (call.phase) {
    case "joining":
      return "Joining";
    case "live":
      return call.agentState ? AGENT[call.agentState] : "Connected";
    case "reconnecting":
      return "Reconnecting";
    case "replacing":
      return "Getting another agent";
    default:
      return "";
  }
}

/** What passes. What comes next depends on whether it is still asked again (`failureWords`). */
const PASSING: Record<string, Words> = {
  at_capacity: { title: "Every agent is busy", text: "" },
  agents_unavailable: { title: "No agent can be started just now", text: "" },
  rate_limited: { title: "That was a little fast", text: "You started several calls in a short time." },
  store_unavailable: { title: "Our session store is away", text: "Nothing is lost." },
  livekit_unavailable: { title: "The voice server is away", text: "" },
  identity_unavailable: { title: "Your sign-in cannot be checked now", text: "" },
  unreachable: { title: "We cannot reach the server", text: "Check your connection." },
  timeout: { title: "The server is slow to answer", text: "" },
  request_timeout: { title: "Your request took too long to arrive", text: "Check your connection." },
};
const ASKING_AGAIN = "We ask again for you.";
const GIVEN_UP = "Try again, or come back later.";

const FAILURES: Record<string, Words> = {
  livekit_unreachable: {
    title: "The voice server cannot be reached",
    text: "Your network may block it: a firewall or a VPN often does. Try another network, or try again.",
  },
  no_webrtc: {
    title: "This browser cannot make calls",
    text: "It has no WebRTC, or it is switched off. A current Chrome, Edge, Firefox or Safari can.",
  },
  unauthorized: {
    title: "This page may not start calls here",
    text: "The server wants a key that this page does not have. Ask the people who run it.",
  },
  forbidden: { title: "You may not do this here", text: "Ask the people who run this page." },
  moved: { title: "You joined from another tab", text: "The call goes on there. You can bring it back here." },
  agent_failed: { title: "The agent stopped, and so did its replacements", text: "You can start a new call." },
  spawn_failed: { title: "No agent could be started", text: "You can try again in a moment." },
  agent_lost: { title: "The agent was lost", text: "You can start a new call." },
};

/** `givenUp`: nothing is done by itself any more. */
export function failureWords(failure: Failure, givenUp: boolean): Words {
  const passing = PASSING[failure.code];
  if (passing) {
    const next = givenUp ? GIVEN_UP : ASKING_AGAIN;
    return { title: passing.title, text: passing.text ? `${passing.text} ${next}` : next };
  }
  const known = FAILURES[failure.code];
  if (known) return known;
  return { title: "Something went wrong", text: failure.detail || "You can try again." };
}

const ENDS: Record<string, string> = {
  you: "You ended the call.",
  gone: "That call is over.",
  inactive: "Nobody said anything for a long time, so the call was ended.",
  "the user left": "You were away for too long, so the call was ended.",
  "the user said goodbye": "You said goodbye.",
  "the longest allowed call is over": "This was the longest that a call may be.",
  "its room was closed": "The call's room was closed.",
  "ended by its caller": "The call was ended.",
  "ended by the operator": "The call was ended by the people who run it.",
  "nobody joined in time": "Nobody joined in time, so the call was closed.",
  "told to end": "The call was ended by the people who run it.",
};

export function endWords(reason: string): string {
  return ENDS[reason] ?? (reason === "unknown" ? "The call is over." : `The call is over: ${reason}.`);
}

export type MicrophoneTrouble = "denied" | "absent" | "busy" | "unsupported" | "failed" | "silent" | "lost";

export const MICROPHONE: Record<MicrophoneTrouble, Words> = {
  denied: {
    title: "The microphone is blocked",
    text: "You can type instead. To talk, allow the microphone in the browser's address bar.",
  },
  absent: { title: "No microphone was found", text: "You can type instead, or plug one in." },
  busy: {
    title: "Another program uses the microphone",
    text: "You can type instead. To talk, close the other program and try the microphone again.",
  },
  unsupported: {
    title: "The browser gives no microphone here",
    text: "It does so on secure pages (https) only. You can type instead.",
  },
  failed: { title: "The microphone could not be opened", text: "You can type instead, or try the microphone again." },
  silent: {
    title: "We hear nothing from your microphone",
    text: "It may be switched off, or another one is the right one. You can also type.",
  },
  lost: { title: "The microphone went away", text: "You can type instead, or choose another one." },
};

/** The queue in words: "You are next", "2nd in the queue, about 3 s". */
export function queueWords(call: CallState): Words {
  const { position, estimatedWaitMs } = call.queue ?? { position: null, estimatedWaitMs: null };
  const place = position === null || position <= 1 ? "You are next" : `You are number ${position} in the queue`;
  return { title: place, text: estimatedWaitMs === null ? unknownWords(position) : waitWords(estimatedWaitMs) };
}

/** Nobody can say how long: every agent is busy, or none can be started just now. Without a place, nothing is known yet. */
function unknownWords(position: number | null): string {
  if (position === null) return "An agent is being started for you.";
  return "You get an agent as soon as one is free. Keep this page open.";
}

function waitWords(ms: number): string {
  if (ms < 1500) return "An agent is being started for you. It takes about a second.";
  const seconds = Math.round(ms / 1000);
  return `It takes about ${seconds < 90 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`}. Keep this page open.`;
}

/** Whether the call is still there, nobody knows yet. */
export function resumingWords({ failure }: CallState): Words {
  if (!failure) return { title: "Looking for your call…", text: "" };
  return { title: failureWords(failure, false).title, text: "We go on looking for your call." };
}
