/** The admin token: in this tab's own storage, and nowhere else. It goes when the tab does. */

const KEY = "greenroom.admin";

export function rememberedToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function rememberToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}

/** Why this cannot be a token, before anybody is asked; a header takes nothing but these characters. */
export function whyNoToken(token: string): string | null {
  if (token === "") return "Enter the admin token.";
  return /^[\x21-\x7e]+$/.test(token) ? null : "A token has no spaces and only plain characters. Copy it again.";
}
