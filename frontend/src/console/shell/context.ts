import { createContext, useContext } from "react";

import { ApiClient, type Problem } from "../../lib/api";
import { AdminApi } from "../data/admin";
import { Live } from "../live/live";
import { Resize } from "../pool/resize-store";
import { SessionList } from "../sessions/list-store";
import { Outcomes } from "./outcomes";

/** Everything that lives as long as one is signed in. */
export interface Console {
  admin: AdminApi;
  live: Live;
  list: SessionList;
  resize: Resize;
  outcomes: Outcomes;
}

export function createConsole(token: string, onRefused: (problem: Problem) => void): Console {
  const admin = new AdminApi(new ApiClient({ bearer: () => token }), onRefused);
  const outcomes = new Outcomes();
  return {
    admin,
    live: new Live(admin, onRefused),
    list: new SessionList(admin),
    resize: new Resize(admin),
    outcomes,
  };
}

export const ConsoleContext = createContext<Console | null>(null);

export function useConsole(): Console {
  const console = useContext(ConsoleContext);
  if (!console) throw new Error("outside of the signed-in console");
  return console;
}
