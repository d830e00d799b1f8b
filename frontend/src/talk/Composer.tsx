import { type SyntheticEvent, useState } from "react";

import { Field, IconButton, SendIcon } from "../ui";

const TEXT_AT_MOST = 2_000;

export interface ComposerProps {
  /** In the room: what is typed can be sent. */
  ready: boolean;
  onSend: (text: string) => Promise<boolean>;
}

/** Typing always works: beside speaking, and in its place. */
export function Composer({ ready, onSend }: ComposerProps) {
  const [text, setText] = useState("");
  const [unsent, setUnsent] = useState(false);

  async function send(): Promise<void> {
    const sent = await onSend(text);
    setUnsent(!sent);
    // what was not sent stays, to be sent again
    if (sent) setText((now) => (now === text ? "" : now));
  }

  function submitted(event: SyntheticEvent): void {
    event.preventDefault();
    if (ready && text.trim()) void send();
  }

  return (
    <form className="gr-composer" onSubmit={submitted}>
      <Field
        className="gr-composer-field"
        label="Message"
        hideLabel
        placeholder={ready ? "Type instead of speaking" : "Connecting…"}
        value={text}
        maxLength={TEXT_AT_MOST}
        autoComplete="off"
        enterKeyHint="send"
        error={unsent ? "That was not sent. Try again in a moment." : null}
        onChange={(event) => setText(event.target.value)}
      />
      <IconButton
        type="submit"
        variant="primary"
        label="Send message"
        icon={<SendIcon />}
        disabled={!ready || !text.trim()}
      />
    </form>
  );
}
