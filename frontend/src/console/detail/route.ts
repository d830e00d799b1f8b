/** Which session is open is said by the address: #/session/<id>. */

import { useSyncExternalStore } from "react";

export function sessionHash(id: string): string {
  return `#/session/${encodeURIComponent(id)}`;
}

export function sessionOf(hash: string): string | null {
  const id = /^#\/session\/([^/]+)$/.exec(hash)?.[1];
  if (!id) return null;
  try {
    return decodeURIComponent(id);
  } catch {
    return null; // not of our making
  }
}

/** Closes the details, as one step that "back" undoes. */
export function closeSession(): void {
  location.hash = "#/";
}

function subscribe(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

export function useOpenSession(): string | null {
  return sessionOf(useSyncExternalStore(subscribe, () => location.hash));
}
