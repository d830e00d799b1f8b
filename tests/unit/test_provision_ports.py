from __future__ import annotations

import os
import socket

import pytest

from orchestrator.cli.console import CommandError
from orchestrator.cli.ports import Wanted, check_free
from tests.support.servers import free_port


def test_a_free_port_passes() -> None:
    check_free([Wanted("PORT", free_port(), "127.0.0.1"), Wanted("LIVEKIT_PORT", free_port(), "0.0.0.0", udp=True)])


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_taken_port_is_named_with_its_setting_and_holder(bind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {number} is taken.*REDIS_PORT=…") as error:
            check_free([Wanted("REDIS_PORT", number, bind)])
    assert f"(PID {os.getpid()})" in str(error.value)


def test_a_taken_udp_port_is_noticed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CommandError, match="is taken"):
            check_free([Wanted("LIVEKIT_PORT", taken.getsockname()[1], "127.0.0.1", udp=True)])


def test_one_port_for_two_programs_is_refused() -> None:
    number = free_port()
    with pytest.raises(CommandError, match=f"PORT and REDIS_PORT both need port {number}"):
        check_free([Wanted("PORT", number, "127.0.0.1"), Wanted("REDIS_PORT", number, "127.0.0.1")])


@pytest.mark.parametrize("bind", ["192.0.2.1", "no such host.invalid"])
def test_an_address_that_is_not_ours_is_named(bind: str) -> None:
    with pytest.raises(CommandError, match=r"^BIND: .* is no address of this machine"):
        check_free([Wanted("PORT", free_port(), bind)])
