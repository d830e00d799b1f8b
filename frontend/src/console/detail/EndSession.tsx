import { useState } from "react";

import type { Session } from "../../lib/types";
import { Button } from "../../ui";
import { Confirm } from "../shell/Confirm";
import { useConsole } from "../shell/context";
import { useAct } from "../shell/useAct";
import { isOver, loss } from "../sessions/list";

export function EndSession({ session }: { session: Session }) {
  const { admin } = useConsole();
  const { busy, act } = useAct();
  const [asking, setAsking] = useState(false);
  if (isOver(session)) return null;
  const lost = loss(session);

  const end = (): void => {
    setAsking(false);
    void act(async () => {
      const { changed } = await admin.end(session.sessionId);
      return changed ? "The session was ended." : "The session was over already.";
    });
  };

  return (
    <>
      <Button size="sm" busy={busy} onClick={() => (lost ? setAsking(true) : end())}>
        End session
      </Button>
      <Confirm
        open={asking}
        title={lost === "call" ? "End this call?" : "Send this caller away?"}
        act={lost === "call" ? "End the call" : "End the session"}
        onConfirm={end}
        onClose={() => setAsking(false)}
      >
        <p>
          {session.userId ?? "Somebody"} {lost === "call" ? "has" : "waits for"} this agent.{" "}
          {lost === "call"
            ? "Their call ends at once, in mid-sentence if need be."
            : "They lose their place in the queue."}
        </p>
      </Confirm>
    </>
  );
}
