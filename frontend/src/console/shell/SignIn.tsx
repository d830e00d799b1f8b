import { type SyntheticEvent, useState } from "react";

import { ApiClient, Problem } from "../../lib/api";
import { Button, Field } from "../../ui";
import { isRefusal } from "../data/admin";
import { whyNoToken } from "../data/token";
import { refusalWords } from "../data/words";
import { Wordmark } from "./Wordmark";

interface SignInProps {
  /** Why one has to sign in again. */
  reason: string | null;
  onSignedIn: (token: string) => void;
}

export function SignIn({ reason, onSignedIn }: SignInProps) {
  const [problem, setProblem] = useState(reason);
  const [busy, setBusy] = useState(false);

  const submit = async (token: string): Promise<void> => {
    setBusy(true);
    setProblem(null);
    const why = whyNoToken(token) ?? (await refusalOf(token));
    setBusy(false);
    setProblem(why);
    if (why === null) onSignedIn(token);
  };

  const onSubmit = (event: SyntheticEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get("token");
    if (!busy) void submit(typeof token === "string" ? token.trim() : "");
  };

  return (
    <main className="c-signin" data-region="connection" data-state="signed-out">
      <form className="c-signin-form" onSubmit={onSubmit} noValidate>
        <Wordmark />
        <Field
          label="Admin token"
          name="token"
          type="password"
          autoComplete="off"
          spellCheck={false}
          hint="ADMIN_TOKEN of this server; make run writes one into .env. It is kept in this tab only."
          error={problem}
        />
        <Button type="submit" variant="primary" busy={busy}>
          Sign in
        </Button>
      </form>
    </main>
  );
}

/** What the server says against this token; a server that has other troubles has nothing against it. */
async function refusalOf(token: string): Promise<string | null> {
  try {
    await new ApiClient({ bearer: () => token }).request("/api/pool");
    return null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (isRefusal(error)) return refusalWords(error, false);
    return error.status === null ? `${error.detail} Is it running?` : null;
  }
}
