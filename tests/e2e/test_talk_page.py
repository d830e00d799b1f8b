"""The talk page in a real Chromium, whose microphone is a spoken sentence, against the whole system."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from agent.conversation import RESUMED_LINE
from tests.support.browser import Tab, chromium, microphone_wav, tab
from tests.support.servers import wait_until
from tests.support.system import System, running_system

pytestmark = pytest.mark.timeout(240)
GREETING = "This is Greenroom's offline demonstration voice"
QUESTION = "what time is it"
ANSWER = re.compile(r"It is \d{1,2}:\d\d [AP]M")
PATIENCE_MS = 40_000
LOUD = 300
"""Of int16: speech is above it, comfort noise far below."""


@pytest.fixture
def talk(browser: Browser, system: System) -> Iterator[Tab]:
    """The talk page before the click, with a full pool; afterwards nothing was wrong in its console."""
    with talk_page(browser, system) as opened:
        yield opened


@contextlib.contextmanager
def talk_page(browser: Browser, system: System) -> Iterator[Tab]:
    system.wait_pool(3)
    with tab(browser) as opened:
        opened.page.goto(system.url)
        yield opened
        leave(opened.page)
    assert opened.errors == []


def state(page: Page, *names: str) -> None:
    """Wait until the call is in one of these states."""
    page.wait_for_selector(",".join(f"[data-state={name}]" for name in names), timeout=PATIENCE_MS)


def start(page: Page) -> None:
    page.get_by_role("button", name="Start talking").click()


def leave(page: Page) -> None:
    button = page.get_by_role("button", name="End call")
    if button.is_visible():
        button.click()
        state(page, "ended")


def caption(page: Page, words: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("log", name="Captions")).to_contain_text(words, timeout=PATIENCE_MS)


def captions(page: Page) -> str:
    return page.get_by_role("log", name="Captions").inner_text()


def write(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send message").click()


def current_session(page: Page) -> str:
    kept: str = page.evaluate("sessionStorage.getItem('greenroom.sessionId')")
    return kept


def seconds_of_speech(heard: np.ndarray) -> float:
    frames = heard[: heard.size - heard.size % 320].reshape(-1, 320).astype(np.float64)
    return float((np.sqrt((frames**2).mean(axis=1)) > LOUD).sum() * 0.02)


@pytest.mark.alone
def test_a_person_talks_and_hears_the_answer(engine: Playwright, system: System, tmp_path: Path) -> None:
    """The microphone asks for the time every dozen seconds."""
    wav = microphone_wav(tmp_path / "question.wav", QUESTION, before_s=7.0, after_s=5.0)
    with chromium(engine, microphone=wav) as browser, talk_page(browser, system) as talk:
        _talk(talk, system)


def _talk(talk: Tab, system: System) -> None:
    page = talk.page
    talk.screenshots("talk-idle")
    assert talk.accessibility() == []

    with page.expect_response(lambda answer: answer.url.endswith("/timeline"), timeout=PATIENCE_MS) as told:
        start(page)
        state(page, "live")
        assert system.session(current_session(page))["status"] == "active", "the server has seen the user first"
        caption(page, GREETING)
    assert told.value.status == 204
    heard = talk.heard(12.0)  # as long as the microphone's sound: there is an answer in it
    caption(page, QUESTION)
    caption(page, ANSWER)
    assert seconds_of_speech(heard) > 0.6

    talk.screenshots("talk-live")
    assert talk.accessibility() == []
    page.get_by_text("Your timing").click()
    expect(page.get_by_text("Agent seen")).to_be_visible()
    talk.screenshots("talk-timing")
    with system.client() as client:
        metrics = client.get("/metrics").text
    assert "greenroom_click_to_sound_seconds_count 1.0" in metrics
    assert 'greenroom_click_part_seconds_count{part="agent_seen"} 1.0' in metrics

    leave(page)
    talk.screenshots("talk-ended")
    assert talk.accessibility() == []


def test_nothing_moves_by_itself(talk: Tab) -> None:
    start(talk.page)
    state(talk.page, "live")
    caption(talk.page, GREETING)
    assert talk.layout_shift() < 0.01


def test_no_token_is_kept_or_told(talk: Tab, system: System) -> None:
    page = talk.page
    start(page)
    state(page, "live")
    for storage in ("localStorage", "sessionStorage"):
        assert "eyJ" not in page.evaluate(f"JSON.stringify({storage})"), "no JWT"
    assert "eyJ" not in page.url
    assert not any("eyJ" in url for url in talk.requests)
    assert "eyJ" not in (system.home / "logs" / "greenroom.log").read_text(errors="replace")


def test_a_reload_finds_the_same_agent_and_the_same_conversation(talk: Tab, system: System) -> None:
    page = talk.page
    start(page)
    state(page, "live")
    caption(page, GREETING)
    write(page, "I like trains")
    caption(page, "You said: I like trains")
    session_id = current_session(page)
    before = system.session(session_id)
    wait_until(lambda: len(system.get(f"/api/session/{session_id}/turns")["turns"]) >= 3, what="its turns are kept")

    page.reload()

    state(page, "live")
    caption(page, GREETING)
    caption(page, "You said: I like trains")
    write(page, "thanks")
    caption(page, re.compile("welcome", re.IGNORECASE))
    assert captions(page).count(GREETING) == 1, "no second greeting"
    after = system.session(session_id)
    assert (after["agentPid"], after["status"]) == (before["agentPid"], "active")


def test_muting_and_the_sound_settings(talk: Tab) -> None:
    page = talk.page
    start(page)
    state(page, "live")
    page.get_by_role("button", name="Mute").click()
    expect(page.get_by_role("button", name="Muted")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Sound").click()
    expect(page.get_by_label("Microphone", exact=True)).to_be_visible()
    page.get_by_label("Volume").fill("20")
    talk.screenshots("talk-sound-settings")
    assert talk.accessibility() == []


def test_what_somebody_writes_is_text_and_never_html(talk: Tab) -> None:
    page = talk.page
    start(page)
    state(page, "live")
    write(page, "<img src=x onerror=\"document.title='taken'\">")
    caption(page, "You said: <img src=x")
    assert page.locator("[role=log] img").count() == 0
    assert page.title() != "taken"


def test_after_an_agents_death_another_one_goes_on_in_the_same_call(talk: Tab, system: System) -> None:
    page = talk.page
    start(page)
    state(page, "live")
    caption(page, GREETING)
    first = current_session(page)
    pid = system.session(first)["agentPid"]
    os.kill(pid, signal.SIGKILL)

    expect(page.get_by_text("Another agent took over").first).to_be_visible(timeout=PATIENCE_MS)
    talk.screenshot("talk-replaced")
    caption(page, RESUMED_LINE)
    state(page, "live")
    assert current_session(page) == first
    now = system.session(first)
    assert (now["status"], now["replacements"]) == ("active", 1)
    assert now["agentPid"] != pid
    write(page, "are you there")
    caption(page, "You said: are you there")


def test_an_empty_pool_means_a_place_in_the_queue(talk: Tab, system: System) -> None:
    page = talk.page
    system.resize(0)
    zygote = system.pid_of("zygote")
    os.kill(zygote, signal.SIGSTOP)
    try:
        start(page)
        state(page, "queued")
        expect(page.get_by_text("You are next")).to_be_visible()
        talk.screenshots("talk-queued")
        assert talk.accessibility() == []
    finally:
        os.kill(zygote, signal.SIGCONT)
    state(page, "live")
    caption(page, GREETING)
    leave(page)
    system.resize(3)


def test_without_a_microphone_it_is_a_chat(engine: Playwright, system: System) -> None:
    system.wait_pool(3)
    with chromium(engine, denied=True) as browser, tab(browser) as opened:
        page = opened.page
        page.goto(system.url)
        start(page)
        state(page, "live")
        expect(page.get_by_text("The microphone is blocked")).to_be_visible()
        caption(page, GREETING)
        write(page, "What time is it?")
        caption(page, ANSWER)
        opened.screenshots("talk-microphone-blocked")
        assert opened.accessibility() == []
        leave(page)
        assert opened.errors == []


def test_at_capacity_it_waits_and_gets_in_by_itself(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    limits = {"MAX_BOTS": "1", "PREWARM_POOL_SIZE": "1", "MAX_QUEUE": "0"}
    with running_system(tmp_path_factory.mktemp("full"), **limits) as system, tab(browser) as opened:
        system.wait_pool(1)
        other = system.start_session("somebody-else")
        page = opened.page
        page.goto(system.url)
        start(page)
        state(page, "holding")
        expect(page.get_by_text("Every agent is busy")).to_be_visible()
        opened.screenshots("talk-at-capacity")
        assert opened.accessibility() == []

        system.end(other["sessionId"])

        state(page, "live")
        caption(page, GREETING)
        leave(page)
        assert [error for error in opened.errors if "503" not in error] == []


def test_the_pages_headers(system: System) -> None:
    with httpx.Client(base_url=system.url) as client:
        page = client.get("/")
        policy = page.headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert "default-src 'none'" in policy
        script = re.search(r'src="(/assets/[^"]+\.js)"', page.text)
        assert script is not None
        asset = client.get(script[1])
        assert asset.headers["content-encoding"] in {"gzip", "br"}
        assert "immutable" in asset.headers["cache-control"]
        assert client.get("/console").status_code == 200


def test_the_talk_pages_scripts_are_small(browser: Browser, system: System) -> None:
    """All scripts that it loads for a whole call, as they go over the wire."""
    with tab(browser) as opened:
        sizes: list[int] = []
        opened.page.on(
            "response",
            lambda answer: sizes.append(int(answer.headers.get("content-length", 0))) if ".js" in answer.url else None,
        )
        opened.page.goto(system.url)
        start(opened.page)
        state(opened.page, "live")
        leave(opened.page)
    assert 0 < sum(sizes) < 250_000
