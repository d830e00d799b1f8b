from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.redis_address import check_address, sentinels_of


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "rediss://:p%40ss@redis.example.com/3"])
def test_one_server(url: str) -> None:
    assert sentinels_of(url) is None


def test_the_sentinels_of_a_service() -> None:
    found = sentinels_of("redis+sentinel://app:p%40:ss@one:26380,two,[fd00::3]:26381/mymaster/2?sentinel_password=s")
    assert found is not None
    assert found.addresses == (("one", 26380), ("two", 26379), ("fd00::3", 26381))
    assert (found.service, found.db, found.tls) == ("mymaster", 2, False)
    assert found.of_servers == {"username": "app", "password": "p@:ss", "db": 2}
    assert found.of_sentinels == {"password": "s"}
    assert found.broker_url.startswith("sentinel://app:p%40%3Ass@one:26380/2;sentinel://")
    assert found.broker_options == {"master_name": "mymaster", "sentinel_kwargs": {"password": "s"}}
    assert found.beat_options["service_name"] == "mymaster"
    assert "ss" not in found.where


def test_what_may_be_left_out() -> None:
    found = sentinels_of("rediss+sentinel://one/mymaster")
    assert found is not None
    assert (found.addresses, found.db) == ((("one", 26379),), 0)
    assert found.of_servers == {"db": 0, "ssl": True}
    assert found.of_sentinels == {}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "such as"),
        ("http://127.0.0.1", "such as"),
        ("redis://", "such as"),
        ("redis+sentinel://one:1", "the service"),
        ("redis+sentinel://one:1/", "the service"),
        ("redis+sentinel://one:1/mymaster/x", "the service"),
        ("redis+sentinel://one:port/mymaster", "host:port"),
        ("redis+sentinel://one:1,,two:2/mymaster", "host:port"),
    ],
)
def test_what_is_wrong_is_said(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_address(url)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_an_error_in_words(text: str) -> None:
    for url in (text, f"redis+sentinel://{text}"):
        with contextlib.suppress(ValueError):
            found = sentinels_of(check_address(url))
            assert found is None or all(host and port >= 0 for host, port in found.addresses)
