import { memo, type PointerEvent, useId, useMemo } from "react";

import { clock } from "../../lib/format";
import { classes } from "../../ui";
import type { Sample } from "../data/types";
import { bandPath, dotPath, linePath, type Point } from "./path";
import { niceMax, PLOT_HEIGHT, PLOT_WIDTH, type Scale, timeTicks, xOf, yOf } from "./scale";
import { bandsOf, type Chart as ChartOf, peakOf, pointsOf, type Series, valueAt } from "./series";

export interface Span {
  fromS: number;
  toS: number;
  everyS: number;
}

interface ChartProps {
  chart: ChartOf;
  samples: readonly Sample[];
  span: Span;
  /** The sample under the cursor. */
  index: number | null;
  /** Hears the moment that is pointed at, and null when none is any more. */
  onPoint: (at: number | null) => void;
  tall?: boolean;
}

export const Chart = memo(function Chart({ chart, samples, span, index, onPoint, tall = false }: ChartProps) {
  const id = useId();
  const scale = useMemo<Scale>(() => {
    return { fromS: span.fromS, toS: span.toS, max: chart.max ?? niceMax(peakOf(samples, chart)) };
  }, [chart, samples, span]);

  const point = (event: PointerEvent): void => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    onPoint(scale.fromS + ((event.clientX - left) / width) * (scale.toS - scale.fromS));
  };

  return (
    <figure className={classes("c-chart", tall && "c-chart-tall")} aria-labelledby={id}>
      <figcaption>
        <span id={id} className="c-chart-title">
          {chart.title}
        </span>
        <Legend chart={chart} samples={samples} index={index} />
      </figcaption>
      <div className="c-plot">
        <Axis chart={chart} max={scale.max} />
        <div className="c-plot-area" onPointerMove={point} onPointerDown={point} onPointerLeave={() => onPoint(null)}>
          <Drawing chart={chart} samples={samples} scale={scale} everyS={span.everyS} />
          {index === null ? null : <Cursor chart={chart} sample={samples[index]} scale={scale} />}
        </div>
        {tall ? <Times scale={scale} /> : null}
      </div>
    </figure>
  );
});

function Legend({ chart, samples, index }: Pick<ChartProps, "chart" | "samples" | "index">) {
  return (
    <ul className="c-legend">
      {chart.series.map((series) => {
        const value = valueAt(samples, series, index);
        return (
          <li key={series.name}>
            <Key series={series} />
            {series.name} <b>{value === null ? "–" : chart.format(value)}</b>
          </li>
        );
      })}
    </ul>
  );
}

function Key({ series }: { series: Series }) {
  return (
    <span
      className={classes("c-key", series.dashed && "c-key-dashed", series.stacked && "c-key-filled")}
      data-colour={series.colour}
      aria-hidden="true"
    />
  );
}

function Axis({ chart, max }: { chart: ChartOf; max: number }) {
  return (
    <div className="c-axis" aria-hidden="true">
      <span>{chart.format(max)}</span>
      <span>{chart.format(0)}</span>
    </div>
  );
}

/** The lines themselves: drawn when there is a new sample, not when the pointer moves. */
const Drawing = memo(function Drawing(props: {
  chart: ChartOf;
  samples: readonly Sample[];
  scale: Scale;
  everyS: number;
}) {
  const { chart, samples, scale, everyS } = props;
  const bands = bandsOf(samples, chart);
  const stacked = chart.series.filter((series) => series.stacked);
  const lines = chart.series.filter((series) => !series.stacked);
  return (
    <svg viewBox={`0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
      {[0, 0.5, 1].map((share) => (
        <path key={share} className="c-gridline" d={`M0,${share * PLOT_HEIGHT}H${PLOT_WIDTH}`} />
      ))}
      {stacked.map((series, i) => (
        <path
          key={series.name}
          className="c-band"
          data-colour={series.colour}
          d={bandPath(bands[i] ?? [], scale, everyS)}
        />
      ))}
      {/* the lowest last: where nothing stands on it, its line is the one to be seen */}
      {stacked
        .map((series, i) => (
          <Line key={series.name} series={series} points={bands[i] ?? []} scale={scale} everyS={everyS} />
        ))
        .toReversed()}
      {lines.map((series) => (
        <Line key={series.name} series={series} points={pointsOf(samples, series)} scale={scale} everyS={everyS} />
      ))}
    </svg>
  );
});

function Line(props: { series: Series; points: readonly Point[]; scale: Scale; everyS: number }) {
  const { series, points, scale, everyS } = props;
  return (
    <g data-colour={series.colour}>
      <path className={classes("c-line", series.dashed && "c-line-dashed")} d={linePath(points, scale, everyS)} />
      <path className="c-line c-dots" d={dotPath(points, scale, everyS)} />
    </g>
  );
}

function Cursor({ chart, sample, scale }: { chart: ChartOf; sample: Sample | undefined; scale: Scale }) {
  if (!sample) return null;
  const left = `${xOf(scale, sample.at) / (PLOT_WIDTH / 100)}%`;
  const marked = chart.series.filter((series) => !series.stacked && !series.dashed);
  return (
    <div className="c-cursor" style={{ left }}>
      {marked.map((series) => {
        const value = series.value(sample);
        if (value === null) return null;
        return <span key={series.name} data-colour={series.colour} style={{ top: `${yOf(scale, value)}%` }} />;
      })}
    </div>
  );
}

function Times({ scale }: { scale: Scale }) {
  return (
    <div className="c-times" aria-hidden="true">
      {timeTicks(scale).map((at) => (
        <span key={at} style={{ left: `${xOf(scale, at) / (PLOT_WIDTH / 100)}%` }}>
          {clock(at).replace(/:\d\d(?=\s|$)/, "")}
        </span>
      ))}
    </div>
  );
}
