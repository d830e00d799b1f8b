from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.alone import turn
from tests.support.servers import LiveKitServer, RedisServer

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("greenroom", deadline=None)
hypothesis.settings.load_profile("greenroom")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Before the test's time begins: its turn beside the tests of the run's other processes."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    # the folder of one worker is in the one that all have together
    together: Path = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    with turn(together, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One real Redis for the whole run; each test empties it."""
    server = RedisServer.create(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def livekit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKitServer]:
    """One real LiveKit server for the whole run."""
    server = LiveKitServer.create(tmp_path_factory.mktemp("livekit"))
    server.start()
    yield server
    server.stop()
