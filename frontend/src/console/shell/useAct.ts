import { useState } from "react";

import { wordsOf } from "../data/admin";
import { useConsole } from "./context";

/** An act of the operator: busy while it runs, and afterwards said what came of it. Resolves to whether it worked. */
export function useAct(): { busy: boolean; act: (run: () => Promise<string>) => Promise<boolean> } {
  const { outcomes } = useConsole();
  const [busy, setBusy] = useState(false);
  const act = async (run: () => Promise<string>): Promise<boolean> => {
    setBusy(true);
    try {
      outcomes.say("good", await run());
      return true;
    } catch (error) {
      outcomes.say("bad", wordsOf(error));
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, act };
}
