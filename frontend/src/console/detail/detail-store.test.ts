import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiClient } from "../../lib/api";
import { AdminApi } from "../data/admin";
import { answering, SESSION } from "../testing";
import { Detail } from "./detail-store";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const LIFE = { events: [{ name: "created", at: 1 }], turns: [], click: null, endReason: null, error: null };

function scene(session: () => unknown = () => SESSION) {
  let i = 0;
  const { asked, fetch } = answering({
    "GET /api/session/s": session,
    "GET /api/session/s/life": () => LIFE,
    "GET /api/session/s/logs": () => ({ lines: [{ message: `${++i}` }] }),
  });
  const detail = new Detail(new AdminApi(new ApiClient({ fetch }), vi.fn()), "s");
  detail.start();
  return {
    detail,
    asked,
    of: (path: string) => asked.filter((call) => call.startsWith(`GET /api/session/s${path}`)).length,
  };
}

function look(state: DocumentVisibilityState): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  document.dispatchEvent(new Event("visibilitychange"));
}

test("the log is followed once a second while it lives", async () => {
  const { detail, of } = scene();
  await vi.advanceTimersByTimeAsync(3_500);
  expect(of("/logs")).toBe(4);
  expect(detail.get().log).toHaveLength(4);
  detail.stop();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(of("/logs")).toBe(4);
});

test("not while nobody looks, and at once when somebody does", async () => {
  const { detail, of } = scene();
  await vi.advanceTimersByTimeAsync(500);
  look("hidden");
  await vi.advanceTimersByTimeAsync(10_000);
  expect(of("/logs")).toBe(2);
  look("visible");
  look("visible");
  await vi.advanceTimersByTimeAsync(0);
  expect(of("/logs")).toBe(3);
  detail.stop();
});

test("after its end, once more and no more", async () => {
  const { detail, of } = scene(() => ({ ...SESSION, status: "ended" }));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(of("/logs")).toBe(2);
  detail.stop();
});

test("its record is read again when it changed, at most once a second", async () => {
  const { detail, asked } = scene();
  await vi.advanceTimersByTimeAsync(0);
  for (let i = 0; i < 10; i++) detail.changed({ ids: ["s"], more: false });
  detail.changed({ ids: ["another"], more: false });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(asked.filter((call) => call === "GET /api/session/s")).toHaveLength(2);
  detail.stop();
});

test("one that is not there is said to be not there", async () => {
  const { detail } = scene(() => Response.json({ code: "session_not_found", detail: "-" }, { status: 404 }));
  await vi.advanceTimersByTimeAsync(0);
  expect(detail.get().problem).toContain("no such session");
  detail.stop();
});
