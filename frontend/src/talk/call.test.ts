import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { StartAnswer } from "../lib/types";
import { all } from "./captions";
import { type FakeCall, fakeCall, JOIN, problem, READY, sessionIs } from "./fakes";
import { tabMemory } from "./memory";
import { SILENT_FOR_MS } from "./silence";
import { WAIT_AT_MOST_MS } from "./stopwatch";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const texts = ({ call }: FakeCall): string[] => all(call.view.get().captions).map((caption) => caption.text);

/** From the click until it talks. */
async function talking(fake: FakeCall = fakeCall()): Promise<FakeCall> {
  fake.call.start();
  await settle();
  arrive(fake);
  return fake;
}

function arrive(fake: FakeCall): void {
  const { handlers } = fake.room();
  handlers.joined();
  handlers.agentJoined();
  handlers.agentState("listening");
  fake.watch().onSession(sessionIs("active"));
}

describe("a call", () => {
  it("asks for microphone and session within the click", () => {
    const { call, sessions, sound, voice } = fakeCall();
    call.start();
    expect(sessions.start).toHaveBeenCalledWith({ userId: "user-1", userName: "Guest" }, "key-1");
    expect(voice.view.get().status).toBe("asking");
    expect(sound.wake).toHaveBeenCalled();
  });

  it("joins with the answer's own token, and speaks with the microphone", async () => {
    const fake = await talking();
    expect(fake.room().connect).toHaveBeenCalledWith("ws://livekit", "secret");
    expect(fake.sessions.token).not.toHaveBeenCalled();
    expect(fake.room().microphone).toBe(fake.microphones.opened[0]);
    expect(fake.phase()).toBe("live");
  });

  it("keeps the session's id for a reload, and the token nowhere", async () => {
    const fake = await talking(fakeCall(tabMemory()));
    expect(fake.memory.sessionId).toBe("session_1");
    const kept = JSON.stringify(Object.entries(sessionStorage));
    // eslint-disable-next-line no-restricted-globals -- to see that it is empty
    expect(localStorage).toHaveLength(0);
    expect(kept).toContain("session_1");
    expect(kept).not.toContain("secret");
    sessionStorage.clear();
  });

  it("waits in the queue until the session is ready", async () => {
    const fake = fakeCall();
    const waiting: StartAnswer = { sessionId: "session_1", status: "starting", queuePosition: 2, estimatedWaitMs: 400 };
    fake.sessions.start.mockResolvedValue(waiting);
    fake.call.start();
    await settle();
    expect(fake.phase()).toBe("queued");
    fake.watch().onSession(sessionIs("ready"));
    await settle();
    expect(fake.sessions.token).toHaveBeenCalledWith("session_1", "Guest");
    arrive(fake);
    expect(fake.phase()).toBe("live");
  });

  it("ends: the session is told, the room left, the microphone let go, nothing remembered", async () => {
    const fake = await talking();
    fake.call.end();
    expect(fake.sessions.end).toHaveBeenCalledWith("session_1");
    expect(fake.room().closed).toBe(true);
    expect(fake.microphones.opened[0]?.stopped).toBe(true);
    expect(fake.memory.sessionId).toBeNull();
    expect(fake.phase()).toBe("ended");
  });

  it("gives back what is answered after it was cancelled", async () => {
    const fake = fakeCall();
    fake.call.start();
    fake.call.end();
    fake.call.start();
    await settle();
    expect(fake.sessions.end).toHaveBeenCalledTimes(1);
    expect(fake.rooms).toHaveLength(1);
  });

  it("has its own conversation: a new one begins empty", async () => {
    const fake = await talking();
    fake.room().handlers.transcript({ id: "a", role: "assistant", text: "Hello.", final: true });
    fake.call.end();
    expect(texts(fake)).toEqual(["Hello."]);
    fake.call.start();
    expect(texts(fake)).toEqual([]);
  });
});

describe("at capacity", () => {
  it("asks again by itself with the same key, until there is room", async () => {
    const fake = fakeCall();
    fake.sessions.start.mockRejectedValueOnce(problem("at_capacity", 503, 5));
    fake.call.start();
    await settle();
    expect(fake.phase()).toBe("holding");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(fake.sessions.start).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(fake.sessions.start.mock.calls.map(([, key]) => key)).toEqual(["key-1", "key-1"]);
    expect(fake.phase()).toBe("joining");
  });

  it("asks no more when the user has cancelled", async () => {
    const fake = fakeCall();
    fake.sessions.start.mockRejectedValue(problem("at_capacity", 503, 5));
    fake.call.start();
    await settle();
    fake.call.end();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fake.sessions.start).toHaveBeenCalledTimes(1);
    expect(fake.phase()).toBe("idle");
  });
});

describe("coming back after a reload", () => {
  function reloaded(): FakeCall {
    const memory = tabMemory(null);
    memory.sessionId = "session_1";
    return fakeCall(memory);
  }

  it("finds the same session and what was said", async () => {
    const fake = reloaded();
    fake.sessions.turns.mockResolvedValue([
      { role: "assistant", text: "Hello.", at: 1, interrupted: false, latencyMs: null },
    ]);
    fake.call.open();
    await settle();
    arrive(fake);
    expect(fake.phase()).toBe("live");
    expect(fake.sessions.start).not.toHaveBeenCalled();
    expect(texts(fake)).toEqual(["Hello."]);
    expect(fake.sessions.report).not.toHaveBeenCalled();
  });

  it("asks once more for what the agent was saying in the meantime", async () => {
    const fake = reloaded();
    fake.call.open();
    await settle();
    const { handlers } = fake.room();
    arrive(fake);
    handlers.agentState("speaking");
    fake.sessions.turns.mockResolvedValue([
      { role: "assistant", text: "A long story.", at: 1, interrupted: false, latencyMs: null },
    ]);
    handlers.agentState("listening");
    await settle();
    expect(texts(fake)).toEqual(["A long story."]);
    handlers.agentState("speaking");
    handlers.agentState("listening");
    expect(fake.sessions.turns).toHaveBeenCalledTimes(2);
  });

  it("asks for what the agent said when nothing at all of it came", async () => {
    const fake = reloaded();
    fake.sessions.turns.mockResolvedValue([]);
    fake.call.open();
    await settle();
    const { handlers } = fake.room();
    arrive(fake);
    handlers.agentState("speaking");
    handlers.agentState("listening");
    await settle();
    expect(texts(fake)).toEqual([]);
    fake.sessions.turns.mockResolvedValue([
      { role: "assistant", text: "Hello.", at: 1, interrupted: false, latencyMs: null },
    ]);
    handlers.agentState("speaking");
    handlers.agentState("listening");
    await settle();
    expect(texts(fake)).toEqual(["Hello."]);
    expect(fake.sessions.turns).toHaveBeenCalledTimes(3);
  });

  it("asks again a second later, when those words have become a turn", async () => {
    const fake = reloaded();
    fake.sessions.turns.mockResolvedValue([]);
    fake.call.open();
    await settle();
    const { handlers } = fake.room();
    arrive(fake);
    handlers.agentState("speaking");
    handlers.agentState("listening");
    fake.sessions.turns.mockResolvedValue([
      { role: "assistant", text: "Hello.", at: 1, interrupted: false, latencyMs: null },
    ]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(texts(fake)).toEqual(["Hello."]);
  });

  it("keeps the restored conversation when the agent dies before it has said a word", async () => {
    const fake = reloaded();
    const turn = (text: string) => ({ role: "assistant" as const, text, at: 1, interrupted: false, latencyMs: null });
    fake.sessions.turns.mockResolvedValue([turn("Before the reload.")]);
    fake.call.open();
    await settle();
    arrive(fake);
    fake.sessions.start.mockResolvedValue({ ...READY, sessionId: "session_2" });
    fake.sessions.turns.mockResolvedValue([turn("Hello again.")]);
    fake.watch().onSession(sessionIs("failed", { error: "agent_lost: killed" }));
    await settle();
    fake.room().handlers.joined();
    fake.room().handlers.agentJoined();
    fake.room().handlers.agentState("speaking");
    fake.room().handlers.agentState("listening");
    await settle();
    expect(texts(fake)).toContain("Before the reload.");
    expect(fake.sessions.turns.mock.calls).toEqual([["session_1"]]);
  });

  it("to a session that is over says so, and forgets it", async () => {
    const fake = reloaded();
    fake.sessions.session.mockRejectedValue(problem("session_not_found", 404));
    fake.call.open();
    await settle();
    expect(fake.phase()).toBe("ended");
    expect(fake.memory.sessionId).toBeNull();
    expect(fake.microphones.opened).toEqual([]);
  });

  it("leaves the session alone when the page goes", async () => {
    const fake = await talking();
    fake.call.dispose();
    expect(fake.sessions.end).not.toHaveBeenCalled();
    expect(fake.memory.sessionId).toBe("session_1");
  });
});

describe("a call that is gone for good", () => {
  it("starts nothing any more, whoever still has a hold of it", async () => {
    const memory = tabMemory(null);
    memory.sessionId = "session_1";
    const fake = fakeCall(memory);
    fake.call.dispose();
    fake.call.open();
    fake.call.start();
    fake.call.retryNow();
    await settle();
    expect(fake.sessions.session).not.toHaveBeenCalled();
    expect(fake.sessions.start).not.toHaveBeenCalled();
    expect(fake.microphones.opened).toEqual([]);
    expect(fake.phase()).toBe("idle");
  });
});

describe("a lost room", () => {
  it("is joined again with a fresh token and the same microphone", async () => {
    const fake = await talking();
    fake.room().handlers.lost("network");
    expect(fake.phase()).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fake.sessions.token).toHaveBeenCalledTimes(1);
    expect(fake.rooms).toHaveLength(2);
    arrive(fake);
    expect(fake.phase()).toBe("live");
    expect(fake.room().microphone).toBe(fake.microphones.opened[0]);
    expect(fake.microphones.opened).toHaveLength(1);
  });

  it("that cannot be joined is tried some times, then the way on is a click", async () => {
    const fake = fakeCall();
    fake.call.start();
    await settle();
    fake.room().handlers.lost("network");
    fake.sessions.token.mockRejectedValue(problem("livekit_unavailable", 503));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fake.call.view.get().call).toMatchObject({ phase: "failed", failure: { code: "livekit_unavailable" } });
    expect(fake.memory.sessionId).toBe("session_1");
    fake.sessions.token.mockResolvedValue(JOIN);
    fake.call.start();
    await settle();
    arrive(fake);
    expect(fake.phase()).toBe("live");
    expect(fake.sessions.start).toHaveBeenCalledTimes(1);
  });

  it("in a browser without WebRTC is not tried twice", async () => {
    const fake = fakeCall(tabMemory(null), false);
    fake.call.start();
    await settle();
    expect(fake.call.view.get().call).toMatchObject({ phase: "failed", failure: { code: "no_webrtc" } });
  });
});

describe("a session that failed", () => {
  it("is followed by another one, with a new key and the same microphone", async () => {
    const fake = await talking();
    fake.room().handlers.transcript({ id: "a", role: "user", text: "hello", final: true });
    fake.sessions.start.mockResolvedValue({ ...READY, sessionId: "session_2" });
    fake.watch().onSession(sessionIs("failed", { error: "agent_lost: killed" }));
    await settle();
    expect(fake.sessions.start.mock.lastCall?.[1]).toBe("key-2");
    expect(fake.memory.sessionId).toBe("session_2");
    expect(fake.room().microphone).toBe(fake.microphones.opened[0]);
    expect(all(fake.call.view.get().captions).map((caption) => caption.role)).toEqual(["user", "divider"]);
  });
});

describe("typing", () => {
  it("works without a microphone", async () => {
    const fake = fakeCall();
    fake.microphones.trouble = "denied";
    await talking(fake);
    expect(fake.voice.view.get().trouble).toBe("denied");
    await expect(fake.call.sendText("  what time is it ")).resolves.toBe(true);
    expect(fake.room().texts).toEqual(["what time is it"]);
    expect(texts(fake)).toEqual(["what time is it"]);
  });

  it("says when it did not get through", async () => {
    const fake = fakeCall();
    await expect(fake.call.sendText("hello")).resolves.toBe(false);
    await talking(fake);
    vi.spyOn(fake.room(), "sendText").mockRejectedValue(new Error("closed"));
    await expect(fake.call.sendText("hello")).resolves.toBe(false);
    expect(texts(fake)).toEqual([]);
  });
});

describe("the microphone", () => {
  it("that gives nothing while the agent listens is told of, until it gives something", async () => {
    const fake = await talking();
    fake.sound.levels.microphone = 0;
    await vi.advanceTimersByTimeAsync(SILENT_FOR_MS - 500);
    expect(fake.voice.view.get().trouble).toBeNull();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fake.voice.view.get().trouble).toBe("silent");
    fake.sound.levels.microphone = 0.1;
    await vi.advanceTimersByTimeAsync(500);
    expect(fake.voice.view.get().trouble).toBeNull();
  });

  it("that is muted is silent on purpose", async () => {
    const fake = await talking();
    fake.sound.levels.microphone = 0;
    fake.voice.setMuted(true);
    await vi.advanceTimersByTimeAsync(3 * SILENT_FOR_MS);
    expect(fake.voice.view.get().trouble).toBeNull();
    expect(fake.room().muted).toBe(true);
  });

  it("is changed during the call, and the choice is kept", async () => {
    const fake = await talking();
    await fake.voice.choose("headset");
    expect(fake.microphones.opened.map((track) => [track.deviceId, track.stopped])).toEqual([
      ["default", true],
      ["headset", false],
    ]);
    expect(fake.room().microphone).toBe(fake.microphones.opened[1]);
    expect(fake.memory.deviceId).toBe("headset");
  });

  it("that the room does not take is told of, and can be tried again", async () => {
    const fake = await talking();
    fake.room().handlers.microphoneFailed();
    expect(fake.voice.view.get()).toMatchObject({ status: "off", trouble: "failed" });
    await fake.voice.open();
    expect(fake.room().microphone).toBe(fake.microphones.opened[1]);
  });

  it("that is pulled out is told of, and the call goes on", async () => {
    const fake = await talking();
    fake.microphones.opened[0]?.dispatchEvent(new Event("ended"));
    expect(fake.voice.view.get()).toMatchObject({ status: "off", trouble: "lost" });
    expect(fake.room().microphone).toBeNull();
    expect(fake.phase()).toBe("live");
  });

  it("that is allowed only after the call was left is let go", async () => {
    const fake = fakeCall();
    fake.call.start();
    fake.call.end();
    await settle();
    expect(fake.microphones.opened.map((track) => track.stopped)).toEqual([true]);
    expect(fake.voice.view.get().status).toBe("off");
  });
});

describe("sound", () => {
  it("that the browser blocks is told of, and started by a touch", async () => {
    const fake = await talking();
    fake.room().handlers.audioBlocked(true);
    expect(fake.call.view.get().audioBlocked).toBe(true);
    fake.call.startAudio();
    expect(fake.room().startAudio).toHaveBeenCalled();
  });

  it("has a volume that the next room has as well", async () => {
    const fake = await talking();
    fake.call.setVolume(0.3);
    fake.room().handlers.lost("network");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fake.rooms.map((room) => room.volume)).toEqual([0.3, 0.3]);
  });
});

describe("the timeline", () => {
  it("is reported once, with the first sound", async () => {
    const fake = fakeCall();
    fake.call.start();
    await vi.advanceTimersByTimeAsync(10);
    arrive(fake);
    await vi.advanceTimersByTimeAsync(100);
    expect(fake.sessions.report).not.toHaveBeenCalled();
    fake.sound.levels.agent = 0.2;
    await vi.advanceTimersByTimeAsync(100);
    fake.call.end();
    expect(fake.sessions.report).toHaveBeenCalledTimes(1);
    const [sessionId, marks] = fake.sessions.report.mock.lastCall ?? [];
    expect(sessionId).toBe("session_1");
    expect(marks).toEqual({ click: 0, answer: 0, token: 0, connected: 10, agentSeen: 10, firstSound: 130 });
    expect(fake.call.view.get().marks).toEqual(marks);
  });

  it("is reported without a first sound when there is none", async () => {
    const fake = await talking();
    await vi.advanceTimersByTimeAsync(WAIT_AT_MOST_MS + 100);
    expect(Object.keys(fake.sessions.report.mock.lastCall?.[1] ?? {})).toEqual([
      "click",
      "answer",
      "token",
      "connected",
      "agentSeen",
    ]);
  });
});
