"""What platforms' files rely on of the image: its entry point, and how long its programs take to end."""

from __future__ import annotations

import configparser
import json
import re

from tests.support.stack import TOP


def entry_point() -> list[str]:
    """Of Dockerfile.orchestrator: what a platform's arguments are appended to."""
    found = re.search(r"^ENTRYPOINT (.*)$", (TOP / "Dockerfile.orchestrator").read_text(), re.MULTILINE)
    assert found
    words: list[str] = json.loads(found[1])
    return words


def stop_wait_s(program: str) -> int:
    """Between SIGTERM and SIGKILL, under supervisord."""
    config = configparser.RawConfigParser()
    config.read(TOP / "supervisord.conf")
    return int(config[f"program:{program}"]["stopwaitsecs"])
