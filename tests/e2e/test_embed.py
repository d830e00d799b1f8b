"""The talk button on somebody else's page: another origin, a strict policy of its own, the plain script."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import tab, wait_in
from tests.support.servers import free_port
from tests.support.system import System, running_system

pytestmark = pytest.mark.timeout(180)
PATIENCE_MS = 40_000
GREETING = "This is Greenroom's offline demonstration voice"

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>A shop</title><link rel="icon" href="data:,"></head>
<body><main><h1>A shop</h1><greenroom-talk label="Ask the shop"></greenroom-talk></main>
<script src="{url}/embed.js" async></script></body>
</html>"""


class Shop(ThreadingHTTPServer):
    """Somebody else's site, which lets nothing in but Greenroom."""

    daemon_threads = True
    greenroom: System


class _Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        url, livekit = self.server.greenroom.url, self.server.greenroom.livekit_url
        rooms = f"{livekit} {livekit.replace('ws:', 'http:')}"
        policy = f"default-src 'none'; script-src {url}; connect-src {url} {rooms}; font-src {url}; img-src data:"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", f"{policy}; media-src blob: mediastream:")
        self.end_headers()
        self.wfile.write(PAGE.format(url=url).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        pass


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the shop's page."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with running_system(tmp_path_factory.mktemp("shop"), ALLOWED_ORIGINS=origin, PREWARM_POOL_SIZE="1") as system:
        server = Shop(("127.0.0.1", port), _Handler)
        server.greenroom = system
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        system.wait_pool(1)
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_visitor_talks_from_somebody_elses_page(browser: Browser, shop: str) -> None:
    with tab(browser) as opened:
        page = opened.page
        page.goto(shop)
        page.evaluate(
            "document.addEventListener('greenroom-caption', ({ detail }) => (window.said ??= []).push(detail.text))"
        )
        page.get_by_role("button", name="Ask the shop").click()
        captions = page.get_by_role("log", name="Captions")
        expect(captions).to_contain_text(GREETING, timeout=PATIENCE_MS)
        page.get_by_role("textbox", name="Message").fill("I like trains")
        page.get_by_role("button", name="Send message").click()
        expect(captions).to_contain_text("You said: I like trains", timeout=PATIENCE_MS)
        words = "You said: I like trains"
        wait_in(page, lambda: words in page.evaluate("window.said ?? []"), "the shop's own script heard of it")
        opened.screenshots("embed-call")
        assert opened.accessibility() == []
        page.get_by_role("button", name="End call").click()
        expect(page.get_by_text("The call is over")).to_be_visible()
        assert opened.errors == []
