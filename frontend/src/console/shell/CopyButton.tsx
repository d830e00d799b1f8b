import { useEffect, useState } from "react";

import { CheckIcon, IconButton } from "../../ui";
import { useConsole } from "./context";

const SHOWN_MS = 1_500;

export function CopyButton({ text, what }: { text: string; what: string }) {
  const { outcomes } = useConsole();
  const [copied, setCopied] = useState(false);

  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      // without TLS, or without leave, browsers have no clipboard for a page
      outcomes.say("bad", `This browser does not let the page copy. The ${what} is: ${text}`);
    }
  };

  return (
    <IconButton
      className="c-copy"
      variant="ghost"
      size="sm"
      label={copied ? "Copied" : `Copy ${what}`}
      icon={copied ? <CheckIcon /> : <CopyIcon />}
      onClick={() => void copy()}
    />
  );
}

function CopyIcon() {
  return (
    <svg className="gr-icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <rect x="9" y="9" width="11" height="11" rx="2" />
      <path d="M5.5 15H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1h9a1 1 0 0 1 1 1v.5" />
    </svg>
  );
}
