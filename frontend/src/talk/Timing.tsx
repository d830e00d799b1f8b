import { milliseconds } from "../lib/format";
import { type Mark, MARKS, type Marks } from "../lib/types";

const NAMES: Record<Mark, string> = {
  click: "Click",
  answer: "Session answered",
  token: "Token received",
  connected: "In the room",
  agentSeen: "Agent seen",
  firstSound: "First sound",
};

/** What one's own click took, mark by mark. */
export function Timing({ marks }: { marks: Marks }) {
  const longest = Math.max(1, ...Object.values(marks));
  const reached = MARKS.filter((mark) => mark !== "click" && marks[mark] !== undefined);
  if (reached.length === 0) return null;
  return (
    <details className="gr-timing">
      <summary>
        Your timing
        {marks.firstSound !== undefined ? <strong> {milliseconds(marks.firstSound)} to the first sound</strong> : null}
      </summary>
      <dl className="gr-numbers">
        {reached.map((mark) => (
          <div key={mark} className="gr-timing-row">
            <dt>{NAMES[mark]}</dt>
            <dd>
              <span className="gr-timing-bar" style={{ inlineSize: `${((marks[mark] ?? 0) / longest) * 100}%` }} />
              <span>{milliseconds(marks[mark] ?? 0)}</span>
            </dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
