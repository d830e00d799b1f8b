"""An agent that is busy while a file says so, once a signal told it to be. Meanwhile it hears and answers nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from livekit.agents import Agent

IS_BUSY = Path(os.environ.get("GREENROOM_HOME", "")) / "is-busy"


def spin(*_: object) -> None:
    while IS_BUSY.exists():
        pass


signal.signal(signal.SIGUSR1, spin)


def make(_: Any) -> Agent:
    return Agent(instructions="be quiet")
