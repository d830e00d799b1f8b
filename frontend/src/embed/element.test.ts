import { beforeEach, expect, it, vi } from "vitest";

import { defineGreenroomTalk, type GreenroomTalkElement, TAG } from "./element";
import { type EmbedOptions, type Panel, type PanelModule, sessionKey } from "./messages";

vi.mock("./sheets", () => ({ sheetOf: () => null, adopt: () => null }));

// jsdom does not know it
Object.defineProperty(Element.prototype, "part", { get: () => ({ add: () => undefined }), configurable: true });

const panel = { start: vi.fn(), end: vi.fn(), dispose: vi.fn() } satisfies Panel;
const mountPanel = vi.fn<(root: ShadowRoot, options: EmbedOptions) => Panel>(() => panel);
let arrive: (() => void)[] = [];
// defined once for all tests, as in a page
defineGreenroomTalk(
  () => new Promise<PanelModule>((resolve) => arrive.push(() => resolve({ mountPanel }))),
  "https://greenroom.example.com",
);

beforeEach(() => {
  document.body.replaceChildren();
  sessionStorage.clear();
  arrive = [];
  for (const mock of [panel.start, panel.end, panel.dispose]) mock.mockReset();
  mountPanel.mockReset().mockReturnValue(panel);
});

function put(id = ""): GreenroomTalkElement {
  const element = document.createElement(TAG) as GreenroomTalkElement;
  element.id = id;
  document.body.append(element);
  return element;
}

const buttonOf = (element: HTMLElement): HTMLButtonElement | null | undefined =>
  element.shadowRoot?.querySelector("button");
const loaded = async (): Promise<void> => {
  for (const resolve of arrive) resolve();
  await new Promise((resolve) => setTimeout(resolve, 0));
};

it("a click mounts the panel and starts the call", async () => {
  const element = put();
  buttonOf(element)?.click();
  await loaded();
  expect(panel.start).toHaveBeenCalledTimes(1);
  expect(buttonOf(element)?.hidden).toBe(true);
});

it("removed while its panel loads, it makes no call; put back, it shows its button", async () => {
  const element = put();
  const started = element.start();
  element.remove();
  await loaded();
  await started;
  expect(mountPanel).not.toHaveBeenCalled();
  expect(panel.start).not.toHaveBeenCalled();
  document.body.append(element);
  expect(buttonOf(element)).toMatchObject({ hidden: false, ariaBusy: null });
  await element.start();
  expect(panel.start).toHaveBeenCalledTimes(1);
});

it("outside of the page it starts nothing", async () => {
  const element = put();
  element.remove();
  await element.start();
  expect(arrive).toEqual([]);
});

it("of several elements only the one whose call it was takes it up again", async () => {
  sessionStorage.setItem(sessionKey("https://greenroom.example.com#1"), "session_1");
  put();
  put();
  put("help");
  await loaded();
  expect(mountPanel.mock.calls.map(([, { place }]) => place)).toEqual(["https://greenroom.example.com#1"]);
});
