/** What the tab keeps over a reload: who the user is and which session they are in. Never a token. */

export interface Memory {
  userId(): string;
  sessionId: string | null;
  /** Where LiveKit was last time: to be connected to early. */
  livekitUrl: string | null;
  deviceId: string | null;
  volume: number;
}

const PREFIX = "greenroom.";

/** Storage may be switched off; then the tab just forgets. Of what is kept, the session alone is that of one `place`. */
export function tabMemory(storage: Storage | null = sessionStorageOrNone(), place = ""): Memory {
  const session = place ? `sessionId:${place}` : "sessionId";
  const kept = new Map<string, string>();

  function read(name: string): string | null {
    try {
      return storage?.getItem(PREFIX + name) ?? kept.get(name) ?? null;
    } catch {
      return kept.get(name) ?? null;
    }
  }

  function write(name: string, value: string | null): void {
    if (value === null) kept.delete(name);
    else kept.set(name, value);
    try {
      if (value === null) storage?.removeItem(PREFIX + name);
      else storage?.setItem(PREFIX + name, value);
    } catch {
      // full or forbidden: the map has it for as long as the page lives
    }
  }

  return {
    userId() {
      const known = read("userId");
      if (known) return known;
      const made = `guest-${uuid()}`;
      write("userId", made);
      return made;
    },
    get sessionId() {
      return read(session);
    },
    set sessionId(id) {
      write(session, id);
    },
    get livekitUrl() {
      return read("livekitUrl");
    },
    set livekitUrl(url) {
      write("livekitUrl", url);
    },
    get deviceId() {
      return read("deviceId");
    },
    set deviceId(id) {
      write("deviceId", id);
    },
    get volume() {
      const volume = Number(read("volume") ?? 1);
      return volume >= 0 && volume <= 1 ? volume : 1;
    },
    set volume(volume) {
      write("volume", String(volume));
    },
  };
}

/** `crypto.randomUUID` is there on secure pages only; random values are everywhere. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function sessionStorageOrNone(): Storage | null {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}
