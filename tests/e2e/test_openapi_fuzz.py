"""Every operation of the OpenAPI document, asked with good and bad data: the running system answers as it says.

``GREENROOM_FUZZ_CASES`` says how many cases each operation gets from each kind of caller.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.system import System, running_system

CASES = int(os.environ.get("GREENROOM_FUZZ_CASES", "10"))
CALLER_KEY = "a-caller-key-of-the-fuzz-tests"
AGENTS = 4
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ANSWER_S = 10.0
"""Above the time within which the API says that a part is away."""
REFUSED = (401, 403)

Caller = Callable[[System], Mapping[str, str]]
CALLERS: dict[str, Caller] = {
    "nobody": lambda _: {},
    "caller": lambda _: {"X-API-Key": CALLER_KEY},
    "admin": lambda system: system.admin,
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Few agents and short leases: resizes stay small, and sessions that nobody joins make room for others."""
    few = {"MAX_BOTS": str(AGENTS), "PREWARM_POOL_SIZE": "2", "MAX_QUEUE": "4", "ASSIGN_LEASE_S": "1"}
    with running_system(tmp_path_factory.mktemp("system"), API_KEYS=CALLER_KEY, **few) as running:
        running.wait_pool(2)
        yield running


@pytest.fixture(scope="module")
def operations(system: System) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{system.url}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


class Known:
    """Ids that exist now: made-up ones alone would never get past "there is none"."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._host = system.get("/api/hosts", headers=system.admin)["hosts"][0]["host"]

    def ids(self, name: str) -> list[str]:
        if name == "hostId":
            return [self._host]
        answer = self._system.get("/api/sessions?limit=20", headers=self._system.admin)
        return [session["sessionId"] for session in answer["sessions"]]


@pytest.mark.timeout(60 + 30 * CASES)
@pytest.mark.parametrize("who", CALLERS)
def test_every_operation_answers_as_it_says(
    system: System, operations: list[Any], who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    headers, known = CALLERS[who](system), Known(system)
    tried: Counter[tuple[str, int]] = Counter()
    failures: list[Exception] = []
    for operation in operations:
        try:
            _try(system, operation, headers, known, tried)
        except Exception as error:
            failures.append(error)
    _put_back(system)
    with capsys.disabled():
        print(f"\nopenapi as {who}: {tried.total()} cases of {len(operations)} operations, {_by_status(tried)}")
    assert {label for label, _ in tried} == {operation.label for operation in operations}
    if failures:
        raise ExceptionGroup(f"{len(failures)} operations", failures)


def _by_status(tried: Counter[tuple[str, int]]) -> str:
    statuses: Counter[int] = Counter()
    for (_, status), count in tried.items():
        statuses[status] += count
    return ", ".join(f"{status}: {statuses[status]}" for status in sorted(statuses))


def _try(
    system: System, operation: Any, headers: Mapping[str, str], known: Known, tried: Counter[tuple[str, int]]
) -> None:
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @hypothesis.settings(
        max_examples=CASES, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=cases, real=st.booleans(), place=st.integers(0, 19))
    def answers(case: Any, real: bool, place: int) -> None:
        if real:
            _take_known(case, known, place)
        response = _call(system, case, headers)
        tried[operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        _check_no_fault_of_ours(response)
        _check_access(operation, headers, response.status_code)

    answers()


def _take_known(case: Any, known: Known, place: int) -> None:
    for name in case.path_parameters or {}:
        if ids := known.ids(name):
            case.path_parameters[name] = ids[place % len(ids)]
    if isinstance(case.body, dict) and "sessionId" in case.body and (ids := known.ids("sessionId")):
        case.body["sessionId"] = ids[place % len(ids)]


def _call(system: System, case: Any, headers: Mapping[str, str]) -> requests.Response:
    """The answer; of an event stream its first lines, for it has no end."""
    asked = case.as_transport_kwargs(base_url=system.url)
    for name in ("Authorization", "X-API-Key"):  # made up for an operation that wants it: who asks is ours to say
        asked["headers"].pop(name, None)
    asked["headers"].update(headers)
    with requests.request(**asked, stream=True, timeout=ANSWER_S) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            lines = response.iter_lines()
            assert next(lines) == b"retry: 2000"
            response._content = b"retry: 2000\n\n"
        else:
            assert response.content is not None
    return response


def _check_no_fault_of_ours(response: requests.Response) -> None:
    """Every part is up: the only reason not to serve is that there are as many agents or streams as there may be."""
    if response.status_code >= 500:
        assert response.json()["code"] in {"at_capacity", "too_many_streams"}, response.text


def _check_access(operation: Any, headers: Mapping[str, str], status: int) -> None:
    """What asks for a key or for the admin's token serves nobody else, and refuses nobody who has it."""
    wanted = [next(iter(each), None) for each in operation.definition.raw.get("security", [])]
    is_for_anybody = None in wanted and "adminToken" in wanted  # the admin is told more
    if "livekitSignature" in wanted:
        allowed = False
    elif is_for_anybody:
        allowed = True
    elif "adminToken" in wanted:
        allowed = "Authorization" in headers
    else:
        allowed = not wanted or bool(headers)
    wrong = status in REFUSED if allowed else status < 400
    assert not wrong, f"{operation.label} answered {status}"


def _put_back(system: System) -> None:
    """Undo what was asked for: a host that drains, a pool of another size."""
    with system.client(headers=system.admin) as client:
        for host in client.get("/api/hosts").json()["hosts"]:
            client.post(f"/api/hosts/{host['host']}/undrain").raise_for_status()
    system.wait_healthy()
