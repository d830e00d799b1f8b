import { useCallback, useLayoutEffect, useRef, useState } from "react";

import { Button, ChevronDownIcon, classes } from "../ui";
import type { Caption, Role } from "./captions";

/** Nearer to the end than this, the reader is taken along. */
const NEAR_PX = 48;

/** An old one is not heard again: only what is new is read. */
const READ_OUT_AT_MOST = 3;

const SPEAKERS = { user: "You", assistant: "Agent" } as const;

/** The conversation as a play's script. It scrolls along, unless the reader has scrolled back. */
export function Script({ captions, empty }: { captions: readonly Caption[]; empty: string }) {
  const list = useRef<HTMLDivElement>(null);
  const [following, setFollowing] = useState(true);

  const toEnd = useCallback(() => {
    const element = list.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, []);

  useLayoutEffect(() => {
    if (following) toEnd();
  }, [captions, following, toEnd]);

  function scrolled(): void {
    const element = list.current;
    if (element) setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX);
  }

  return (
    <div className="gr-script">
      <div
        ref={list}
        className="gr-script-scroll"
        onScroll={scrolled}
        role="log"
        aria-label="Captions"
        aria-live="off"
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls must scroll by keyboard too
        tabIndex={0}
      >
        {captions.length === 0 ? <p className="gr-script-empty">{empty}</p> : null}
        {captions.map((caption) => (
          <Line key={caption.id} caption={caption} />
        ))}
      </div>
      <ReadOut captions={captions} />
      {following ? null : (
        <Button
          className="gr-script-latest"
          variant="primary"
          size="sm"
          icon={<ChevronDownIcon />}
          onClick={() => setFollowing(true)}
        >
          Latest
        </Button>
      )}
    </div>
  );
}

/** For screen readers: each line once it is said. The list itself grows word by word, and would be read as it does. */
function ReadOut({ captions }: { captions: readonly Caption[] }) {
  const said = captions.filter(({ final, role }) => final && role !== "divider").slice(-READ_OUT_AT_MOST);
  return (
    <div className="gr-visually-hidden" aria-live="polite">
      {said.map(({ id, role, text }) => (
        <p key={id}>{`${SPEAKERS[role as Role]}: ${text}`}</p>
      ))}
    </div>
  );
}

function Line({ caption }: { caption: Caption }) {
  if (caption.role === "divider") return <p className="gr-script-divider">Another agent takes over</p>;
  return (
    <p className={classes("gr-line", `gr-line-${caption.role}`, !caption.final && "gr-line-interim")}>
      <span className="gr-line-who">{SPEAKERS[caption.role]}</span> <span className="gr-line-text">{caption.text}</span>
    </p>
  );
}
