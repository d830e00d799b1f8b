"""Asks the API whether all parts are up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

ANSWER_S = 3.0


def why_not_ready(url: str, admin_token: str | None = None) -> str | None:
    """Return None when everything is ready, else the reason: whole with the admin token."""
    import httpx

    headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
    try:
        answer = httpx.get(f"{url}/health/ready", headers=headers, timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError:
        return "the API does not answer yet"
    if answer.status_code == httpx.codes.OK:
        return None
    return _reason(answer)


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        for name in ("detail", "reason", "status"):
            if isinstance(body.get(name), str):
                return str(body[name])
    return f"the API answers {answer.status_code}"


def answers(url: str) -> bool:
    """Tell whether what listens there is a Greenroom API."""
    import httpx

    try:
        return httpx.get(f"{url}/health/live", timeout=ANSWER_S, trust_env=False).is_success
    except httpx.HTTPError:
        return False
