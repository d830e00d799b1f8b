import { beforeEach, describe, expect, it } from "vitest";

import { sessionKey } from "../embed/messages";
import { draw, swell } from "./draw";
import { tabMemory } from "./memory";
import { troubleOf } from "./microphone";
import { listened, NO_SILENCE, SILENT_FOR_MS, SILENT_LEVEL } from "./silence";
import { INITIAL, PHASES } from "./states";
import { clickedAt, isComplete, marked } from "./timeline";
import { endWords, failureWords, queueWords, stateWords } from "./words";

describe("the timeline", () => {
  it("has each mark once, in ms after the click", () => {
    let timeline = clickedAt(1_000);
    timeline = marked(timeline, "answer", 1_020.04);
    timeline = marked(timeline, "answer", 5_000);
    expect(timeline.marks).toEqual({ click: 0, answer: 20 });
  });

  it("never goes back, so that the parts add up", () => {
    const timeline = marked(marked(clickedAt(0), "connected", 300), "agentSeen", 290);
    expect(timeline.marks.agentSeen).toBe(300);
  });

  it("is complete with the first sound", () => {
    expect(isComplete(marked(clickedAt(0), "agentSeen", 1))).toBe(false);
    expect(isComplete(marked(clickedAt(0), "firstSound", 1))).toBe(true);
  });
});

describe("silence", () => {
  it("is noticed after a while without any level", () => {
    let silence = listened(NO_SILENCE, 0, 0);
    silence = listened(silence, 0, SILENT_FOR_MS - 1);
    expect(silence.silent).toBe(false);
    expect(listened(silence, 0, SILENT_FOR_MS).silent).toBe(true);
  });

  it("ends with the first sound", () => {
    const silent = listened(listened(NO_SILENCE, 0, 0), 0, SILENT_FOR_MS);
    expect(listened(silent, SILENT_LEVEL, SILENT_FOR_MS + 1)).toEqual(NO_SILENCE);
  });

  it("does not count the time in which nothing is to be heard", () => {
    const paused = listened(listened(NO_SILENCE, 0, 0), null, SILENT_FOR_MS / 2);
    expect(listened(listened(paused, 0, SILENT_FOR_MS / 2), 0, SILENT_FOR_MS).silent).toBe(false);
  });

  it("that was noticed is not forgotten while the agent speaks", () => {
    const silent = listened(listened(NO_SILENCE, 0, 0), 0, SILENT_FOR_MS);
    expect(listened(silent, null, SILENT_FOR_MS + 1).silent).toBe(true);
  });
});

describe("the tab's memory", () => {
  beforeEach(() => sessionStorage.clear());

  it("knows the same user and session after a reload", () => {
    const before = tabMemory();
    const userId = before.userId();
    before.sessionId = "session_1";
    before.volume = 0.5;
    const after = tabMemory();
    expect([after.userId(), after.sessionId, after.volume]).toEqual([userId, "session_1", 0.5]);
    after.sessionId = null;
    expect(tabMemory().sessionId).toBeNull();
  });

  it("has a session for each place, and one user for all", () => {
    const [one, other] = [tabMemory(undefined, "server#a"), tabMemory(undefined, "server#b")];
    one.sessionId = "session_1";
    expect(other.sessionId).toBeNull();
    expect(sessionStorage.getItem(sessionKey("server#a"))).toBe("session_1");
    expect(other.userId()).toBe(one.userId());
  });

  it("gives each tab a user of its own", () => {
    const one = tabMemory(null).userId();
    expect(tabMemory(null).userId()).not.toBe(one);
  });

  it("works for as long as the page lives where storage is forbidden", () => {
    const forbidden = {
      getItem: () => {
        throw new Error("forbidden");
      },
      setItem: () => {
        throw new Error("forbidden");
      },
    } as unknown as Storage;
    const memory = tabMemory(forbidden);
    memory.sessionId = "session_1";
    expect(memory.sessionId).toBe("session_1");
  });

  it("takes no volume that is none", () => {
    sessionStorage.setItem("greenroom.volume", "7");
    expect(tabMemory().volume).toBe(1);
  });
});

describe("words", () => {
  it("never say connected before the call is live", () => {
    for (const phase of PHASES) {
      const words = stateWords({ ...INITIAL, phase });
      expect(/connected/i.test(words) ? phase : "", words).toBe(phase === "live" ? "live" : "");
    }
  });

  it("show what the server says of a failure that the page does not know", () => {
    expect(
      failureWords({ code: "new_one", detail: "Words of the server.", retryAfterS: null, final: true }, true).text,
    ).toBe("Words of the server.");
  });

  it("promise to ask again only while it is asked again", () => {
    for (const code of [
      "at_capacity",
      "agents_unavailable",
      "rate_limited",
      "store_unavailable",
      "livekit_unavailable",
      "unreachable",
      "timeout",
      "request_timeout",
    ]) {
      const failure = { code, detail: "", retryAfterS: null, final: false };
      expect(failureWords(failure, false).text).toContain("We ask again for you.");
      expect(failureWords(failure, true).text).not.toContain("ask again");
      expect(failureWords(failure, true).text).toContain("Try again, or come back later.");
    }
  });

  it("tell how a call ended, known or not", () => {
    expect(endWords("the user said goodbye")).toBe("You said goodbye.");
    expect(endWords("ended by its caller")).toBe("The call was ended.");
    expect(endWords("ended by the operator")).toBe("The call was ended by the people who run it.");
    expect(endWords("nobody joined in time")).toBe("Nobody joined in time, so the call was closed.");
    expect(endWords("maintenance")).toBe("The call is over: maintenance.");
  });

  it("tell the place in the queue and the wait", () => {
    const queue = (position: number | null, estimatedWaitMs: number | null) =>
      queueWords({ ...INITIAL, queue: { position, estimatedWaitMs } });
    expect(queue(1, 400).title).toBe("You are next");
    expect(queue(3, 8_200)).toEqual({
      title: "You are number 3 in the queue",
      text: "It takes about 8 seconds. Keep this page open.",
    });
    expect(queue(9, 240_000).text).toContain("4 minutes");
    expect(queue(null, null).text).toBe("An agent is being started for you.");
    expect(queue(2, null)).toEqual({
      title: "You are number 2 in the queue",
      text: "You get an agent as soon as one is free. Keep this page open.",
    });
  });
});

describe("a microphone's trouble", () => {
  it.each([
    ["NotAllowedError", "denied"],
    ["NotFoundError", "absent"],
    ["NotReadableError", "busy"],
    ["TypeError", "failed"],
  ])("%s is %s", (name, trouble) => expect(troubleOf(Object.assign(new Error(), { name }))).toBe(trouble));
});

describe("the visualiser's shape", () => {
  it("swells where the tone is: the same in each of its three petals, on both sides", () => {
    const bands = new Float32Array([0, 0, 1, 0, 0]);
    const quiet = new Float32Array(5);
    const grown = (angle: number): number => swell(bands, angle, 0) - swell(quiet, angle, 0);
    const half = Math.PI / 6;
    const petal = (2 * Math.PI) / 3;
    for (const angle of [half, -half, petal + half, 2 * petal - half]) expect(grown(angle)).toBeCloseTo(1);
    expect(grown(0)).toBeCloseTo(0);
  });

  it("stays within its place, however loud it is", () => {
    const loud = new Float32Array(14).fill(1);
    const reach: number[] = [];
    const context = {
      clearRect: () => undefined,
      beginPath: () => undefined,
      closePath: () => undefined,
      fill: () => undefined,
      stroke: () => undefined,
      createRadialGradient: () => ({ addColorStop: () => undefined }),
      lineTo: (x: number, y: number) => reach.push(Math.hypot(x - 50, y - 50)),
    } as unknown as CanvasRenderingContext2D;
    const pen = { context, size: 100, agentColour: "", lightColour: "", userColour: "" };
    draw(pen, { agent: loud, microphone: loud }, 1, 1);
    expect(Math.max(...reach)).toBeLessThanOrEqual(50);
  });
});
