/** The heavy part of the embedded call: the same panel as on the talk page, inside the element's shadow root. */

import { createRoot } from "react-dom/client";

import { createTalk, type Talk } from "../talk/setup";
import { TalkPanel } from "../talk/TalkPanel";
import { CloseIcon, IconButton } from "../ui";
import { type EmbedListener, type EmbedOptions, type Panel } from "./messages";
import style from "./panel.css?inline";
import { adopt, sheetOf } from "./sheets";

const SHEET = sheetOf(style);

export function mountPanel(shadow: ShadowRoot, options: EmbedOptions, listener: EmbedListener): Panel {
  const { server, bearer, label, place: which, ...asks } = options;
  const talk = createTalk({ server, place: which, ...(bearer ? { bearer } : {}), request: () => asks });
  const place = document.createElement("div");
  const root = createRoot(place);
  adopt(shadow, SHEET);
  shadow.append(place);

  function dispose(): void {
    stopTelling();
    talk.call.dispose();
    root.unmount();
    place.remove();
  }
  function close(): void {
    talk.call.end();
    dispose();
    listener.onClose();
  }
  // nobody looks at a panel without a call: after "Cancel" the button is back
  const stopTelling = tell(talk, listener, close);

  root.render(
    <section className="gr-embed" part="panel" aria-label={label}>
      <header className="gr-embed-head">
        <h2 className="gr-embed-title">{label}</h2>
        <IconButton variant="ghost" size="sm" label="Close and end the call" icon={<CloseIcon />} onClick={close} />
      </header>
      <TalkPanel talk={talk} headline={null} />
    </section>,
  );
  talk.call.open();
  return { start: talk.call.start, end: talk.call.end, dispose };
}

/** Passes on what embedding pages are told: each state once, each finished caption once, and that it was cancelled. */
export function tell({ call }: Pick<Talk, "call">, listener: EmbedListener, cancelled: () => void): () => void {
  let told = call.view.get().call;
  const seen = new Set<string>();
  return call.view.subscribe(() => {
    const { call: now, captions } = call.view.get();
    const before = told;
    told = now;
    const { phase, agentState, sessionId } = now;
    if (phase !== before.phase || agentState !== before.agentState || sessionId !== before.sessionId)
      listener.onState({ phase, agentState, sessionId });
    // said before the page was loaded, and told then: a divider moves them among what is live
    for (const { id } of captions.restored) seen.add(id);
    for (const { id, role, text, final } of captions.live) {
      if (!final || role === "divider" || seen.has(id)) continue;
      seen.add(id);
      listener.onCaption({ role, text });
    }
    if (phase === "idle" && before.phase !== "idle") cancelled();
  });
}
