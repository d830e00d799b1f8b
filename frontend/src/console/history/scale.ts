/** From values to places in a plot of 1000 × 100, which the browser stretches to whatever room there is. */

export const PLOT_WIDTH = 1_000;
export const PLOT_HEIGHT = 100;

export interface Scale {
  fromS: number;
  toS: number;
  max: number;
}

/** The next of 1, 2, 3, 4, 5, 6, 8, 10, 20, … : what a person would write at the top of an axis. */
export function niceMax(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value * (1 - 1e-9)) ?? 10;
  return step * power;
}

export function xOf(scale: Scale, at: number): number {
  return round(((at - scale.fromS) / (scale.toS - scale.fromS)) * PLOT_WIDTH);
}

export function yOf(scale: Scale, value: number): number {
  return round(PLOT_HEIGHT - (Math.min(value, scale.max) / scale.max) * PLOT_HEIGHT);
}

/** Full quarters of the hour within the scale; the labels below a plot. */
export function timeTicks(scale: Scale, everyS = 900): number[] {
  const first = Math.ceil(scale.fromS / everyS) * everyS;
  const many = Math.max(0, Math.floor((scale.toS - first) / everyS) + 1);
  return Array.from({ length: many }, (_, i) => first + i * everyS);
}

/** The sample nearest to this share (0 to 1) of the width, or -1 when there is none. */
export function nearest(samples: readonly { at: number }[], scale: Scale, share: number): number {
  const at = scale.fromS + share * (scale.toS - scale.fromS);
  let best = -1;
  let away = Infinity;
  samples.forEach((sample, i) => {
    const distance = Math.abs(sample.at - at);
    if (distance < away) [best, away] = [i, distance];
  });
  return best;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
