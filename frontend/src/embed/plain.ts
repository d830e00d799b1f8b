/** /embed.js: for pages without a build. Defines <greenroom-talk>; the script's own address says where the server is. */

import { defineGreenroomTalk } from "./element";
import type { PanelModule } from "./messages";

/** Set by the build: the panel's file has its content's hash in its name. */
declare const PANEL_FILE: string;

const script = document.currentScript;
const own = script instanceof HTMLScriptElement ? new URL(script.src, location.href).origin : location.origin;

// the panel comes from where this script came from: another server may be of another version
defineGreenroomTalk(() => import(/* @vite-ignore */ `${own}/${PANEL_FILE}`) as Promise<PanelModule>, own);
