"""Requests that come in half, late, slowly or not at all, by sockets to a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from orchestrator.api.connections import MAX_HEADERS, MAX_REQUEST_BYTES, connections
from orchestrator.api.metrics import Metrics
from orchestrator.api.middleware import Guard, RequestContext
from orchestrator.api.unfinished import Limits
from tests.support.servers import wait_until

QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_HEAD = b"GET /quick HTTP/1.1\r\nHost: x\r\nX-Half: "
HALF_A_BODY = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"
CHUNKED = b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_TIME = 0.5
"""Short to wait for, and long enough for a whole request on a machine that is busy."""
FOR_EVER = 3600.0
LARGE_BYTES = 16 * 2**20
"""More than the kernel keeps for a client that reads nothing."""


class Served:
    """A small app behind the API's own middlewares, in a thread."""

    def __init__(self, limits: Limits) -> None:
        self.metrics = Metrics()
        self.asked_slowly = 0
        self._go_on = asyncio.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        config = uvicorn.Config(
            self._app(),
            loop="uvloop",
            http=connections(limits, self.metrics.closed),
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=3600,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._loop: asyncio.AbstractEventLoop | None = None

    def _app(self) -> Starlette:
        async def quick(_request: Request) -> Response:
            return JSONResponse("quick")

        async def slow(_request: Request) -> Response:
            self._loop = asyncio.get_running_loop()
            self.asked_slowly += 1
            await self._go_on.wait()
            return JSONResponse("slow")

        async def length(request: Request) -> Response:
            return JSONResponse(len(await request.body()))

        async def refused(_request: Request) -> Response:
            return JSONResponse("who are you", 401)

        async def large(_request: Request) -> Response:
            return Response(b"x" * (LARGE_BYTES - 3) + b"end")

        routes = [Route("/quick", quick), Route("/slow", slow), Route("/large", large)]
        routes += [Route(f"/{at.__name__}", at, methods=["POST"]) for at in (length, refused)]
        return Starlette(routes=routes, middleware=[Middleware(RequestContext, self.metrics), Middleware(Guard)])

    def __enter__(self) -> Served:
        self._thread.start()
        wait_until(lambda: self._server.started, what="uvicorn listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()

    @property
    def address(self) -> tuple[str, int]:
        return self._socket.getsockname()  # type: ignore[no-any-return]

    def open_connections(self) -> int:
        return len(self._server.server_state.connections)

    def go_on(self) -> None:
        """Answer those who asked slowly."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._go_on.set)

    @contextlib.contextmanager
    def connected(self, first: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(self.address, 20) as connection:
            connection.sendall(first)
            yield connection

    def somebody_is_late(self) -> None:
        """Return when one that came after all others has been cut, so that none of them can be by now and is not."""
        with self.connected(HALF_A_HEAD) as late:
            assert answer(late).status == 408

    def count(self, start: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


@pytest.fixture
def served() -> Iterator[Served]:
    """Without much patience."""
    with Served(Limits(client_s=NO_TIME)) as served:
        yield served


def answer(connection: socket.socket) -> HTTPResponse:
    """The next one, whole."""
    response = HTTPResponse(connection)
    response.begin()
    response.content = response.read()  # type: ignore[attr-defined]
    return response


def content(connection: socket.socket) -> object:
    response = answer(connection)
    assert response.status == 200
    return json.loads(response.content)  # type: ignore[attr-defined]


def is_closed(connection: socket.socket) -> bool:
    """Whether nothing more comes; waits for it."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1000) == b""
    return True


@pytest.mark.parametrize(
    "half",
    [
        b"G",
        HALF_A_HEAD,
        HALF_A_BODY,
        b"GET /quick HTTP/1.0\r\nHost: x\r\n",
        CHUNKED + b"4\r\nhalf\r\n",
        b"GET /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    ],
    ids=["a byte", "half a head", "half a body", "HTTP/1.0", "half in chunks", "a body that nobody reads"],
)
def test_half_a_request_is_answered_that_it_is_late(served: Served, half: bytes) -> None:
    with served.connected(half) as connection:
        response = answer(connection)
        assert is_closed(connection)
    assert (response.status, response.reason) == (408, "Request Timeout")
    assert response.headers["connection"] == "close"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["date"]
    problem = json.loads(response.content)  # type: ignore[attr-defined]
    assert (problem["code"], problem["status"], problem["success"]) == ("request_timeout", 408, False)
    assert "Send it again" in problem["detail"]
    if b"slow" in half:
        served.go_on()


@pytest.mark.parametrize("nothing", [b"", b"\r\n", b"\r\n\r\n"])
def test_who_sends_nothing_is_told_nothing(served: Served, nothing: bytes) -> None:
    with served.connected(nothing) as connection:
        assert is_closed(connection)
    assert served.count('greenroom_connections_closed_total{reason="late"}') == 1


def test_a_body_that_trickles_is_late(served: Served) -> None:
    with served.connected(CHUNKED) as connection:
        connection.settimeout(NO_TIME / 10)
        for _ in range(1000):
            with contextlib.suppress(TimeoutError):
                assert connection.recv(12) == b"HTTP/1.1 408"
                return
            connection.sendall(b"1\r\nx\r\n")
    pytest.fail("it went on for ever")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (QUICK[:-2], b"X: %b\r\n" % (b"x" * 1024)),
        (HALF_A_HEAD, b"x" * 1024),
        (QUICK[:-2], b"X:\r\n" * (MAX_HEADERS + 1)),
        (CHUNKED + b"0\r\n", b"X: %b\r\n" % (b"x" * 1024)),
        (CHUNKED + b"0\r\n", b"X:\r\n" * (MAX_HEADERS + 1)),
        (CHUNKED + b"1;", b"x" * 1024),
    ],
    ids=["headers", "a header", "many headers", "trailers", "many trailers", "a chunk's extension"],
)
def test_a_request_without_end_is_refused(begin: bytes, more: bytes) -> None:
    """Nobody's time is over here."""
    with Served(Limits(client_s=FOR_EVER)) as served, served.connected(begin) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(2 * MAX_REQUEST_BYTES // len(more) + 1):
                connection.sendall(more)
        wait_until(lambda: served.count('greenroom_connections_closed_total{reason="large"}') == 1, what="it is seen")
        with contextlib.suppress(ConnectionResetError):  # what was not read of it may overtake the answer
            response = answer(connection)
            assert (response.status, response.headers["connection"]) == (431, "close")
            assert json.loads(response.content)["code"] == "head_too_large"  # type: ignore[attr-defined]


def test_each_request_counts_by_itself() -> None:
    large = QUICK[:-2] + b"X: " + b"x" * (MAX_REQUEST_BYTES // 2)
    with Served(Limits(client_s=FOR_EVER)) as served, served.connected() as connection:
        for _ in range(4):
            connection.sendall(large)
            connection.sendall(b"\r\n\r\n")
            assert content(connection) == "quick"
        many, answers = MAX_REQUEST_BYTES // len(QUICK) + 10, b""
        feeding = threading.Thread(target=connection.sendall, args=[QUICK * many + HALF_A_HEAD])
        feeding.start()
        while answers.count(b'"quick"') < many:
            answers += connection.recv(100_000)
        feeding.join()
        assert answers.count(b"HTTP/1.1 200") == many
        assert served.count("greenroom_connections_closed_total") == 0


def test_what_came_before_one_without_end_is_answered_first(served: Served) -> None:
    with served.connected(SLOW + HALF_A_HEAD) as connection:
        wait_until(lambda: served.asked_slowly, what="the first came")
        feeding = threading.Thread(target=feed, args=[connection, 2 * MAX_REQUEST_BYTES])
        feeding.start()
        served.somebody_is_late()
        served.go_on()
        answers = b""
        with contextlib.suppress(ConnectionResetError):
            while not answers.endswith(b"}") and (more := connection.recv(10_000)):
                answers += more
        feeding.join()
    assert answers.index(b'"slow"') > 0
    assert b"HTTP/1.1 431" not in answers[: answers.index(b'"slow"')]


def feed(connection: socket.socket, count: int) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(b"x" * count)


LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


def unread(served: Served, asks: bytes) -> socket.socket:
    """Asks, and reads nothing of the answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(served.address)
    connection.sendall(asks)
    return connection


@pytest.mark.parametrize("asks", [LARGE, LARGE * 5], ids=["one answer", "several"])
def test_an_answer_that_nobody_reads_is_not_kept(served: Served, asks: bytes) -> None:
    with unread(served, asks):
        wait_until(lambda: served.count('greenroom_connections_closed_total{reason="late"}') == 1, what="it is cut")
        wait_until(lambda: served.open_connections() == 0, what="nothing of it is left")


def test_an_answer_that_is_read_slowly_is_not_cut(served: Served) -> None:
    with served.connected(LARGE) as connection:
        others = [threading.Thread(target=served.somebody_is_late) for _ in range(2)]
        read = 0
        for other in others:
            other.start()
            while other.is_alive():
                read += len(connection.recv(65536))
                time.sleep(0.01)  # all of it at this pace takes some seconds
        assert read < LARGE_BYTES
        while read < LARGE_BYTES:
            more = len(connection.recv(100_000))
            assert more
            read += more


def test_what_was_asked_before_the_last_hears_that_its_client_is_gone(served: Served) -> None:
    with capture_logs() as lines:
        with served.connected(SLOW + LARGE * 3):
            wait_until(lambda: served.asked_slowly, what="the first came")
        served.go_on()
        wait_until(lambda: served.open_connections() == 0, what="it is seen to be gone")
        wait_until(lambda: served.count("greenroom_http_requests_total{") >= 1, what="the app has answered")
    assert [line for line in lines if line["log_level"] == "error"] == []


def test_those_that_read_nothing_are_evicted_as_well() -> None:
    with Served(Limits(most=5, client_s=FOR_EVER)) as served, contextlib.ExitStack() as open_ones:
        for _ in range(20):
            open_ones.enter_context(unread(served, LARGE))
        wait_until(lambda: served.count('greenroom_connections_closed_total{reason="crowded"}') == 15, what="15 went")
        with served.connected(QUICK) as good:
            assert content(good) == "quick"


def test_who_was_cut_off_in_its_body_is_no_error_of_ours(served: Served) -> None:
    with served.connected(HALF_A_BODY) as connection:
        assert answer(connection).status == 408
    requests = "greenroom_http_requests_total{"
    wait_until(lambda: served.count(requests) == 1, what="the app heard that no more comes")
    assert served.count(f'{requests}method="POST",route="/length",status="499"') == 1


def test_a_whole_request_may_be_answered_late(served: Served) -> None:
    with served.connected(SLOW) as connection:
        wait_until(lambda: served.asked_slowly, what="it came")
        served.somebody_is_late()
        served.go_on()
        assert content(connection) == "slow"


def test_a_kept_connection_is_waited_for_and_its_next_request_is_not(served: Served) -> None:
    with served.connected(QUICK) as connection:
        assert content(connection) == "quick"
        served.somebody_is_late()
        connection.sendall(QUICK)
        assert content(connection) == "quick"
        connection.sendall(HALF_A_HEAD)
        assert answer(connection).status == 408
        assert is_closed(connection)


def test_a_kept_connection_with_half_a_line_is_closed(served: Served) -> None:
    """uvicorn's own time-out ends with anything that comes."""
    with served.connected(QUICK) as connection:
        assert content(connection) == "quick"
        connection.sendall(b"\r\n")
        assert is_closed(connection)


def test_requests_that_follow_at_once_are_all_answered(served: Served) -> None:
    with served.connected(SLOW + SLOW + QUICK + HALF_A_HEAD) as connection:
        wait_until(lambda: served.asked_slowly, what="the first came")
        served.somebody_is_late()
        served.go_on()
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 3 or not answers.endswith(b'"quick"'):
            answers += connection.recv(10_000)
        assert answers.count(b'"slow"') == 2
        connection.sendall(b"still ")
        assert answer(connection).status == 408


def test_a_request_that_follows_in_half_does_not_cut_the_one_before_it(served: Served) -> None:
    with served.connected(SLOW + HALF_A_BODY) as connection:
        wait_until(lambda: served.asked_slowly, what="the first came")
        served.somebody_is_late()
        served.go_on()
        answers = b""
        while not answers.endswith(b"}"):
            answers += connection.recv(10_000)
        assert is_closed(connection)
    assert answers.index(b'"slow"') < answers.index(b"HTTP/1.1 408")


def test_a_body_that_was_refused_is_not_waited_for(served: Served) -> None:
    with served.connected(HALF_A_BODY.replace(b"length", b"refused")) as connection:
        assert answer(connection).status == 401
        connection.sendall(b"more")
        assert is_closed(connection), "without another answer"


def test_the_rest_of_a_refused_body_may_come_and_another_request(served: Served) -> None:
    with served.connected(HALF_A_BODY.replace(b"length", b"refused")) as connection:
        assert answer(connection).status == 401
        connection.sendall(b"e rest" + QUICK)
        assert content(connection) == "quick"
        served.somebody_is_late()
        connection.sendall(QUICK)
        assert content(connection) == "quick"


ASKS_FIRST = b"POST /length HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_who_asks_before_it_sends_its_body_is_told_to() -> None:
    with Served(Limits(client_s=FOR_EVER)) as served, served.connected(ASKS_FIRST) as connection:
        assert connection.recv(len(GO_ON), socket.MSG_WAITALL) == GO_ON
        connection.sendall(b"ten bytes!")
        assert content(connection) == 10


def test_who_asks_and_then_sends_nothing_is_late(served: Served) -> None:
    with served.connected(ASKS_FIRST) as connection:
        assert connection.recv(len(GO_ON), socket.MSG_WAITALL) == GO_ON
        assert answer(connection).status == 408


def test_what_is_no_request_is_answered_as_before(served: Served) -> None:
    with served.connected(b"what?\r\n\r\n") as connection:
        assert answer(connection).status == 400
        assert is_closed(connection)


def test_a_flood_evicts_itself() -> None:
    """Nobody's time is over here: only the bound helps."""
    with Served(Limits(most=20, client_s=FOR_EVER)) as served, contextlib.ExitStack() as open_ones:
        flood = []
        for number in range(200):
            flood.append(open_ones.enter_context(served.connected((HALF_A_HEAD, HALF_A_BODY, b"")[number % 3])))
            if number % 10 == 0:
                with served.connected(QUICK) as good:
                    assert content(good) == "quick"
        assert all(is_closed(connection) for connection in flood[:170])
        flood[197].sendall(QUICK)  # it had sent nothing yet
        assert content(flood[197]) == "quick"
        assert served.count('greenroom_connections_closed_total{reason="crowded"}') >= 170
        assert served.count('greenroom_connections_closed_total{reason="late"}') == 0


def test_those_that_are_gone_do_not_count() -> None:
    with Served(Limits(most=3, client_s=FOR_EVER)) as served:
        for _ in range(10):
            with served.connected(QUICK.replace(b"Host", b"Connection: close\r\nHost")) as connection:
                assert content(connection) == "quick"
                assert is_closed(connection)
        assert served.count("greenroom_connections_closed_total") == 0


def test_one_that_is_being_answered_makes_room_for_nobody() -> None:
    with Served(Limits(most=2, client_s=FOR_EVER)) as served, contextlib.ExitStack() as open_ones:
        slow = [open_ones.enter_context(served.connected(SLOW)) for _ in range(5)]
        wait_until(lambda: served.asked_slowly == 5, what="all came")
        kept, second = (open_ones.enter_context(served.connected()) for _ in range(2))
        for connection in (kept, second):
            connection.sendall(QUICK)
            assert content(connection) == "quick"
        with served.connected(HALF_A_HEAD):
            assert is_closed(kept), "the one that is without a request for longest"
        served.go_on()
        assert [content(connection) for connection in slow] == ["slow"] * 5
