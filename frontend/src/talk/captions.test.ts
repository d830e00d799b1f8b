import { describe, expect, it } from "vitest";

import type { Turn } from "../lib/types";
import {
  all,
  type Captions,
  divided,
  heard,
  NO_CAPTIONS,
  restored as restoredOf,
  type Role,
  settled,
} from "./captions";

function said(captions: Captions, id: string, role: Role, text: string, final = true): Captions {
  return heard(captions, { id, role, text, final });
}

function turn(role: Role, text: string): Turn {
  return { role, text, at: 0, interrupted: false, latencyMs: null };
}

const restored = (captions: Captions, turns: readonly Turn[]): Captions => restoredOf(captions, turns, "session_1");
const texts = (captions: Captions): string[] => all(captions).map((caption) => caption.text);

describe("live captions", () => {
  it("grow in their place, under the id of their segment", () => {
    let captions = said(NO_CAPTIONS, "a", "assistant", "This", false);
    captions = said(captions, "b", "user", "wait");
    captions = said(captions, "a", "assistant", "This is it.");
    expect(all(captions)).toEqual([
      { id: "a", role: "assistant", text: "This is it.", final: true },
      { id: "b", role: "user", text: "wait", final: true },
    ]);
  });

  it("that are final are not undone by an interim that comes late", () => {
    const captions = said(NO_CAPTIONS, "a", "user", "what time is it");
    expect(said(captions, "a", "user", "what time", false)).toBe(captions);
  });

  it("without words are not shown", () => {
    expect(said(NO_CAPTIONS, "a", "user", "  ", false)).toBe(NO_CAPTIONS);
    const interim = said(NO_CAPTIONS, "a", "user", "hm", false);
    expect(texts(said(interim, "a", "user", ""))).toEqual([]);
  });

  it("are bounded", () => {
    let captions = NO_CAPTIONS;
    for (let index = 0; index < 600; index += 1) captions = said(captions, `s${index}`, "user", `${index}`);
    expect(captions.live).toHaveLength(500);
    expect(texts(captions).at(-1)).toBe("599");
  });
});

it("what was not finished when its room was left stays as it is", () => {
  const captions = settled(said(NO_CAPTIONS, "a", "assistant", "This is", false));
  expect(all(captions)).toEqual([{ id: "a", role: "assistant", text: "This is", final: true }]);
  expect(settled(captions)).toBe(captions);
});

describe("a turn whose caption never came", () => {
  it("is put where it was said", () => {
    const shown = said(NO_CAPTIONS, "a", "user", "what time is it");
    const captions = restored(shown, [turn("user", "what time is it"), turn("assistant", "It is noon.")]);
    expect(all(captions).map((caption) => caption.text)).toEqual(["what time is it", "It is noon."]);
  });

  it("does not stand for an older one with the same words", () => {
    const shown = said(said(NO_CAPTIONS, "a", "user", "what time is it"), "b", "user", "never recorded");
    const noon = turn("assistant", "It is noon.");
    const captions = restored(shown, [noon, turn("user", "what time is it"), noon]);
    expect(all(captions).map((caption) => caption.text)).toEqual([
      "It is noon.",
      "what time is it",
      "It is noon.",
      "never recorded",
    ]);
  });
});

describe("a divider", () => {
  it("stands between two agents, once", () => {
    const captions = divided(said(NO_CAPTIONS, "a", "assistant", "hello"), "d1");
    expect(all(captions).map((caption) => caption.role)).toEqual(["assistant", "divider"]);
    expect(divided(captions, "d2")).toBe(captions);
  });

  it("keeps what was restored above it, whatever is restored of the next session", () => {
    const before = divided(restored(NO_CAPTIONS, [turn("user", "one"), turn("assistant", "two")]), "d1");
    const after = restoredOf(said(before, "b", "assistant", "Hello."), [turn("assistant", "Hello.")], "session_2");
    expect(texts(after)).toEqual(["one", "two", "", "Hello."]);
    expect(new Set(all(after).map(({ id }) => id)).size).toBe(4);
  });

  it("does not stand at the top", () => expect(divided(NO_CAPTIONS, "d1")).toBe(NO_CAPTIONS));
});

describe("restored turns", () => {
  it("come before what is heard live", () => {
    const captions = restored(said(NO_CAPTIONS, "a", "user", "go on"), [
      turn("assistant", "Hello."),
      turn("user", "hi"),
    ]);
    expect(texts(captions)).toEqual(["Hello.", "hi", "go on"]);
  });

  it("leave out what was heard live as well, whatever its punctuation", () => {
    const live = said(said(NO_CAPTIONS, "a", "user", "What time is it?"), "b", "assistant", "It is ten.");
    const turns = [turn("assistant", "Hello."), turn("user", "what time is it"), turn("assistant", "It is ten.")];
    expect(texts(restored(live, turns))).toEqual(["Hello.", "What time is it?", "It is ten."]);
  });

  it("complete what was cut short while the page was away", () => {
    const live = said(NO_CAPTIONS, "a", "assistant", "This is the");
    expect(texts(restored(live, [turn("assistant", "This is the whole of it.")]))).toEqual([
      "This is the whole of it.",
    ]);
  });

  it("do not take a user's short answer for the beginning of a longer one", () => {
    const live = said(NO_CAPTIONS, "a", "user", "yes please");
    expect(texts(restored(live, [turn("user", "yes")]))).toEqual(["yes", "yes please"]);
  });

  it("keep the same words when they were said before", () => {
    const live = said(NO_CAPTIONS, "a", "user", "hello");
    expect(texts(restored(live, [turn("user", "hello"), turn("assistant", "Hi."), turn("user", "hello")]))).toEqual([
      "hello",
      "Hi.",
      "hello",
    ]);
  });

  it("replace those of the time before", () => {
    const once = restored(NO_CAPTIONS, [turn("user", "one")]);
    expect(texts(restored(once, [turn("user", "one"), turn("assistant", "two")]))).toEqual(["one", "two"]);
  });
});
