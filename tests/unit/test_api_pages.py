"""The frontend's files: which one, in which encoding, with which headers, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.api import pages
from orchestrator.api.pages import Variant, best, content_security_policy, qualities
from tests.support.api import ApiUnderTest, api_under_test
from tests.support.sse import stream

SCRIPT = b"console.log('hello')\n" * 50


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    dist = tmp_path / "dist"
    files = {
        "index.html": b"<!doctype html><title>talk</title>",
        "console.html": b"<!doctype html><title>console</title>",
        "embed.js": b"export {}",
        "favicon.svg": b"<svg/>",
        "assets/talk-a1b2.js": SCRIPT,
        "assets/talk-a1b2.js.br": b"as brotli",
        "assets/talk-a1b2.js.gz": b"as gzip, longer",
        "assets/talk-c3d4.css": b"body {}",
        "assets/logo.bin": b"?",
        "alone.gz": b"a file that is an archive itself",
        "api/pool": b"not the pool",
    }
    for name, body in files.items():
        (dist / name).parent.mkdir(parents=True, exist_ok=True)
        (dist / name).write_bytes(body)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (dist / "link.txt").symlink_to(tmp_path / "secret.txt")
    return dist


@pytest.fixture
async def api(dist: Path) -> AsyncIterator[ApiUnderTest]:
    async with api_under_test(frontend_dir=dist, livekit_public_url="wss://lk.example:7443/x") as api:
        api.client.headers["Accept-Encoding"] = "identity"
        yield api


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html><title>talk</title>"),
        ("/console", "text/html; charset=utf-8", b"<!doctype html><title>console</title>"),
        ("/embed.js", "text/javascript; charset=utf-8", b"export {}"),
        ("/favicon.svg", "image/svg+xml", b"<svg/>"),
        ("/assets/talk-c3d4.css", "text/css; charset=utf-8", b"body {}"),
        ("/assets/logo.bin", "application/octet-stream", b"?"),
        ("/alone.gz", "application/octet-stream", b"a file that is an archive itself"),
    ],
)
async def test_files_with_their_types(api: ApiUnderTest, path: str, kind: str, body: bytes) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, body)
    head = await api.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) | {"x-request-id": ""} == dict(answer.headers) | {"x-request-id": ""}


async def test_a_head_request_has_no_body(api: ApiUnderTest) -> None:
    async with stream(api.app, "/assets/talk-a1b2.js", method="HEAD") as answer:
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(SCRIPT)))
        await answer.task
        assert answer.ended
        assert answer.waiting() == 1, "its end, and nothing before it"


async def test_a_page_says_what_it_may(api: ApiUnderTest) -> None:
    for path in ("/", "/console"):
        headers = (await api.client.get(path)).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "font-src": "'self'",
            "media-src": "'self' blob: mediastream:",
            "connect-src": "'self' wss://lk.example:7443 https://lk.example:7443",
            "worker-src": "'self' blob:",
            "manifest-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers.get_list("content-security-policy", split_commas=False) == [headers["content-security-policy"]]
        assert headers["permissions-policy"] == "microphone=(self)"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == "no-cache"
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-request-id"]


@pytest.mark.parametrize(
    ("url", "sources"),
    [
        ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880 http://127.0.0.1:7880"),
        ("https://lk.example", "wss://lk.example https://lk.example"),
        ("wss://user:pass@lk.example", "wss://lk.example https://lk.example"),
        (
            "wss://mine.livekit.cloud",
            "wss://mine.livekit.cloud https://mine.livekit.cloud wss://*.livekit.cloud https://*.livekit.cloud",
        ),
        ("wss://livekit.cloud.evil.example", "wss://livekit.cloud.evil.example https://livekit.cloud.evil.example"),
    ],
)
def test_livekit_is_where_a_page_connects_to(url: str, sources: str) -> None:
    assert f"; connect-src 'self' {sources}; " in content_security_policy(url)


async def test_what_keeps_and_what_does_not(api: ApiUnderTest) -> None:
    for path, cache in {
        "/assets/talk-a1b2.js": "public, max-age=31536000, immutable",
        "/assets/talk-c3d4.css": "public, max-age=31536000, immutable",
        "/embed.js": "no-cache",
        "/favicon.svg": "no-cache",
    }.items():
        assert (await api.client.get(path)).headers["cache-control"] == cache


async def test_scripts_for_other_sites(api: ApiUnderTest) -> None:
    elsewhere = {"Origin": "https://shop.example"}
    for path in ("/embed.js", "/assets/talk-a1b2.js"):
        headers = (await api.client.get(path, headers=elsewhere)).headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["cross-origin-resource-policy"] == "cross-origin"
    for path in ("/", "/console", "/favicon.svg", "/health/live"):
        headers = (await api.client.get(path, headers=elsewhere)).headers
        assert "access-control-allow-origin" not in headers
        assert "cross-origin-resource-policy" not in headers


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"as brotli"),
        ("gzip", "gzip", b"as gzip, longer"),
        ("br;q=0.5, gzip;q=0.8", "gzip", b"as gzip, longer"),
        ("br;q=0, gzip;q=0", None, SCRIPT),
        ("identity, br;q=0.5", None, SCRIPT),
        ("*;q=0.1", "br", b"as brotli"),
        ("gzip, *;q=0", "gzip", b"as gzip, longer"),
        ("zstd", None, SCRIPT),
        ("", None, SCRIPT),
        ("br;q=nonsense", None, SCRIPT),
        ("BR", "br", b"as brotli"),
    ],
)
async def test_the_encoding_that_the_client_likes_best(
    api: ApiUnderTest, accepted: str, encoding: str | None, body: bytes
) -> None:
    request = api.client.build_request("GET", "/assets/talk-a1b2.js", headers={"Accept-Encoding": accepted})
    answer = await api.client.send(request, stream=True)  # as it came over the wire
    raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert (answer.headers.get("content-encoding"), raw) == (encoding, body)
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_a_precompressed_file_has_no_address_of_its_own(api: ApiUnderTest) -> None:
    assert (await api.client.get("/assets/talk-a1b2.js.br")).status_code == 404
    assert "vary" not in (await api.client.get("/assets/talk-c3d4.css")).headers


def test_of_equals_the_smallest() -> None:
    variants = tuple(Variant(name, b"", b"") for name in (b"br", b"gzip", b"identity"))
    for accepted, chosen in {"gzip, br": b"br", "gzip;q=1.0, br;q=0.9": b"gzip", "identity;q=0": b"identity"}.items():
        assert best(variants, qualities(accepted)).encoding == chosen, accepted
    assert qualities("gzip;q=7, br ; Q=0.25,, x-gzip;level=9;q=0.5") == {"gzip": 0.5, "br": 0.25}


async def test_what_has_not_changed_is_not_sent_again(api: ApiUnderTest) -> None:
    path = "/assets/talk-a1b2.js"
    etags = set()
    for accepted in ("br", "gzip", "identity"):
        first = await api.client.head(path, headers={"Accept-Encoding": accepted})
        etag = first.headers["etag"]
        etags.add(etag)
        for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await api.client.get(path, headers={"Accept-Encoding": accepted, "If-None-Match": given})
            assert (again.status_code, again.content) == (304, b""), given
            assert "content-length" not in again.headers
            for name in ("etag", "cache-control", "vary"):
                assert again.headers[name] == first.headers[name]
        changed = await api.client.head(path, headers={"Accept-Encoding": accepted, "If-None-Match": '"other"'})
        assert changed.status_code == 200
    assert len(etags) == 3, "each encoding is another representation"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/.//../secret.txt",
        "/assets/..%5c..%5csecret.txt", "/link.txt", "/assets", "/assets/", "/console.html",
        "/assets/talk-a1b2.js%00", "/etc/passwd",
    ],
)  # fmt: skip
async def test_nothing_else_is_there(api: ApiUnderTest, path: str) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_api_comes_first(api: ApiUnderTest) -> None:
    assert (await api.client.get("/api/pool")).status_code == 401
    assert (await api.client.get("/health/live")).json()["status"] == "alive"
    for path in ("/", "/console", "/embed.js"):
        assert (await api.client.post(path)).status_code == 404


async def test_a_frontend_that_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LOOK_EVERY_S", 0)
    dist = tmp_path / "dist"
    async with api_under_test(frontend_dir=dist) as api:
        for path in ("/", "/console"):
            answer = await api.client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
            assert "`make run` builds them" in answer.text
        assert (await api.client.get("/embed.js")).status_code == 404
        assert (await api.client.get("/health/live")).status_code == 200
        dist.mkdir()
        (dist / "index.html").write_text("built")
        assert (await api.client.get("/")).text == "built"
        (dist / "index.html").write_text("built again")
        assert (await api.client.get("/")).text == "built again"


async def test_files_are_not_looked_at_for_each_request(
    dist: Path, api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LOOK_EVERY_S", 3600)
    await api.client.get("/")
    (dist / "index.html").write_text("changed")
    assert "talk" in (await api.client.get("/")).text


async def test_pages_are_counted_by_what_they_are(api: ApiUnderTest) -> None:
    for path in ("/", "/console", "/assets/talk-a1b2.js", "/assets/talk-c3d4.css"):
        await api.client.get(path)
    text = (await api.client.get("/metrics")).text
    for route, count in {"/": 1, "/console": 1, "/assets/*": 2}.items():
        assert f'greenroom_http_requests_total{{method="GET",route="{route}",status="200"}} {count}.0' in text


@pytest.mark.parametrize(
    ("path", "target"), [("/console/", "/console"), ("/index.html", "/"), ("/console/?q=1", "/console?q=1")]
)
async def test_addresses_as_people_type_them(api: ApiUnderTest, path: str, target: str) -> None:
    answer = await api.client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (308, target)


async def test_dot_files_are_not_served(dist: Path) -> None:
    (dist / ".env").write_text("secret")
    (dist / ".vite").mkdir()
    (dist / ".vite" / "manifest.json").write_text("{}")
    async with api_under_test(frontend_dir=dist) as api:
        for path in ("/.env", "/.vite/manifest.json"):
            assert (await api.client.get(path)).status_code == 404


async def test_files_that_go_while_they_are_read(
    dist: Path, api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LOOK_EVERY_S", 0)
    await api.client.get("/")
    (dist / "index.html").write_text("new")

    def gone(*_: object) -> None:
        raise FileNotFoundError

    for name in ("signature", "read_pages"):
        with monkeypatch.context() as patch:
            patch.setattr(pages, name, gone)
            assert "<title>talk" in (await api.client.get("/")).text
    assert (await api.client.get("/")).text == "new"


async def test_a_build_without_its_first_page_is_none_yet(
    dist: Path, api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LOOK_EVERY_S", 0)
    await api.client.get("/")
    (dist / "index.html").unlink()
    assert "<title>talk" in (await api.client.get("/")).text
    (dist / "index.html").write_text("new")
    assert (await api.client.get("/")).text == "new"


async def test_the_apis_own_paths_cause_no_look(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LOOK_EVERY_S", 0)
    await api.client.get("/")
    looks: list[object] = []
    monkeypatch.setattr(pages, "signature", looks.append)
    for path in ("/health/live", "/metrics", "/openapi.json", "/api/health"):
        await api.client.get(path)
    assert looks == []
