import { useCallback, useState } from "react";

import type { Problem } from "../lib/api";
import { forgetToken, rememberedToken, rememberToken } from "./data/token";
import { refusalWords } from "./data/words";
import { SignedIn } from "./shell/SignedIn";
import { SignIn } from "./shell/SignIn";

export function App() {
  const [token, setToken] = useState(rememberedToken);
  const [reason, setReason] = useState<string | null>(null);

  const signIn = useCallback((entered: string): void => {
    rememberToken(entered);
    setReason(null);
    setToken(entered);
  }, []);

  const signOut = useCallback((problem?: Problem): void => {
    forgetToken();
    setReason(problem ? refusalWords(problem, true) : null);
    setToken(null);
  }, []);

  if (token === null) return <SignIn reason={reason} onSignedIn={signIn} />;
  return <SignedIn key={token} token={token} onSignOut={signOut} />;
}
