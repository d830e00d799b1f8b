import type { ReactNode } from "react";

import { Button } from "../../ui";
import { useStore } from "../data/store";
import { ConnectionBanner, ConnectionSign } from "../live/ConnectionSign";
import { useConnection } from "../live/hooks";
import { useConsole } from "./context";
import { Wordmark } from "./Wordmark";

interface FrameProps {
  /** The session panel covers it all. */
  covered: boolean;
  onSignOut: () => void;
  children: ReactNode;
}

/** Header, banner, and the numbers below, dimmed by the style sheet whenever they are not of now. */
export function Frame({ covered, onSignOut, children }: FrameProps) {
  const { live } = useConsole();
  const connection = useConnection();
  const version = useStore(live, (state) => state.overview?.version);
  return (
    <div className="c-frame" data-region="connection" data-state={connection} inert={covered}>
      <header className="c-header">
        <div className="c-header-row">
          <Wordmark />
          <div className="c-header-end">
            {version ? <span className="c-version">{version}</span> : null}
            <ConnectionSign connection={connection} />
            <Button size="sm" variant="ghost" onClick={onSignOut}>
              Sign out
            </Button>
          </div>
        </div>
        <ConnectionBanner connection={connection} />
      </header>
      <main className="c-main">{children}</main>
    </div>
  );
}
