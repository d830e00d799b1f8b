import { act, cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import consolePage from "../../console.html?raw";
import talkPage from "../../index.html?raw";
import { App } from "./App";
import { rememberedToken, rememberToken } from "./data/token";
import type { Pool } from "./data/types";
import { answering, OVERVIEW, POOL, SESSION } from "./testing";

const HOSTILE = '<img src=x onerror="alert(1)">';

beforeEach(() => {
  vi.stubGlobal("matchMedia", () => ({ matches: false, addEventListener: vi.fn(), removeEventListener: vi.fn() }));
  // jsdom knows the element, but cannot open it
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
  };
});

afterEach(() => {
  vi.unstubAllGlobals();
  sessionStorage.clear();
  location.hash = "";
});

function scene(more: Parameters<typeof answering>[0] = {}, pool: Pool = POOL) {
  const overview = {
    ...OVERVIEW,
    pool,
    queue: [{ sessionId: "session_q", userId: HOSTILE, position: 1, waitingS: 3 }],
  };
  const life = { events: [{ name: "created", at: 1_000 }], turns: [], click: null, endReason: null, error: null };
  const { asked, fetch } = answering({
    "GET /api/pool": () => POOL,
    "GET /api/events": () =>
      new Response(
        new ReadableStream({
          start: (to) => to.enqueue(new TextEncoder().encode(`event: overview\ndata: ${JSON.stringify(overview)}\n\n`)),
        }),
        { headers: { "Content-Type": "text/event-stream" } },
      ),
    "GET /api/pool/history": () => ({ everyS: 5, samples: [] }),
    "GET /api/sessions": () => ({ sessions: [{ ...SESSION, userId: HOSTILE }], cursor: null }),
    "GET /api/session/prewarm_1": () => ({ ...SESSION, userId: HOSTILE }),
    "GET /api/session/prewarm_1/life": () => life,
    "GET /api/session/prewarm_1/logs": () => ({ lines: [{ message: HOSTILE }] }),
    "DELETE /api/session/prewarm_1": () => ({ changed: true }),
    ...more,
  });
  vi.stubGlobal("fetch", fetch);
  const { container } = render(<App />);
  return { asked, container };
}

const signIn = async (token: string): Promise<void> => {
  fireEvent.change(screen.getByLabelText("Admin token"), { target: { value: token } });
  await act(async () => {
    fireEvent.click(screen.getByRole("button", { name: "Sign in" }));
    await Promise.resolve();
  });
};

const refusing = (status: number, detail: string) => () => Response.json({ code: "x", detail }, { status });

test("the fonts are loaded with the page: one that comes late is not shown at all", () => {
  for (const page of [consolePage, talkPage])
    for (const font of ["hanken-grotesk", "newsreader"])
      expect(page).toMatch(new RegExp(`rel="preload"[^>]*${font}-latin-wght-normal\\.woff2`));
});

test("a wrong token is said to be wrong, and not kept", async () => {
  scene({ "GET /api/pool": refusing(401, "Present the admin token.") });
  await signIn("wrong");
  expect((await screen.findByRole("alert")).textContent).toContain("not this server's ADMIN_TOKEN");
  expect(rememberedToken()).toBeNull();
});

test("a server without ADMIN_TOKEN: what to set", async () => {
  scene({ "GET /api/pool": refusing(403, "Off.") });
  await signIn("any");
  expect((await screen.findByRole("alert")).textContent).toContain("Set ADMIN_TOKEN");
});

test("signed in: the screen; signed out: the token is gone", async () => {
  scene();
  await signIn(" right ");
  expect(await screen.findByText("Healthy")).toBeTruthy();
  expect(screen.getByTestId("pool-reason").textContent).toBe("floor 3; 2.0 starts a minute need no more");
  expect(rememberedToken()).toBe("right");
  fireEvent.click(screen.getByRole("button", { name: "Sign out" }));
  expect(rememberedToken()).toBeNull();
  expect(screen.getByLabelText("Admin token")).toBeTruthy();
});

test("a token that is no longer taken leads back, and says why", async () => {
  rememberToken("old");
  scene({ "GET /api/events": refusing(401, "No.") });
  expect((await screen.findByRole("alert")).textContent).toContain("no longer takes");
});

test("what a user wrote is text", async () => {
  rememberToken("right");
  location.hash = "#/session/prewarm_1";
  const { container } = scene();
  // in the queue, the list, the panel and the log
  await waitFor(() => expect(screen.getAllByText(HOSTILE)).toHaveLength(4));
  expect(container.querySelector("img")).toBeNull();
});

test("a search is no longer than the server takes", async () => {
  rememberToken("right");
  scene();
  expect((await screen.findByLabelText<HTMLInputElement>("Session id or user")).maxLength).toBe(128);
});

test("the queue counts the people it shows, whatever the pool counted at another moment", async () => {
  const waiting = (length: number) =>
    Array.from({ length }, (_, i) => ({ sessionId: `session_${i}`, userId: null, position: i + 1, waitingS: 1 }));
  const head = async (rows: number, inPool: number) => {
    rememberToken("right");
    const overview = { ...OVERVIEW, queue: waiting(rows), pool: { ...POOL, waiting: inPool } };
    const { container } = scene({
      "GET /api/events": () =>
        new Response(`event: overview\ndata: ${JSON.stringify(overview)}\n\n`, {
          headers: { "Content-Type": "text/event-stream" },
        }),
    });
    await waitFor(() => expect(container.querySelectorAll(".c-waiting li")).toHaveLength(rows));
    const words = container.querySelector(".c-queue .c-note")?.textContent;
    cleanup();
    return words;
  };
  expect(await head(3, 7)).toBe("3 waiting");
  expect(await head(20, 41)).toBe("20+ waiting");
  expect(await head(20, 20)).toBe("20 waiting");
});

test("a call is ended only after a question, and what came of it is said", async () => {
  rememberToken("right");
  location.hash = "#/session/prewarm_1";
  const { asked } = scene();
  const end = "DELETE /api/session/prewarm_1";
  fireEvent.click(await screen.findByRole("button", { name: "End session" }));
  expect(asked).not.toContain(end);
  const dialog = screen.getByRole("dialog", { name: "End this call?" });
  fireEvent.click(within(dialog).getByRole("button", { name: "End the call" }));
  expect(await screen.findByText("The session was ended.")).toBeTruthy();
  expect(asked).toContain(end);
});

test("an agent that nobody has is ended without a question; a refusal is said", async () => {
  rememberToken("right");
  location.hash = "#/session/prewarm_1";
  scene({
    "GET /api/session/prewarm_1": () => ({ ...SESSION, status: "ready", userId: null, assignedAt: null }),
    "DELETE /api/session/prewarm_1": refusing(503, "The store is away."),
  });
  fireEvent.click(await screen.findByRole("button", { name: "End session" }));
  expect((await screen.findByRole("alert")).textContent).toContain("The store is away.");
});

test("one kind of agent has no row of its own", async () => {
  scene({}, { ...POOL, agents: [{ ...POOL, agent: "default" }] });
  await signIn("token");
  expect((await screen.findByTestId("pool-reason")).textContent).toBe(POOL.reason);
  expect(screen.queryByLabelText("Agent")).toBeNull();
});

test("several kinds each have a row, and the chosen one is resized", async () => {
  const agents = [
    { ...POOL, agent: "default" },
    { ...POOL, agent: "support", floor: 1, target: 1, ready: 0, starting: 1, converged: false, max: 4 },
  ];
  const bodies: unknown[] = [];
  const { container } = scene(
    {
      "POST /api/pool/resize": (_, init) => {
        bodies.push(JSON.parse(init?.body as string));
        return { size: 2, previous: 1 };
      },
    },
    { ...POOL, agents },
  );
  await signIn("token");
  await screen.findByLabelText("Agent");
  const rows = [...container.querySelectorAll("tr[data-agent]")].map((row) => row.textContent);
  expect(rows).toEqual(["default3 of 30", "support0 of 11"]);
  fireEvent.change(screen.getByLabelText("Agent"), { target: { value: "support" } });
  expect(screen.getByLabelText<HTMLInputElement>("Pool size").value).toBe("1");
  fireEvent.click(screen.getByRole("button", { name: "One more" }));
  fireEvent.click(screen.getByRole("button", { name: "Resize" }));
  await waitFor(() => expect(bodies).toEqual([{ size: 2, agent: "support" }]));
});
