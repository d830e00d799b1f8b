"""A real Chromium with a spoken sentence as its microphone, and what a page under test is looked at with."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

from speech import espeak
from tests.support.servers import missing
from tests.support.speech import resample

TOP = Path(__file__).parents[2]
SCREENSHOTS = TOP / "tests" / "output" / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
"""No sandbox: tests may run as root. The rest keeps the browser from calling its maker."""

KEEP_TRACKS = """
window.receivedTracks = [];
const Connection = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Connection {
  constructor(...args) {
    super(...args);
    this.addEventListener("track", ({ track }) => { if (track.kind === "audio") window.receivedTracks.push(track); });
  }
};
"""
"""Run before the page's own scripts: remembers each audio track that it receives."""

RECORD = """
async (seconds) => {
  const context = new AudioContext({ sampleRate: 16000 });
  await context.resume();
  const sink = context.createScriptProcessor(4096, 1, 1);
  const pieces = [];
  sink.onaudioprocess = ({ inputBuffer }) => pieces.push(inputBuffer.getChannelData(0).slice());
  for (const track of window.receivedTracks.filter(({ readyState }) => readyState === "live"))
    context.createMediaStreamSource(new MediaStream([track])).connect(sink);
  sink.connect(context.destination);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  await context.close();
  const samples = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) for (const value of piece) samples[at++] = Math.max(-1, Math.min(1, value)) * 32767;
  let text = "";
  const bytes = new Uint8Array(samples.buffer);
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}
"""
"""Everything that is received for so many seconds, as base64 of mono int16 at 16 kHz."""

TRANSITIONS_OVER = """
() => Promise.all(document.getAnimations().filter((each) => each instanceof CSSTransition)
  .map((each) => each.finished.catch(() => {})))
"""
"""Returns when no colour is half way to another one."""

SHIFTS = """
window.layoutShifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.layoutShifts.push(entry.value);
}).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Tab:
    """One page, and everything that went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> Tab:
        """Note the console's errors, uncaught exceptions, and requests that were blocked or failed."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", lambda request: self.requests.append(request.url))
        return self

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a stream that the page itself closed
            self.errors.append(f"{request.method} {request.url}: {request.failure}")

    def heard(self, seconds: float) -> np.ndarray:
        """What the page receives for so many seconds, as mono int16 of 16 kHz."""
        return np.frombuffer(base64.b64decode(self.page.evaluate(RECORD, seconds)), np.int16)

    def layout_shift(self) -> float:
        """How far the layout moved by itself since the page was opened; 0 is none."""
        return float(sum(self.page.evaluate("window.layoutShifts")))

    def accessibility(self) -> list[str]:
        """What axe-core finds, one line each."""
        self.page.evaluate(TRANSITIONS_OVER)
        self.page.evaluate((TOP / "frontend/node_modules/axe-core/axe.min.js").read_text())
        found: list[dict[str, Any]] = self.page.evaluate("axe.run().then((result) => result.violations)")
        return [f"{rule['id']}: {rule['help']}: {[node['html'] for node in rule['nodes']]}" for rule in found]

    def screenshot(self, name: str) -> None:
        """Keep what it looks like now, at this size, light and dark."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        viewport = self.page.viewport_size or DESKTOP
        size = "phone" if viewport["width"] < 600 else "desktop"
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{size}-{scheme}.png")
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")

    def screenshots(self, name: str) -> None:
        """The same on a desktop and on a phone."""
        before = self.page.viewport_size or DESKTOP
        for viewport in (DESKTOP, PHONE):
            self.page.set_viewport_size(viewport)  # type: ignore[arg-type]
            self.screenshot(name)
        self.page.set_viewport_size(before)


def wait_in(page: Page, condition: Callable[[], object], what: str, *, timeout_ms: int = 40_000) -> None:
    """Wait for a condition that is looked at from outside: a page's policy allows no predicate to be polled in it."""
    for _ in range(timeout_ms // 100):
        if condition():
            return
        page.wait_for_timeout(100)
    pytest.fail(f"not within {timeout_ms} ms: {what}")


def microphone_wav(path: Path, sentence: str | None, *, before_s: float, after_s: float, rate: int = 48_000) -> Path:
    """A WAV file in which somebody is silent, says this, and is silent again. Chromium plays it over and over."""
    voice = resample(*espeak.speak_to_pcm(sentence, None), rate) if sentence else np.zeros(0, np.int16)
    silence = [np.zeros(int(rate * seconds), np.int16) for seconds in (before_s, after_s)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate([silence[0], voice, silence[1]]).tobytes())
    return path


@contextlib.contextmanager
def chromium(engine: Playwright, *, microphone: Path | None = None, denied: bool = False) -> Iterator[Browser]:
    """A headless Chromium; with a WAV file as its microphone, or with one that it may not use."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        missing("Chromium", "install it (Debian: apt-get install chromium)")
    args = [*QUIET]
    if microphone is not None:
        args += [
            "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
        ]  # fmt: skip
    elif denied:
        args += ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
    browser = engine.chromium.launch(executable_path=executable, args=args, env={**os.environ, "NO_PROXY": "*"})
    try:
        yield browser
    finally:
        browser.close()


@contextlib.contextmanager
def tab(browser: Browser, *, context: BrowserContext | None = None, **options: Any) -> Iterator[Tab]:
    """A page in a window of its own (or of this context), watched; closed afterwards."""
    own = context or browser.new_context(viewport=DESKTOP, **options)  # type: ignore[arg-type]
    own.set_default_timeout(30_000)
    page = own.new_page()
    page.add_init_script(KEEP_TRACKS)
    page.add_init_script(SHIFTS)
    try:
        yield Tab(page).watch()
    finally:
        page.close()
        if context is None:
            own.close()
