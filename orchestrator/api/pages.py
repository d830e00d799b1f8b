"""The talk page and the console: the built frontend, from memory.

Starlette's static files know nothing of precompressed ones, and libraries that do open a file for each request. The
whole frontend is smaller than one agent, so all of it is held, in each encoding that the build made: an answer is one
look-up, and there is no path on disk that a request could lead to.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger("greenroom.api")

MAX_FILE_BYTES = 16 * 1024 * 1024
"""What is larger is none of a page's files."""
LOOK_EVERY_S = 1.0
"""A frontend that was built anew is seen after so long, without a restart."""
ENCODINGS = {".br": b"br", ".gz": b"gzip"}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""Not the system's table: that differs from machine to machine."""
FOR_EVER = b"public, max-age=31536000, immutable"
ASK_AGAIN = b"no-cache"
FROM_ELSEWHERE = [(b"access-control-allow-origin", b"*"), (b"cross-origin-resource-policy", b"cross-origin")]
"""Another site's page loads the talk button's script, and the modules that it needs."""
NOT_BUILT = b"""The talk page and the console are not built: `make run` builds them.
The API is here, and /docs says what it has.
"""

NO_PAGES = ("/api/", "/health/")
NO_PAGE = frozenset({"/metrics", "/docs", "/openapi.json"})
"""The API's own: whatever the frontend has, and however its files are, these are answered by the API."""
ELSEWHERE = {"/console/": "/console", "/index.html": "/"}
"""Addresses that people type, and where their page is."""

Headers = list[tuple[bytes, bytes]]
Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Variant:
    """A file in one encoding (``identity``: as it is)."""

    encoding: bytes
    body: bytes
    etag: bytes


@dataclass(frozen=True)
class Page:
    """One file."""

    route: str
    """What the metrics call it."""
    headers: Headers
    variants: tuple[Variant, ...]
    """The smallest first."""


def content_security_policy(livekit_url: str) -> str:
    """What a page may load and connect to: this server, and LiveKit."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "media-src 'self' blob: mediastream:",
            f"connect-src 'self' {_livekit_sources(livekit_url)}",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _livekit_sources(livekit_url: str) -> str:
    """LiveKit's client opens a WebSocket, and asks over HTTP why that failed."""
    parts = urlsplit(livekit_url)
    secure = parts.scheme in {"wss", "https"}
    schemes = ("wss", "https") if secure else ("ws", "http")
    places = [parts.netloc.rpartition("@")[2]]
    if (parts.hostname or "").endswith(".livekit.cloud"):
        places.append("*.livekit.cloud")  # it sends a client on to the region that is near
    return " ".join(f"{scheme}://{place}" for place in places for scheme in schemes)


class Pages:
    """ASGI: answers for the frontend's files, and hands on all else."""

    def __init__(self, app: ASGIApp, folder: Path, livekit_url: str) -> None:
        self._app = app
        self._folder = folder
        self._policy = content_security_policy(livekit_url).encode()
        self._looked_at = time.monotonic()
        self._signature: Signature | None = None
        self._pages: dict[str, Page] = {}
        self._refresh()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or not _may_be_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._look()
        page = self._pages.get(scope["path"])
        target = ELSEWHERE.get(scope["path"])
        if page is None and target in self._pages:
            scope["route"] = SimpleNamespace(path=target)
            await _redirect(target, scope, send)
        elif page is not None:
            scope["route"] = SimpleNamespace(path=page.route)
            await _answer(page, scope, send)
        elif not self._pages and scope["path"] in {"/", "/console"}:
            scope["route"] = SimpleNamespace(path=scope["path"])
            await _send(send, 404, [(b"content-type", TYPES[".txt"].encode())], NOT_BUILT, scope)
        else:
            await self._app(scope, receive, send)

    async def _look(self) -> None:
        """Read the files again if they have changed; in a thread, for a start may be on its way."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        if await asyncio.to_thread(self._refresh):
            log.info("the frontend was read", files=len(self._pages))

    def _refresh(self) -> bool:
        """Read the files if they have changed; returns whether they were taken.

        While a build replaces them they come and go, the first page too: what is known is kept until all is there.
        """
        try:
            found = signature(self._folder)
            if found == self._signature:
                return False
            pages = read_pages(self._folder, self._policy)
        except OSError:
            return False
        if "/" in self._pages and "/" not in pages:
            return False
        self._pages, self._signature = pages, found
        return True


def _may_be_page(path: str) -> bool:
    return path not in NO_PAGE and not path.startswith(NO_PAGES)


def signature(folder: Path) -> Signature:
    """What changes when a file does."""
    stats = [(str(path), path.stat()) for path in _files(folder)]
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def read_pages(folder: Path, policy: bytes) -> dict[str, Page]:
    """All files, by their path in an address: ``index.html`` is ``/``, another ``x.html`` is ``/x``."""
    files = list(_files(folder))
    known = set(files)
    pages = {}
    for path in files:
        if path.suffix in ENCODINGS and path.with_suffix("") in known:
            continue
        name = path.relative_to(folder).as_posix()
        address = "/" + ("" if name == "index.html" else name.removesuffix(".html"))
        variants = [_variant(path, b"identity")]
        for suffix, encoding in ENCODINGS.items():
            if (other := path.with_name(path.name + suffix)) in known:
                variants.append(_variant(other, encoding))
        pages[address] = _page(address, path, variants, policy)
    return pages


def _files(folder: Path) -> Iterable[Path]:
    """Plain files only: a link could lead anywhere. None with a dot first: an editor or a builder left it there."""
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_FILE_BYTES:
            yield path


def _variant(path: Path, encoding: bytes) -> Variant:
    body = path.read_bytes()
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    return Variant(encoding, body, f'"{digest}-{encoding.decode()}"'.encode())


def _page(address: str, path: Path, variants: list[Variant], policy: bytes) -> Page:
    hashed = address.startswith("/assets/")
    headers = [
        (b"content-type", TYPES.get(path.suffix.lower(), "application/octet-stream").encode()),
        (b"cache-control", FOR_EVER if hashed else ASK_AGAIN),
    ]
    if len(variants) > 1:
        headers.append((b"vary", b"Accept-Encoding"))
    if path.suffix == ".html":
        headers += [
            (b"content-security-policy", policy),
            (b"permissions-policy", b"microphone=(self)"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]
    elif hashed or address == "/embed.js":
        headers += FROM_ELSEWHERE
    route = "/assets/*" if hashed else address
    return Page(route, headers, tuple(sorted(variants, key=lambda variant: len(variant.body))))


async def _answer(page: Page, scope: Scope, send: Send) -> None:
    asked = {name: value for name, value in scope["headers"] if name in {b"accept-encoding", b"if-none-match"}}
    variant = best(page.variants, qualities(asked.get(b"accept-encoding", b"").decode("latin-1")))
    headers = [*page.headers, (b"etag", variant.etag)]
    if _is_known(variant.etag, asked.get(b"if-none-match", b"")):
        await _send(send, 304, headers, b"", scope)
        return
    if variant.encoding != b"identity":
        headers.append((b"content-encoding", variant.encoding))
    await _send(send, 200, headers, variant.body, scope)


async def _redirect(target: str, scope: Scope, send: Send) -> None:
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    await _send(send, 308, [(b"location", target.encode() + query), (b"cache-control", ASK_AGAIN)], b"", scope)


async def _send(send: Send, status: int, headers: Headers, body: bytes, scope: Scope) -> None:
    if status != 304:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _is_known(etag: bytes, if_none_match: bytes) -> bool:
    """RFC 9110, 13.1.2: weak comparison."""
    tags = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
    return etag in tags or b"*" in tags


def qualities(accept_encoding: str) -> dict[str, float]:
    """The encodings that a client named, with how much it likes each (RFC 9110, 12.5.3)."""
    named = {}
    for item in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name:
            named["gzip" if name == "x-gzip" else name] = _quality(parameters)
    return named


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def best(variants: tuple[Variant, ...], liked: Mapping[str, float]) -> Variant:
    """The one that the client likes best; of equals the smallest. As it is, when nothing that it likes is there."""

    def quality(variant: Variant) -> float:
        name = variant.encoding.decode()
        # Not named, it may be sent as it is, where nothing better is there.
        return liked.get(name, liked.get("*", 0.001 if name == "identity" else 0.0))

    chosen = max(variants, key=quality)  # the first of equals
    if quality(chosen) > 0:
        return chosen
    return next(variant for variant in variants if variant.encoding == b"identity")
