export function Wordmark() {
  return (
    <h1 className="c-wordmark">
      <span className="c-wordmark-name">Greenroom</span> console
    </h1>
  );
}
