/** Draws the two voices: the agent's as a shape that swells with its tones, the user's as a line around it. */

export interface Voices {
  agent: Float32Array;
  microphone: Float32Array;
}

export interface Pen {
  context: CanvasRenderingContext2D;
  size: number;
  agentColour: string;
  /** Where light falls on the agent's shape. */
  lightColour: string;
  userColour: string;
}

const POINTS = 180;
const PETALS = 3;

/** `turn` goes up slowly with time: the shape is never quite at rest. `glow` is 0 to 1. */
export function draw(pen: Pen, voices: Voices, turn: number, glow: number): void {
  const { context, size } = pen;
  const middle = size / 2;
  const radius = size * 0.24;
  context.clearRect(0, 0, size, size);
  for (const layer of [3, 2, 1, 0]) {
    const reach = radius * (1 + layer * (0.1 + 0.05 * glow));
    context.globalAlpha = layer === 0 ? 1 : 0.07 + 0.06 * glow;
    context.fillStyle = layer === 0 ? shaded(pen, radius) : pen.agentColour;
    outline(
      context,
      middle,
      (angle) => reach + swell(voices.agent, angle, turn * (1 + layer * 0.3)) * radius * (0.26 + layer * 0.1),
    );
    context.fill();
  }
  context.globalAlpha = 0.9;
  context.strokeStyle = pen.userColour;
  context.lineWidth = Math.max(1.5, size * 0.006);
  outline(context, middle, (angle) => radius * 1.52 + swell(voices.microphone, angle, -turn) * radius * 0.3);
  context.stroke();
  context.globalAlpha = 1;
}

/** How far the tones push outwards at this angle: three petals, each from low tones at its tip to high at its foot. */
export function swell(bands: Float32Array, angle: number, turn: number): number {
  const place = (Math.abs(wrapped(angle * PETALS + turn * 0.4)) / Math.PI) * (bands.length - 1);
  const below = Math.floor(place);
  const share = smooth(place - below);
  const tone = (bands[below] ?? 0) * (1 - share) + (bands[below + 1] ?? 0) * share;
  return tone + 0.03 * Math.sin(angle * 3 + turn) + 0.02 * Math.sin(angle * 5 - turn * 1.7);
}

function shaded({ context, size, lightColour, agentColour }: Pen, radius: number): CanvasGradient {
  const middle = size / 2;
  const lit = middle - radius * 0.5;
  const gradient = context.createRadialGradient(lit, lit, 0, middle, middle, radius * 1.5);
  gradient.addColorStop(0, lightColour);
  gradient.addColorStop(0.75, agentColour);
  return gradient;
}

function outline(context: CanvasRenderingContext2D, middle: number, distance: (angle: number) => number): void {
  context.beginPath();
  for (let point = 0; point <= POINTS; point += 1) {
    const angle = (point / POINTS) * 2 * Math.PI;
    const reach = distance(angle);
    // from the bottom, so that the seam of the two halves is where low tones are broad
    context.lineTo(middle + Math.sin(angle) * reach, middle + Math.cos(angle) * reach);
  }
  context.closePath();
}

/** The same angle between -π and π. */
function wrapped(angle: number): number {
  return angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
}

function smooth(share: number): number {
  return share * share * (3 - 2 * share);
}
