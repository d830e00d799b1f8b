import { expect, test, vi } from "vitest";

import { ApiClient } from "../../lib/api";
import { abilitiesOf, AdminApi, sessionsSearch } from "./admin";
import { forgetToken, rememberedToken, rememberToken, whyNoToken } from "./token";
import { refusalWords } from "./words";
import { Problem } from "../../lib/api";

test("a host can be drained only where the server says so", () => {
  expect(abilitiesOf({ paths: { "/api/hosts/{hostId}/drain": { post: {} } } })).toEqual({
    drain: true,
    undrain: false,
  });
  expect(abilitiesOf({ paths: { "/api/hosts/{h}/undrain": { get: {} }, "/api/hosts": { get: {} } } })).toEqual({
    drain: false,
    undrain: false,
  });
  expect(abilitiesOf(null)).toEqual({ drain: false, undrain: false });
});

test("a query names only what was asked for, and escapes it", () => {
  expect(sessionsSearch({ status: "", q: "", limit: 50, cursor: null })).toBe("limit=50");
  expect(sessionsSearch({ status: "active", q: "a&b", limit: 5, cursor: "c" })).toBe(
    "limit=5&status=active&q=a%26b&cursor=c",
  );
});

test("a refusal is told, another failure is not", async () => {
  const refused = vi.fn();
  const statuses = [401, 503, 403];
  const client = new ApiClient({
    fetch: () => Promise.resolve(new Response(null, { status: statuses.shift() ?? 200 })),
  });
  const admin = new AdminApi(client, refused);
  for (let i = 0; i < 3; i++) await expect(admin.pool()).rejects.toBeInstanceOf(Problem);
  expect(refused).toHaveBeenCalledTimes(2);
});

test("the token is in the tab's own storage only", () => {
  rememberToken("secret");
  expect(rememberedToken()).toBe("secret");
  expect(sessionStorage).toHaveLength(1);
  forgetToken();
  expect(rememberedToken()).toBeNull();
});

test.each([
  ["", "Enter"],
  ["a b", "no spaces"],
  ["tökän", "plain"],
])("%j is no token", (token, words) => expect(whyNoToken(token)).toContain(words));

test("what may be a token is one", () => expect(whyNoToken("A-z_0~9.=")).toBeNull());

test("each refusal says what to do", () => {
  const problem = (status: number) => new Problem("x", "The server's words.", status);
  expect(refusalWords(problem(401), false)).toContain("not this server's ADMIN_TOKEN");
  expect(refusalWords(problem(401), true)).toContain("no longer takes");
  expect(refusalWords(problem(403), false)).toContain("Set ADMIN_TOKEN");
  expect(refusalWords(problem(503), false)).toBe("The server's words.");
});
