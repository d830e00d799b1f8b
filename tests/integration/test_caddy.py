"""Caddy with ``deploy/caddy``: the pages as the API itself would hand them out, and the API's calls handed on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.api.metrics import Metrics
from orchestrator.api.middleware import RequestContext
from orchestrator.api.pages import Pages
from tests.support.servers import free_port, missing, wait_until

CONFIG = Path(__file__).parents[2] / "deploy" / "caddy"
LIVEKIT_URL = "wss://livekit.example.com"
FILES = {
    "index.html": "<html>talk</html>",
    "console.html": "<html>console</html>",
    "embed.js": "embed()",
    "favicon.svg": "<svg/>",
    "assets/index-abc.js": "talk()",
    "assets/index-abc.css": "body {}",
}
HEADERS = [
    "access-control-allow-origin", "cache-control", "content-security-policy", "content-type",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "location", "permissions-policy",
    "referrer-policy", "x-content-type-options", "x-frame-options",
]  # fmt: skip
"""What a browser does with a page hangs on these."""


class Api(BaseHTTPRequestHandler):
    """Stands behind Caddy, and says what it was asked and by whom."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "for": self.headers["X-Forwarded-For"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frontend as it is built, with a compressed copy of a script."""
    root = tmp_path_factory.mktemp("dist")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "assets/index-abc.js.gz").write_bytes(gzip.compress(b"talk()"))
    return root


@pytest.fixture(scope="module")
def api_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def caddy(folder: Path, api_port: int) -> Iterator[httpx.Client]:
    """Caddy with the laptop's file, asked for nothing yet."""
    if shutil.which("caddy") is None:
        missing("caddy", "apt-get install caddy")
    port, health_port = free_port(), free_port()
    environ = os.environ | {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(api_port),
        "LIVEKIT_SOURCES": "wss://livekit.example.com https://livekit.example.com",
        "PAGES": str(folder),
        "FRONTEND_PORT": str(port),
        "HEALTH_PORT": str(health_port),
        "HOME": str(folder.parent),
    }
    argv = ["caddy", "run", "--config", str(CONFIG / "Caddyfile")]
    log = (folder.parent / "caddy.log").open("wb")
    with log, subprocess.Popen(argv, env=environ, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                wait_until(lambda: _answers(f"http://127.0.0.1:{health_port}"), what="caddy is healthy")
                yield client
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=404)(scope, receive, send)


async def _from_api(folder: Path, path: str) -> httpx.Response:
    app = RequestContext(Pages(_nothing, folder, LIVEKIT_URL), Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        return await client.get(path)


@pytest.mark.parametrize("path", ["/", "/console", "/console/", "/index.html", "/embed.js", "/favicon.svg",
                                  "/assets/index-abc.js", "/assets/index-abc.css"])  # fmt: skip
async def test_pages_come_as_from_the_api(caddy: httpx.Client, folder: Path, path: str) -> None:
    ours, theirs = await _from_api(folder, path), caddy.get(path)
    assert theirs.status_code == ours.status_code
    assert theirs.text == ours.text
    wanted = {name: ours.headers.get(name) for name in HEADERS}
    if theirs.is_redirect:
        wanted = {"location": ours.headers["location"]}
    assert {name: theirs.headers.get(name) for name in wanted} == wanted


def test_what_is_not_there_is_not_found(caddy: httpx.Client) -> None:
    assert caddy.get("/nothing").status_code == 404
    assert caddy.get("/metrics").status_code == 404, "they are for the inside"


def test_a_compressed_copy_is_sent_to_who_can_read_it(caddy: httpx.Client) -> None:
    answer = caddy.get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == "talk()"


@pytest.mark.parametrize("path", ["/api/session/start", "/health/ready", "/docs", "/openapi.json"])
def test_calls_are_handed_on_with_the_callers_address(caddy: httpx.Client, path: str) -> None:
    answer = caddy.get(path, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.json() == {"path": path, "for": "127.0.0.1"}, "what a caller says of itself is not believed"


def _with_tls(**more: str) -> str:
    """The file with TLS, as Caddy understands it."""
    if shutil.which("caddy") is None:
        missing("caddy", "apt-get install caddy")
    environ = os.environ | {"DOMAIN": "a.example", "LIVEKIT_DOMAIN": "b.example", "ACME_EMAIL": "ops@a.example"} | more
    argv = ["caddy", "adapt", "--config", str(CONFIG / "Caddyfile.tls"), "--adapter", "caddyfile"]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout


def test_the_file_with_tls_is_one() -> None:
    adapted = _with_tls()
    for words in ('"a.example"', '"b.example"', '"livekit:7880"', '"grafana:3000"', '"name":"api","port":"8080"'):
        assert words in adapted


@pytest.mark.parametrize(("scheme", "names"), [("", ["a.example", "b.example"]), ("http://", ["a.example"])])
def test_a_name_that_leads_elsewhere_gets_no_certificate(scheme: str, names: list[str]) -> None:
    apps = json.loads(_with_tls(LIVEKIT_SCHEME=scheme))["apps"]
    [policy] = apps["tls"]["automation"]["policies"]
    assert policy["subjects"] == names
    [with_tls] = [each for each in apps["http"]["servers"].values() if each["listen"] == [":443"]]
    assert [host for route in with_tls["routes"] for match in route["match"] for host in match["host"]] == names
