"""A caller whose room gives way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from orchestrator.adapters.livekit_client import Caller, CallOverError


async def test_what_could_not_be_typed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def send_text(*_: object, **__: object) -> Any:
        raise rtc.StreamError("internal error")

    caller = Caller(sound=False)
    monkeypatch.setattr(caller, "_room", SimpleNamespace(local_participant=SimpleNamespace(send_text=send_text)))
    with pytest.raises(CallOverError, match="the connection to LiveKit was lost") as caught:
        await caller.type_text("are you\nthere")
    assert "\n" not in str(caught.value)
    assert caller.transcripts == []
