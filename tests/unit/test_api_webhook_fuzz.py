"""What comes to LiveKit's webhook and is not from LiveKit, or is not as it was sent, does nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit import api as livekit

from contract import keys
from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitWebhooks
from orchestrator.domain.errors import UnauthorizedError
from tests.support.api import LIVEKIT_KEY, LIVEKIT_SECRET, ApiUnderTest, api_under_test
from tests.support.made_up import json_values

PATH = "/api/livekit/webhook"
FORGERIES = 150
STATES = ("session:", "sessions:", "pool:")


def signature(body: bytes, key: str = LIVEKIT_KEY, secret: str = LIVEKIT_SECRET) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return livekit.AccessToken(key, secret).with_sha256(digest).to_jwt()


def event(session_id: str, kind: str = "room_finished", *, event_id: str = "EV_1") -> bytes:
    person = {"identity": "x", "kind": "STANDARD"}
    return json.dumps({"event": kind, "room": {"name": session_id}, "participant": person, "id": event_id}).encode()


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


async def everything(api: ApiUnderTest) -> dict[str, Any]:
    """All that the store knows of sessions; what goes by itself within a second is none of it."""
    client = api.container.client
    found = [key async for key in client.scan_iter() if key.startswith(STATES) and key != keys.REFILL_PENDING]
    return {key: await client.dump(key) for key in sorted(found)}


def forged(body: bytes, numbers: random.Random) -> tuple[bytes, str]:
    """A webhook that somebody else made, or that was changed on its way."""
    good = signature(body)
    spoilt = bytearray(body)
    spoilt[numbers.randrange(len(body))] ^= 1 << numbers.randrange(7)
    head, claims, proof = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    token = bytearray(good.encode())
    # The last character has bits that mean nothing.
    token[numbers.randrange(len(token) - 1)] ^= 1
    return numbers.choice(
        [
            (bytes(spoilt), good),
            (body[: numbers.randrange(len(body))], good),
            (body, signature(body, secret="another-secret-of-32-characters-or-more")),
            (body, signature(body, key="another")),
            (body, signature(b"")),
            (body, f"{unsigned}.{claims}."),
            (body, f"{head}.{claims}."),
            (body, f"{head}..{proof}"),
            (body, livekit.AccessToken(LIVEKIT_KEY, LIVEKIT_SECRET).to_jwt()),
            (body, token.decode("latin-1")),
            (body, ""),
        ]
    )


async def test_forged_and_spoilt_webhooks_change_nothing(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    before, numbers = await everything(api), random.Random(1)
    for _ in range(FORGERIES):
        body, token = forged(event(session_id), numbers)
        answer = await api.client.post(PATH, content=body, headers={"Authorization": token.encode("latin-1")})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (body, token)
    assert await everything(api) == before


async def told(api: ApiUnderTest, body: bytes) -> int:
    """Tell it; the status."""
    answer = await api.client.post(PATH, content=body, headers={"Authorization": signature(body)})
    return answer.status_code


async def test_a_webhook_that_comes_again_does_nothing(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    bodies = []
    for number, kind in enumerate(("participant_joined", "participant_left", "room_finished")):
        bodies.append(event(session_id, kind, event_id=f"EV_{number}"))
        assert await told(api, bodies[-1]) == 204
        before = await everything(api)
        for body in bodies * 2:
            assert await told(api, body) == 204
        assert await everything(api) == before


async def test_a_user_who_left_is_not_back_because_an_old_webhook_comes_again(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    joined, left = (
        event(session_id, "participant_joined", event_id="EV_1"),
        event(session_id, "participant_left", event_id="EV_2"),
    )
    for body in (joined, left, joined):
        assert await told(api, body) == 204
    session = await api.container.store.get(session_id)
    assert session is not None
    assert session.user_left_at is not None


async def test_one_that_could_not_be_acted_on_is_when_it_comes_again(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    body = event(session_id, "participant_joined", event_id="EV_1")
    record = await api.container.client.dump(keys.session(session_id))
    await api.container.client.set(keys.session(session_id), "what no script can use")
    assert await told(api, body) >= 500
    await api.container.client.restore(keys.session(session_id), 0, record, replace=True)
    assert await told(api, body) == 204
    session = await api.container.store.get(session_id)
    assert session is not None
    assert session.active_at is not None


async def test_events_without_an_id_are_acted_on(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    for kind in ("participant_joined", "participant_left"):
        assert await told(api, event(session_id, kind, event_id="")) == 204
    session = await api.container.store.get(session_id)
    assert session is not None
    assert session.user_left_at is not None


@pytest.mark.parametrize("kind", ["", "egress_started", "participant_connection_aborted", "x" * 1000, "\u0000"])
async def test_events_that_are_not_known_are_ignored(api: ApiUnderTest, kind: str) -> None:
    [session_id] = await api.warm()
    before = await everything(api)
    body = event(session_id, kind)
    answer = await api.client.post(PATH, content=body, headers={"Authorization": signature(body)})
    assert answer.status_code == 204
    assert await everything(api) == before


@given(
    st.one_of(st.text(), json_values.map(json.dumps), json_values.map(lambda v: json.dumps({"room": v, "event": v})))
)
def test_whatever_is_signed_is_read_or_refused(body: str) -> None:
    webhooks = LiveKitWebhooks(LiveKitKey("ws://127.0.0.1", LIVEKIT_KEY, LIVEKIT_SECRET))
    try:
        event = webhooks.read(body, signature(body.encode()))
    except UnauthorizedError:
        return
    assert isinstance(event.room, str)


@given(st.text(), st.text())
def test_whatever_is_not_signed_is_refused(body: str, token: str) -> None:
    webhooks = LiveKitWebhooks(LiveKitKey("ws://127.0.0.1", LIVEKIT_KEY, LIVEKIT_SECRET))
    with pytest.raises(UnauthorizedError):
        webhooks.read(body, token)
