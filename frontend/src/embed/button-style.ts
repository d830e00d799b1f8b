/** Of the button alone, which is there before anything else is loaded. As text, for a constructed style sheet. */
export const BUTTON_STYLE = `
:host {
  display: inline-block;
  font-family: var(--greenroom-font, ui-sans-serif, system-ui, sans-serif);
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]) { display: none; }
.gr-open {
  display: inline-flex;
  align-items: center;
  gap: 0.6em;
  min-height: 3rem;
  padding: 0 1.35em;
  border: 0;
  border-radius: var(--greenroom-radius, 999px);
  background: var(--greenroom-accent, light-dark(#1d5c41, #7fcda4));
  color: var(--greenroom-on-accent, light-dark(#fcfbf6, #07160e));
  font: 600 1rem/1 var(--greenroom-font, ui-sans-serif, system-ui, sans-serif);
  cursor: pointer;
}
.gr-open:hover { filter: brightness(1.08); }
.gr-open:focus-visible { outline: 2px solid currentcolor; outline-offset: 3px; }
.gr-open[aria-busy="true"] { opacity: 0.75; cursor: progress; }
.gr-open svg {
  width: 1.2em;
  height: 1.2em;
  fill: none;
  stroke: currentcolor;
  stroke-width: 1.75;
  stroke-linecap: round;
  stroke-linejoin: round;
}
.gr-wrong { max-width: 22rem; margin: 0.5rem 0 0; font-size: 0.875rem; color: light-dark(#a02f1f, #f29a8a); }
[hidden] { display: none !important; }
`;
