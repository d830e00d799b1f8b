"""Ctrl-C in a benchmark that has started a whole system."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from benchmarks.interrupt import run_to_end


def test_what_it_began_is_ended_also_where_ctrl_c_is_pressed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    ended = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(asyncio.CancelledError):
        run_to_end("soak", work())

    assert ended == [True]
    said = capsys.readouterr().err.splitlines()
    assert said == ["soak: ending everything", "soak: interrupted; everything that it started has ended"]


def test_what_comes_of_it_is_returned() -> None:
    async def work() -> int:
        return 7

    assert run_to_end("soak", work()) == 7
