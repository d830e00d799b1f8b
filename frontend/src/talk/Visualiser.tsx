import { useEffect, useRef } from "react";

import { draw, type Pen, type Voices } from "./draw";
import type { Sound } from "./sound";

const BANDS = 14;
/** Without motion it still shows who is heard, in steps that nobody sees as movement. */
const CALM_MS = 400;

export interface VisualiserProps {
  sound: Sound;
  /** In the call: there is something to show. */
  active: boolean;
  thinking: boolean;
}

/** What is heard, to be seen. The state in words is beside it, so this is decoration. */
export function Visualiser({ sound, active, thinking }: VisualiserProps) {
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    return animate(element, calm, painter(sound, active, thinking, calm));
  }, [sound, active, thinking]);

  return <canvas ref={canvas} className="gr-visualiser" aria-hidden="true" />;
}

type Paint = (pen: Pen, nowMs: number) => void;

function painter(sound: Sound, active: boolean, thinking: boolean, calm: boolean): Paint {
  const voices: Voices = { agent: new Float32Array(BANDS), microphone: new Float32Array(BANDS) };
  let glow = 0;
  return (pen, nowMs) => {
    if (active) {
      sound.bands("agent", voices.agent);
      sound.bands("microphone", voices.microphone);
      soften(voices.agent);
      soften(voices.microphone);
    }
    if (calm) for (const bands of Object.values(voices)) (bands as Float32Array).fill(mean(bands as Float32Array));
    else if (thinking) ponder(voices.agent, nowMs);
    glow += ((active ? 0.25 + mean(voices.agent) : 0) - glow) * (calm ? 1 : 0.12);
    draw(pen, voices, calm ? 0 : nowMs / 1400, glow);
  };
}

/** Neighbours share: what is drawn is a shape, not a chart. */
function soften(bands: Float32Array): void {
  let before = bands[0] ?? 0;
  for (let band = 0; band < bands.length; band += 1) {
    const tone = bands[band] ?? 0;
    bands[band] = (before + 2 * tone + (bands[band + 1] ?? tone)) / 4;
    before = tone;
  }
}

/** No sound comes while the agent thinks: a slow wave says that it is not gone. */
function ponder(bands: Float32Array, nowMs: number): void {
  for (let band = 0; band < bands.length; band += 1) {
    bands[band] = Math.max(bands[band] ?? 0, 0.1 + 0.1 * Math.sin(nowMs / 260 - band * 0.7));
  }
}

function mean(bands: Float32Array): number {
  return bands.reduce((sum, tone) => sum + tone, 0) / bands.length;
}

/** Paints each frame (or, calm, now and then) while the page is seen. Returns how to stop. */
function animate(element: HTMLCanvasElement, calm: boolean, paint: Paint): () => void {
  const context = element.getContext("2d");
  if (!context) return () => undefined;
  let frame = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function next(): void {
    if (calm) timer = setTimeout(() => (frame = requestAnimationFrame(show)), CALM_MS);
    else frame = requestAnimationFrame(show);
  }
  function show(nowMs: number): void {
    if (context) paint(penOf(element, context), nowMs);
    next();
  }
  frame = requestAnimationFrame(show);
  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}

/** Colours and size as the style sheet has them now: the theme may change during a call. */
function penOf(element: HTMLCanvasElement, context: CanvasRenderingContext2D): Pen {
  const pixels = Math.round(element.clientWidth * devicePixelRatio);
  if (element.width !== pixels) {
    element.width = pixels;
    element.height = pixels;
  }
  const style = getComputedStyle(element);
  return {
    context,
    size: pixels,
    agentColour: style.color,
    lightColour: style.textEmphasisColor,
    userColour: style.outlineColor,
  };
}
