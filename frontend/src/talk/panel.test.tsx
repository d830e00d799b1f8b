import { act, fireEvent, render, screen, within } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { Problem } from "../lib/api";
import { tell } from "../embed/panel";
import { Composer } from "./Composer";
import { type FakeCall, fakeCall, problem, sessionIs } from "./fakes";
import { Script } from "./Script";
import { TalkPanel } from "./TalkPanel";
import { Timing } from "./Timing";

vi.mock("../embed/sheets", () => ({ sheetOf: () => null, adopt: () => null }));

beforeEach(() => {
  vi.stubGlobal("matchMedia", () => ({ matches: true }));
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});

const EVIL = '<img src=x onerror="alert(1)">';

async function shown(fake: FakeCall = fakeCall()): Promise<FakeCall> {
  render(<TalkPanel talk={fake} headline={<h1>Hello</h1>} />);
  await act(async () => {
    fireEvent.click(screen.getByRole("button", { name: "Start talking" }));
    await Promise.resolve();
  });
  return fake;
}

function arrive(fake: FakeCall): void {
  act(() => {
    fake.room().handlers.joined();
    fake.room().handlers.agentJoined();
    fake.room().handlers.agentState("listening");
    fake.watch().onSession(sessionIs("active"));
  });
}

const stateOf = (): string | null => document.querySelector("[data-state]")?.getAttribute("data-state") ?? null;

describe("the panel", () => {
  it("has one button, and after it a call", async () => {
    const fake = await shown();
    expect(stateOf()).toBe("joining");
    expect(screen.queryByText("Connected")).toBeNull();
    arrive(fake);
    expect(stateOf()).toBe("live");
    expect(screen.getByRole("status").textContent).toBe("Connected");
    expect(screen.getByText("Listening")).toBeTruthy();
    fireEvent.click(screen.getByRole("button", { name: "Mute" }));
    expect(screen.getByRole("button", { name: "Muted" }).getAttribute("aria-pressed")).toBe("true");
    expect(fake.room().muted).toBe(true);
    fireEvent.click(screen.getByRole("button", { name: "End call" }));
    expect(stateOf()).toBe("ended");
    expect(screen.getByText("You ended the call.")).toBeTruthy();
    expect(screen.getByRole("button", { name: "Talk again" })).toBeTruthy();
  });

  it("keeps the focus of who clicked: on the call, then on the way to the next one", async () => {
    const fake = fakeCall();
    render(<TalkPanel talk={fake} headline={null} />);
    expect(document.activeElement).toBe(document.body);
    screen.getByRole("button", { name: "Start talking" }).focus();
    await act(async () => {
      fireEvent.click(screen.getByRole("button", { name: "Start talking" }));
      await Promise.resolve();
    });
    arrive(fake);
    expect(document.activeElement).toBe(screen.getByRole("region", { name: "Call" }));
    screen.getByRole("button", { name: "End call" }).focus();
    fireEvent.click(screen.getByRole("button", { name: "End call" }));
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Talk again" }));
  });

  it("takes no focus for a call that nobody here has clicked for", async () => {
    const fake = fakeCall();
    render(<TalkPanel talk={fake} headline={null} />);
    await act(async () => {
      fake.call.start();
      await Promise.resolve();
    });
    arrive(fake);
    expect(document.activeElement).toBe(document.body);
  });

  it("looks for a call that it came back to, and says what is in the way", async () => {
    const fake = fakeCall();
    fake.memory.sessionId = "session_1";
    fake.sessions.session.mockRejectedValue(new Problem("unreachable", ""));
    render(<TalkPanel talk={fake} headline={null} />);
    act(() => fake.call.open());
    expect(screen.getByText("Looking for your call…")).toBeTruthy();
    expect(await screen.findByText("We cannot reach the server")).toBeTruthy();
    expect(screen.getByText("We go on looking for your call.")).toBeTruthy();
  });

  it.each([
    ["the network is back", () => window.dispatchEvent(new Event("online"))],
    ["the page is looked at again", () => document.dispatchEvent(new Event("visibilitychange"))],
  ])("takes up a call that was given up on when %s", async (_, happens) => {
    vi.useFakeTimers();
    try {
      const fake = await shown();
      arrive(fake);
      fake.sessions.token.mockRejectedValue(problem("livekit_unavailable", 503));
      act(() => fake.room().handlers.lost("network"));
      await act(() => vi.advanceTimersByTimeAsync(60_000));
      expect(stateOf()).toBe("failed");
      expect(screen.getByText("Try again, or come back later.")).toBeTruthy();
      act(() => void happens());
      expect(stateOf()).toBe("resuming");
    } finally {
      vi.useRealTimers();
    }
  });

  it("says that every agent is busy, and can be told to stop asking", async () => {
    const fake = fakeCall();
    fake.sessions.start.mockRejectedValue(problem("at_capacity", 503, 30));
    await shown(fake);
    expect(screen.getByText("Every agent is busy")).toBeTruthy();
    expect(screen.getByRole("timer").textContent).toMatch(/Trying again in 3[01] s/);
    fireEvent.click(screen.getByRole("button", { name: "Cancel" }));
    expect(stateOf()).toBe("idle");
  });

  it("says that the microphone is blocked, and goes on with typing", async () => {
    const fake = fakeCall();
    fake.microphones.trouble = "denied";
    await shown(fake);
    arrive(fake);
    expect(screen.getByText("The microphone is blocked")).toBeTruthy();
    fake.microphones.trouble = null;
    await act(async () => {
      fireEvent.click(screen.getByRole("button", { name: "Try again" }));
      await Promise.resolve();
    });
    expect(screen.queryByText("The microphone is blocked")).toBeNull();
  });

  it("says that another agent is on its way", async () => {
    vi.useFakeTimers();
    const fake = await shown();
    arrive(fake);
    act(() => {
      fake.room().handlers.agentLeft();
      vi.advanceTimersByTime(2_000);
    });
    vi.useRealTimers();
    expect(screen.getByText("Your agent stopped. Getting another one…")).toBeTruthy();
    act(() => fake.room().handlers.agentJoined());
    expect(screen.getByText("Another agent took over")).toBeTruthy();
  });

  it("offers to start the sound that the browser blocks", async () => {
    const fake = await shown();
    arrive(fake);
    act(() => fake.room().handlers.audioBlocked(true));
    fireEvent.click(screen.getByRole("button", { name: "Tap to hear" }));
    expect(fake.room().startAudio).toHaveBeenCalled();
  });
});

describe("what is said", () => {
  it("is text, whatever it looks like", () => {
    render(<Script captions={[{ id: "a", role: "user", text: EVIL, final: true }]} empty="" />);
    const log = screen.getByRole("log", { name: "Captions" });
    expect(within(log).getByText(EVIL)).toBeTruthy();
    expect(log.querySelector("img")).toBeNull();
  });

  it("is read out once it is final, and not while it grows", () => {
    const caption = (text: string, final: boolean) => ({ id: "a", role: "assistant" as const, text, final });
    const { container, rerender } = render(<Script captions={[caption("It is", false)]} empty="" />);
    const readOut = container.querySelector('[aria-live="polite"]');
    const log = screen.getByRole("log", { name: "Captions" });
    expect(log.getAttribute("aria-live")).toBe("off");
    expect(log.textContent).toContain("It is");
    expect(readOut?.textContent).toBe("");
    rerender(<Script captions={[caption("It is ten.", true)]} empty="" />);
    expect(readOut?.textContent).toBe("Agent: It is ten.");
    expect(log.contains(readOut)).toBe(false);
  });

  it("takes the reader along, unless they have scrolled back", () => {
    const caption = (id: string) => ({ id, role: "assistant" as const, text: id, final: true });
    const { rerender } = render(<Script captions={[caption("one")]} empty="" />);
    const log = screen.getByRole("log");
    Object.defineProperty(log, "scrollHeight", { value: 1_000 });
    rerender(<Script captions={[caption("one"), caption("two")]} empty="" />);
    expect(log.scrollTop).toBe(1_000);
    log.scrollTop = 100;
    fireEvent.scroll(log);
    rerender(<Script captions={[caption("one"), caption("two"), caption("three")]} empty="" />);
    expect(log.scrollTop).toBe(100);
    fireEvent.click(screen.getByRole("button", { name: "Latest" }));
    expect(log.scrollTop).toBe(1_000);
  });
});

describe("typing", () => {
  it("sends what was typed, and keeps what was not sent", async () => {
    const send = vi.fn(() => Promise.resolve(false));
    render(<Composer ready onSend={send} />);
    const field = screen.getByRole<HTMLInputElement>("textbox", { name: "Message" });
    fireEvent.change(field, { target: { value: "hello" } });
    fireEvent.submit(field);
    expect(await screen.findByText("That was not sent. Try again in a moment.")).toBeTruthy();
    expect(field.value).toBe("hello");
    send.mockResolvedValue(true);
    await act(async () => {
      fireEvent.submit(field);
      await Promise.resolve();
    });
    expect(field.value).toBe("");
    expect(send).toHaveBeenCalledTimes(2);
  });

  it("sends nothing before there is a room", () => {
    const send = vi.fn(() => Promise.resolve(true));
    render(<Composer ready={false} onSend={send} />);
    const field = screen.getByRole("textbox", { name: "Message" });
    fireEvent.change(field, { target: { value: "hello" } });
    fireEvent.submit(field);
    expect(send).not.toHaveBeenCalled();
  });
});

it("one's own timing is shown mark by mark", () => {
  render(<Timing marks={{ click: 0, answer: 12, firstSound: 812 }} />);
  expect(screen.getByText("812 ms to the first sound")).toBeTruthy();
  expect(screen.getByText("Session answered").parentElement?.textContent).toContain("12 ms");
});

describe("the page that embeds it", () => {
  function told(fake: FakeCall) {
    const states: string[] = [];
    const captions: string[] = [];
    const cancelled = vi.fn();
    const listener = {
      onState: ({ phase }: { phase: string }) => states.push(phase),
      onCaption: ({ text }: { text: string }) => captions.push(text),
      onClose: () => undefined,
    };
    tell(fake, listener, cancelled);
    return { states, captions, cancelled };
  }

  it("is told each state and each finished caption once", async () => {
    const fake = fakeCall();
    const { states, captions, cancelled } = told(fake);
    fake.call.start();
    await vi.waitUntil(() => fake.rooms.length > 0);
    fake.call.setVolume(0.2);
    const { handlers } = fake.room();
    handlers.transcript({ id: "a", role: "assistant", text: "Hel", final: false });
    handlers.transcript({ id: "a", role: "assistant", text: "Hello.", final: true });
    handlers.transcript({ id: "b", role: "user", text: "hi", final: true });
    expect(states).toEqual(["starting", "joining"]);
    expect(captions).toEqual(["Hello.", "hi"]);
    expect(cancelled).not.toHaveBeenCalled();
  });

  it("is told when the call was cancelled before it began", () => {
    const fake = fakeCall();
    const { cancelled } = told(fake);
    fake.call.start();
    fake.call.end();
    expect(cancelled).toHaveBeenCalledTimes(1);
  });
});
