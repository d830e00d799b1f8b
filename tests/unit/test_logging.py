"""What the programs' own lines say of errors: where it was, and never what any variable held."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from pathlib import Path
sys.path.insert(0, ".")
from orchestrator.logs import set_up_logging
from tests.support.api import settings
import structlog

set_up_logging(settings(log_format=sys.argv[1], log_level="debug"), "api")

def open_the_door(token):
    held = token[::-1]
    raise ValueError("it is locked")

for log in (logging.getLogger("asyncio"), structlog.get_logger("greenroom.api")):
    try:
        open_the_door("tekcit-" * 3)
    except ValueError:
        log.exception("it went wrong")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_errors_traceback_is_told_without_what_variables_held(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True, timeout=60)
    told = done.stdout + done.stderr
    assert told.count("in open_the_door") == 2
    assert told.count("ValueError: it is locked") == 2
    assert "-ticket" not in told
    assert "tekcit-tekcit" not in told
