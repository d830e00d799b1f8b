"""The operator's console in a real Chromium: against the whole system, and against a large one that is made up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import TOP, Tab, tab
from tests.support.servers import free_port, wait_until
from tests.support.system import System

pytestmark = pytest.mark.timeout(240)
PATIENCE_MS = 40_000
FAKE_TOKEN = "fake-admin-token"


@pytest.fixture
def console(browser: Browser, system: System) -> Iterator[Tab]:
    """The console of the running system, signed in."""
    system.wait_pool(3)
    with signed_in(browser, system.url, system.secret("ADMIN_TOKEN")) as opened:
        yield opened
    assert opened.errors == []


@contextlib.contextmanager
def signed_in(browser: Browser, url: str, token: str) -> Iterator[Tab]:
    with tab(browser) as opened:
        opened.page.goto(f"{url}/console")
        sign_in(opened.page, token)
        region(opened.page, "connection", "live")
        yield opened


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Admin token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def region(page: Page, name: str, *states: str) -> None:
    """Wait until a region of the screen is in one of these states."""
    selectors = [f"[data-region={name}][data-state={state}]" for state in states]
    page.wait_for_selector(",".join(selectors), timeout=PATIENCE_MS)


def resize(page: Page, size: int) -> None:
    page.get_by_label("Pool size").fill(str(size))
    page.get_by_role("button", name="Resize").click()


# --- the running system --------------------------------------------------------------------------------


def test_only_the_admin_sees_it_and_the_token_is_kept_for_the_tab_only(browser: Browser, system: System) -> None:
    with tab(browser) as opened:
        page = opened.page
        page.goto(f"{system.url}/console")
        opened.screenshots("console-sign-in")
        assert opened.accessibility() == []
        sign_in(page, "not the admin token at all")
        expect(page.get_by_role("alert")).to_be_visible()

        token = system.secret("ADMIN_TOKEN")
        sign_in(page, token)
        region(page, "connection", "live")
        assert token not in page.evaluate("JSON.stringify(localStorage)")
        assert not any(token in url for url in opened.requests)
        page.reload()
        region(page, "connection", "live")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Admin token")).to_be_visible()
        assert token not in page.evaluate("JSON.stringify(sessionStorage)")
        assert [error for error in opened.errors if "401" not in error] == []
    assert token not in (system.home / "logs" / "greenroom.log").read_text(errors="replace")


def test_the_pool_is_resized_and_converges(console: Tab, system: System) -> None:
    page = console.page
    region(page, "health", "healthy")
    region(page, "pool", "converged")
    expect(page.get_by_test_id("pool-ready")).to_have_text("3")

    resize(page, 5)
    region(page, "pool", "converged")
    expect(page.get_by_test_id("pool-ready")).to_have_text("5", timeout=PATIENCE_MS)
    assert system.pool()["target"] == 5
    console.screenshots("console-healthy")
    assert console.accessibility() == []

    resize(page, 3)
    expect(page.get_by_test_id("pool-ready")).to_have_text("3", timeout=PATIENCE_MS)


def test_a_call_is_followed_and_ended(console: Tab, browser: Browser, system: System) -> None:
    with tab(browser) as caller:
        caller.page.goto(system.url)
        caller.page.get_by_role("button", name="Start talking").click()
        caller.page.wait_for_selector("[data-state=live]", timeout=PATIENCE_MS)
        session_id = caller.page.evaluate("sessionStorage.getItem('greenroom.sessionId')")
        page = console.page
        row = page.locator(f"tr[data-session={session_id}]")
        expect(row).to_have_attribute("data-status", "active", timeout=PATIENCE_MS)
        page.goto(f"{system.url}/console#/session/{session_id}")
        expect(page.locator("[data-region=log]")).to_contain_text("joined", timeout=PATIENCE_MS)
        expect(page.locator("[data-region=timeline]")).to_contain_text("User joined")
        console.screenshots("console-session")
        assert console.accessibility() == []

        page.get_by_role("button", name="End session").click()
        console.screenshot("console-end-this-call")
        page.get_by_role("button", name="End the call").click()

        caller.page.wait_for_selector("[data-state=ended]", timeout=PATIENCE_MS)
        region(page, "session", "over")
    assert system.session(session_id)["status"] == "ended"


def test_a_users_name_is_text_and_never_html(console: Tab, system: System) -> None:
    user = "<img src=x onerror=document.title='taken'>"
    session_id = system.start_session(user)["sessionId"]
    page = console.page
    expect(page.locator(f"tr[data-session={session_id}]")).to_contain_text(user, timeout=PATIENCE_MS)
    assert page.locator("img").count() == 0
    assert page.title() != "taken"
    system.end(session_id)


def test_a_lost_connection_is_shown_as_such_and_mended(browser: Browser, system: System) -> None:
    with signed_in(browser, system.url, system.secret("ADMIN_TOKEN")) as opened:
        killed = system.kill("api")
        region(opened.page, "connection", "lost", "stale", "connecting")
        wait_until(lambda: _new_api(system, killed), what="a new API")
        region(opened.page, "connection", "live")
        region(opened.page, "health", "healthy")


def _new_api(system: System, old: int) -> bool:
    with contextlib.suppress(LookupError):
        return system.pid_of("api") != old
    return False


def test_what_is_wrong_is_said_with_what_to_do(console: Tab, system: System) -> None:
    livekit = system.pid_of("livekit")
    os.kill(livekit, signal.SIGSTOP)
    try:
        region(console.page, "health", "unhealthy")
        expect(console.page.locator(".c-trouble[data-part=livekit]")).to_be_visible()
        console.screenshots("console-livekit-away")
        assert console.accessibility() == []
    finally:
        os.kill(livekit, signal.SIGCONT)
    region(console.page, "health", "healthy")


# --- a large system, made up ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API that makes up 1,000 sessions on 20 hosts, which change all the time."""
    port = free_port()
    with _fake_api(port, tmp_path_factory.mktemp("fake") / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _fake_api(port: int, log: Path) -> Iterator[None]:
    node = shutil.which("node") or str(TOP / ".node" / "bin" / "node")
    argv = [node, "frontend/test/fake-api.mjs", "--port", str(port), "--sessions", "1000", "--hosts", "20"]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=TOP, stdout=out, stderr=out)
    try:
        wait_until(lambda: _answers(port), what=f"the made-up API answers: {log.read_text()}")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/console").status_code == 200
    return False


def test_a_thousand_sessions_are_paged_filtered_and_kept_up(browser: Browser, large: str) -> None:
    with signed_in(browser, large, FAKE_TOKEN) as opened:
        page = opened.page
        region(page, "sessions", "loaded")
        rows = page.locator("tr[data-session]")
        assert 10 <= rows.count() <= 200, "a page of them"
        expect(page.locator("tr[data-host]")).to_have_count(20)
        first = rows.first.get_attribute("data-session")
        page.get_by_role("navigation", name="Pages of sessions").get_by_role("button").last.click()
        expect(rows.first).not_to_have_attribute("data-session", first or "")
        page.get_by_role("radio", name="Failed").check()
        expect(rows.first).to_have_attribute("data-status", "failed")
        opened.screenshots("console-large")
        assert opened.accessibility() == []
        before = _fetched(large, "/api/sessions")
        wait_until(lambda: _fetched(large, "/api/sessions") >= before + 2, what="changes are fetched")
        assert opened.errors == []


def _fetched(url: str, path: str) -> int:
    calls: dict[str, int] = httpx.get(f"{url}/_fake").json()["calls"]
    return sum(count for name, count in calls.items() if name.split("?")[0].endswith(path))


@pytest.mark.parametrize(("stream", "shown"), [("stale", "stale"), ("lost", "lost")])
def test_old_numbers_are_never_shown_as_new(browser: Browser, large: str, stream: str, shown: str) -> None:
    with signed_in(browser, large, FAKE_TOKEN) as opened:
        httpx.get(f"{large}/_fake?stream={stream}")
        try:
            region(opened.page, "connection", shown)
            opened.screenshots(f"console-{shown}")
        finally:
            httpx.get(f"{large}/_fake?stream=ok")
        region(opened.page, "connection", "live")


def test_a_host_is_drained_where_the_api_can(browser: Browser, large: str) -> None:
    httpx.get(f"{large}/_fake?drain=on")
    with signed_in(browser, large, FAKE_TOKEN) as opened:
        host = opened.page.locator("tr[data-host][data-state=alive]").first
        name = host.get_attribute("data-host")
        host.get_by_role("button", name="Drain").click()
        opened.page.get_by_role("button", name="Drain it").click()
        expect(opened.page.locator(f"tr[data-host={name}]")).to_have_attribute("data-state", "draining")
