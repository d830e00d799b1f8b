from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.support.browser import chromium, microphone_wav
from tests.support.system import System, running_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the system's programs last said."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and isinstance(system, System):
        report.sections.append(("what the system last did", system.last_words()))
    return report


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Greenroom as ``make run`` starts it, once for each file."""
    with running_system(tmp_path_factory.mktemp("system"), RECONNECT_GRACE_S="8") as running:
        running.wait_pool(3)
        yield running


@pytest.fixture(scope="module")
def engine() -> Iterator[Playwright]:
    """What drives browsers: one at a time in a process, and none while a test has an event loop of its own."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(engine: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium whose microphone is silent."""
    wav = tmp_path_factory.mktemp("sound") / "silence.wav"
    with chromium(engine, microphone=microphone_wav(wav, None, before_s=5.0, after_s=5.0)) as started:
        yield started
