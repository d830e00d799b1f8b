import { TalkPanel } from "./TalkPanel";
import type { Talk } from "./setup";

export function TalkPage({ talk }: { talk: Talk }) {
  return (
    <div className="gr-page">
      <header className="gr-header">
        <h1 className="gr-wordmark">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="9" fill="currentColor" />
            <path d="M9.5 14.5v3M16 9.5v13M22.5 12.5v7" />
          </svg>
          Greenroom
        </h1>
      </header>
      <main className="gr-main">
        <TalkPanel
          talk={talk}
          headline={
            <>
              <h2 className="gr-headline">Somebody is already here to talk with you.</h2>
              <p className="gr-lead">
                Press the button and speak: an agent that waits in its room answers at once. You can also type.
              </p>
            </>
          }
        />
      </main>
    </div>
  );
}
