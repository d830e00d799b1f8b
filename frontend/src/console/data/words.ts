import type { Problem } from "../../lib/api";

/** Why one has to sign in (again), and what to do. */
export function refusalWords(problem: Problem, wasIn: boolean): string {
  if (problem.status === 403) {
    return "This server has no ADMIN_TOKEN, so nobody can sign in. Set ADMIN_TOKEN in its environment or .env and start it again.";
  }
  if (problem.status !== 401) return problem.detail;
  return wasIn
    ? "The server no longer takes this token. It may have been started with another one."
    : "That is not this server's ADMIN_TOKEN. Check for a missing character and try again.";
}
