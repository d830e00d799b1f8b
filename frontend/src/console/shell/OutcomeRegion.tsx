import { CloseIcon, IconButton, Notice } from "../../ui";
import { useStore } from "../data/store";
import { useConsole } from "./context";

/** Says what came of an act; it is there all the time, so that screen readers hear what comes into it. */
export function OutcomeRegion() {
  const { outcomes } = useConsole();
  const outcome = useStore(outcomes, (value) => value);
  return (
    <div className="c-outcome" role="region" aria-label="What came of it" aria-live="polite" data-region="outcome">
      {outcome ? (
        <Notice
          key={outcome.id}
          tone={outcome.tone}
          action={
            <IconButton variant="ghost" size="sm" label="Dismiss" icon={<CloseIcon />} onClick={outcomes.dismiss} />
          }
        >
          {outcome.text}
        </Notice>
      ) : null}
    </div>
  );
}
