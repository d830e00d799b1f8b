from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests.support.servers import LiveKitServer, RedisServer

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("greenroom", deadline=None)
hypothesis.settings.load_profile("greenroom")


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
