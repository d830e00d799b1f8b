"""The commands' way to the API. Every error is one line for a person."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx

from orchestrator.cli import environment
from orchestrator.cli.console import CommandError

ANSWER_S = 5.0
DEFAULT_PORT = 8080


class ApiClient:
    """A client of one API."""

    remedies: ClassVar[Mapping[int, str]] = {}
    """What to do about a status, for whoever this is a client of."""

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(headers=headers, timeout=ANSWER_S, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **params: str | int) -> dict[str, Any]:
        """What ``GET`` answers.

        Raises:
            CommandError: the API is away, or refuses.
        """
        return self._call("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What ``POST`` answers; errors as ``get``."""
        return self._call("POST", path, json=dict(body))

    def delete(self, path: str) -> dict[str, Any]:
        """What ``DELETE`` answers; errors as ``get``."""
        return self._call("DELETE", path)

    def health(self) -> dict[str, Any]:
        """How everything is, also when it is not well; errors as ``get``."""
        return self._call("GET", "/api/health", accepted=(200, 503))

    def _call(
        self, method: str, path: str, *, accepted: tuple[int, ...] = (200, 202), **options: Any
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(method, self.url + path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise CommandError(
                f"the API does not answer at {self.url} ({reason}): start it, or set GREENROOM_URL"
            ) from None
        content = _content(answer, self.url)
        if answer.status_code in accepted:
            return content
        remedy = self.remedies.get(answer.status_code)
        raise CommandError(_refusal(answer, content, remedy))


class AdminClient(ApiClient):
    """The admin's."""

    remedies: ClassVar[Mapping[int, str]] = {
        401: "set ADMIN_TOKEN, here or in .env, to the API's",
        403: "the API was started without ADMIN_TOKEN; set it and start again",
    }


def find_api() -> AdminClient:
    """A client for ``GREENROOM_URL``, else for the API of this folder's settings.

    Raises:
        CommandError: ``.env`` cannot be read, or ``PORT`` is no port.
    """
    environment.merge_dotenv(Path.cwd() / ".env", os.environ)
    return AdminClient(os.environ.get("GREENROOM_URL") or local_url(), os.environ.get("ADMIN_TOKEN"))


def local_url() -> str:
    """The API that the environment describes."""
    port = environment.port_of(os.environ, "PORT", DEFAULT_PORT)
    host = environment.reachable_at(os.environ.get("BIND") or "127.0.0.1")
    return f"http://{host}:{port}"


def _content(answer: httpx.Response, url: str) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise CommandError(f"what answers at {url} is not Greenroom (status {answer.status_code}): set GREENROOM_URL")
    return content


def _refusal(answer: httpx.Response, content: Mapping[str, Any], remedy: str | None) -> str:
    words = f"{content.get('code', answer.status_code)}: {content.get('detail', 'no detail')}"
    if "Retry-After" in answer.headers:
        remedy = remedy or f"try again in {answer.headers['Retry-After']} s"
    return f"{words} ({remedy})" if remedy else words
