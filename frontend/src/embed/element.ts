/** <greenroom-talk>: a button that becomes a call. It is light; what makes the call is loaded when it is wanted. */

import { BUTTON_STYLE } from "./button-style";
import { type EmbedOptions, type Panel, type PanelModule, sessionKey } from "./messages";
import { adopt, sheetOf } from "./sheets";

export const TAG = "greenroom-talk";
export const DEFAULT_LABEL = "Talk to us";

export interface GreenroomTalkElement extends HTMLElement {
  /** What to present to the server as a bearer, where callers must present something. Never an attribute. */
  bearer: (() => string | null) | undefined;
  start(): Promise<void>;
  end(): void;
}

/** Defines the element, once for the page. `load` gets the heavy part; `server` is for elements that name none. */
export function defineGreenroomTalk(load: (server: string) => Promise<PanelModule>, server: string): void {
  if (customElements.get(TAG)) return;
  customElements.define(TAG, elementClass(load, server));
}

function elementClass(load: (server: string) => Promise<PanelModule>, defaultServer: string) {
  return class extends HTMLElement implements GreenroomTalkElement {
    static readonly observedAttributes = ["label"];
    bearer: (() => string | null) | undefined;
    readonly #root = this.attachShadow({ mode: "open" });
    readonly #button = openButton();
    readonly #wrong = trouble();
    #panel: Promise<Panel> | null = null;
    #loading: Promise<PanelModule> | null = null;
    /** Goes up when the element is taken out of the page: what is still loading then has nobody to show it to. */
    #generation = 0;
    /** Among the page's elements, as it was first seen: an element that comes later does not change it. */
    #position: number | null = null;

    constructor() {
      super();
      adopt(this.#root, sheetOf(BUTTON_STYLE));
      this.#root.append(this.#button, this.#wrong);
      this.#button.addEventListener("click", () => void this.start());
      // a hand on its way to the button is reason enough to load what the click will need
      for (const hint of ["pointerenter", "focus"]) this.#button.addEventListener(hint, () => void this.#preload());
    }

    connectedCallback(): void {
      this.#label();
      this.#position ??= [...document.querySelectorAll(TAG)].indexOf(this);
      if (hasSession(this.#place())) void this.#open();
    }

    disconnectedCallback(): void {
      this.#generation += 1;
      void this.#panel?.then(
        (panel) => panel.dispose(),
        () => undefined,
      );
      this.#closed();
    }

    attributeChangedCallback(): void {
      this.#label();
    }

    async start(): Promise<void> {
      (await this.#open())?.start();
    }

    end(): void {
      void this.#panel?.then(
        (panel) => panel.end(),
        () => undefined,
      );
    }

    async #open(): Promise<Panel | null> {
      // a call that nobody sees would have the microphone all the same
      if (!this.isConnected) return null;
      const generation = this.#generation;
      this.#button.ariaBusy = "true";
      this.#wrong.hidden = true;
      try {
        this.#panel ??= this.#mounted();
        const panel = await this.#panel;
        if (generation !== this.#generation) return null;
        this.#button.hidden = true;
        return panel;
      } catch {
        if (generation !== this.#generation) return null;
        this.#panel = null;
        this.#wrong.hidden = false;
        return null;
      } finally {
        if (generation === this.#generation) this.#button.ariaBusy = null;
      }
    }

    async #mounted(): Promise<Panel> {
      const generation = this.#generation;
      const { mountPanel } = await this.#load();
      if (generation !== this.#generation) throw new Error("The element was removed.");
      return mountPanel(this.#root, this.#options(), {
        onState: (detail) => this.#tell("greenroom-state", detail),
        onCaption: (detail) => this.#tell("greenroom-caption", detail),
        onClose: () => {
          this.#closed();
          this.#button.focus();
        },
      });
    }

    async #preload(): Promise<void> {
      // the click says it if there is something wrong
      await this.#load().catch(() => undefined);
    }

    #load(): Promise<PanelModule> {
      this.#loading ??= load(this.#server()).catch((error: unknown) => {
        this.#loading = null;
        throw error;
      });
      return this.#loading;
    }

    #closed(): void {
      this.#panel = null;
      this.#button.hidden = false;
      this.#button.ariaBusy = null;
    }

    #options(): EmbedOptions {
      const given = (name: string, key: string) => {
        const value = this.getAttribute(name);
        return value ? { [key]: value } : {};
      };
      return {
        server: this.#server(),
        place: this.#place(),
        label: this.getAttribute("label") ?? DEFAULT_LABEL,
        bearer: () => this.bearer?.() ?? null,
        ...given("user-id", "userId"),
        ...given("user-name", "userName"),
        ...given("language", "language"),
        ...given("voice", "voice"),
      };
    }

    #place(): string {
      return `${this.#server()}#${this.id || (this.#position ?? 0)}`;
    }

    #server(): string {
      return (this.getAttribute("server") ?? defaultServer).replace(/\/+$/, "");
    }

    #label(): void {
      const label = this.#button.querySelector("span");
      if (label) label.textContent = this.getAttribute("label") ?? DEFAULT_LABEL;
    }

    #tell(name: string, detail: unknown): void {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    }
  };
}

function openButton(): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "gr-open";
  button.part.add("button");
  button.append(microphone(), document.createElement("span"));
  return button;
}

function microphone(): SVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3");
  svg.append(path);
  return svg;
}

function trouble(): HTMLElement {
  const text = document.createElement("p");
  text.className = "gr-wrong";
  text.role = "alert";
  text.hidden = true;
  text.textContent = "The call could not be loaded. Check your connection and try again.";
  return text;
}

function hasSession(place: string): boolean {
  try {
    return sessionStorage.getItem(sessionKey(place)) !== null;
  } catch {
    return false;
  }
}
