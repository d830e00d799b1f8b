"""From the click to the agent in the room, in a real Chromium on the talk page: an agent that waited, and none.

``python -m benchmarks.click_to_agent``
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Request, sync_playwright

from benchmarks.report import Report, percentile
from tests.support.browser import chromium, microphone_wav, tab
from tests.support.system import System, running_system

CLICKS = 20
PARTS = ("answer", "token", "connected", "agentSeen", "firstSound")
Marks = dict[str, float]


def main() -> None:
    """Twenty clicks with a full pool and twenty with an empty one, each in a window of its own."""
    with tempfile.TemporaryDirectory() as name, running_system(Path(name), ASSIGN_LEASE_S="20") as system:
        wav = microphone_wav(Path(name) / "silence.wav", None, before_s=5, after_s=5)
        with sync_playwright() as engine, chromium(engine, microphone=wav) as browser:
            _click(browser, system)  # the first one warms the browser up
            warm = [_with_pool(browser, system, 3) for _ in range(CLICKS)]
            system.resize(0)
            cold = [_with_pool(browser, system, 0) for _ in range(CLICKS)]
    report = Report("click_to_agent", "python -m benchmarks.click_to_agent")
    _add(report, "an agent waited", warm, at_most=400)
    _add(report, "the pool was empty", cold)
    ratio = percentile([m["agentSeen"] for m in cold], 0.5) / percentile([m["agentSeen"] for m in warm], 0.5)
    report.add("empty pool to full pool, p50", ratio, "times")
    report.raw = {"warm": warm, "cold": cold}
    report.publish()


def _with_pool(browser: Browser, system: System, size: int) -> Marks:
    system.wait_pool(size)
    return _click(browser, system)


def _click(browser: Browser, system: System) -> Marks:
    """One call from the click to its first sound; its marks, in ms after the click."""
    with tab(browser) as opened:
        page = opened.page
        page.goto(system.url)
        button = page.get_by_role("button", name="Start talking")
        button.wait_for()
        with page.expect_request(_is_timeline) as told:
            button.click()
        posted: dict[str, Any] = told.value.post_data_json
        page.get_by_role("button", name="End call").click()
        page.wait_for_selector("[data-state=ended]")
    return posted["marks"]


def _is_timeline(request: Request) -> bool:
    return request.url.endswith("/timeline") and request.method == "POST"


def _add(report: Report, what: str, clicks: list[Marks], *, at_most: float | None = None) -> None:
    seen = [marks["agentSeen"] for marks in clicks]
    report.add(f"{what}: click to agent seen, p50", percentile(seen, 0.5), "ms", at_most=at_most)
    report.add(f"{what}: click to agent seen, p95", percentile(seen, 0.95), "ms")
    for before, part in zip(("click", *PARTS), PARTS, strict=False):
        lengths = [marks[part] - marks[before] for marks in clicks if part in marks and before in marks]
        report.add(f"{what}: {before} to {part}, median", statistics.median(lengths), "ms")


if __name__ == "__main__":
    main()
