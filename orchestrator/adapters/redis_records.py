"""How records go into the scripts' arguments and come out of Redis's hashes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import FiniteFloat, TypeAdapter
from pydantic_core import from_json

from contract.keys import DEFAULT_KIND
from contract.messages import Turn
from contract.states import SessionState
from orchestrator.domain.demand import Measured
from orchestrator.domain.errors import IdempotencyConflictError, InvalidRequestError
from orchestrator.domain.limits import Quota, RateLimitedError
from orchestrator.domain.pool import Joining, KindSnapshot, PoolSnapshot, SpawnUnderWay, Waiting
from orchestrator.records import (
    SPAWN_BOUNDS_S,
    AgentRecord,
    Answered,
    KindCounts,
    Sample,
    Session,
    StartRequest,
    number_in,
    whole_in,
)

WHOSE = {"user": "user", "tenant": "API key, token or tenant", "ip": "address"}


def start_args(request: StartRequest) -> list[object]:
    """What ``claim`` and ``reserve_cold`` are told of a start."""
    assignment = json.dumps(request.assignment, separators=(",", ":"))
    return [
        request.body_digest, int(request.keep_s), request.user_id, request.user_name or "", assignment,
        request.owner, request.most_sessions, request.kind,
    ]  # fmt: skip


def rate_args(request: StartRequest) -> list[object]:
    """What ``claim`` is told of the rates that a start counts against."""
    rates = (part for each in request.counted for part in (each.rate.amount, each.rate.window_s))
    return [request.request_key, *rates]


def quotas_of(request: StartRequest, flat: Sequence[int]) -> tuple[Quota, ...]:
    """What ``claim`` says is left of each rate."""
    return tuple(
        Quota(each.name, each.rate, int(flat[2 * i]), int(flat[2 * i + 1]))
        for i, each in enumerate(request.counted)
        if flat
    )


def too_many(request: StartRequest, place: int, flat: Sequence[int]) -> RateLimitedError:
    """The rate in this place (from 1) is used up."""
    quotas = quotas_of(request, flat)
    spent = quotas[place - 1]
    detail = f"{spent.rate.amount} starts in {spent.rate.window_s} s are the most for one {WHOSE[spent.name]}."
    # What another rate lacks is to be waited for, too.
    wait_s = max(quota.reset_s for quota in quotas if quota.remaining == 0)
    return RateLimitedError(f"{detail} Try again in {wait_s} s.", retry_after_s=wait_s, quotas=quotas)


def too_many_at_once(request: StartRequest) -> RateLimitedError:
    """This user has as many sessions as one may have."""
    most = request.most_sessions
    return RateLimitedError(f"One user may have {most} session{'s' * (most > 1)} at once. End one of them first.")


def replayed(reply: Sequence[str]) -> Answered:
    """An earlier request's answer.

    Raises:
        IdempotencyConflictError: that request had another body.
    """
    if reply[0] == "conflict":
        raise IdempotencyConflictError
    return Answered(reply[1])


def agent_args(record: AgentRecord) -> list[object]:
    """What ``record_agent`` is told of an agent."""
    identity, assignment = record.identity, record.assignment
    claim: list[object] = ["", "", "", ""]
    if assignment is not None:
        settings = assignment.model_dump_json(exclude={"session_id", "fence"}, exclude_none=True)
        claim = [settings, assignment.fence, assignment.user_id, assignment.user_name or ""]
    startup = "" if record.startup_s is None else f"{record.startup_s:.6f}"
    return [
        record.session_id, identity.host, identity.boot_id, identity.pid, identity.start_ticks,
        str(record.state), f"{record.created_at:.6f}", startup, *claim, ",".join(map(str, SPAWN_BOUNDS_S)),
        "1" if record.in_call else "", record.generation, record.kind, "1" if record.hearsay else "",
    ]  # fmt: skip


def state_of(text: str | None) -> SessionState | None:
    """The state of this name; None where it is none."""
    try:
        return SessionState(text or "")
    except ValueError:
        return None


def session_of(session_id: str, fields: Mapping[str, str]) -> Session | None:
    """The record in a session's hash; None where it has no state, and so tells of no session.

    Another field that cannot be read, whoever wrote it, is as if it were not there.
    """

    def number(name: str) -> float | None:
        return number_in(fields, name)

    def whole(name: str) -> int | None:
        return whole_in(fields, name)

    state = state_of(fields.get("status"))
    if state is None:
        return None
    return Session(
        session_id=session_id,
        state=state,
        kind=fields.get("kind") or DEFAULT_KIND,
        created_at=number("createdAt") or 0.0,
        user_id=fields.get("userId") or None,
        user_name=fields.get("userName") or None,
        host=fields.get("host"),
        agent_pid=whole("agentPid"),
        agent_ticks=whole("agentTicks"),
        boot_id=fields.get("bootId"),
        ready_at=number("readyAt"),
        startup_s=number("startupTime"),
        assigned_at=number("assignedAt"),
        active_at=number("activeAt"),
        user_left_at=number("userLeftAt"),
        ended_at=number("endedAt"),
        end_reason=fields.get("endReason"),
        error=fields.get("error"),
        error_code=fields.get("errorCode"),
        prewarmed=fields.get("prewarmed") == "1",
        fence=whole("fence") or 0,
        attempts=whole("attempts") or 0,
        replacements=whole("replacements") or 0,
        task_id=fields.get("taskId"),
        token_at=number("tokenAt"),
        marks=_marks_of(fields["timeline"]) if "timeline" in fields else None,
    )


_MARKS = TypeAdapter(dict[str, FiniteFloat])


def _marks_of(text: str) -> Mapping[str, float] | None:
    try:
        return _MARKS.validate_json(text)
    except ValueError:
        return None


def target_of(text: str | bytes | None, default: int) -> int:
    """The pool's size, as somebody set it; the default where nobody did, or what they set is no size."""
    size = whole_in({"size": str(text or "")}, "size")
    return default if size is None or size < 0 else size


def turns_of(lines: Sequence[str | bytes]) -> list[Turn]:
    """The turns of a session, without what cannot be read."""
    turns = []
    for line in lines:
        with suppress(ValueError):
            turns.append(Turn.model_validate_json(line))
    return turns


def samples_of(lines: Sequence[str]) -> list[Sample]:
    """The samples, without what cannot be read."""
    samples = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            samples.append(_sample_of(from_json(line, allow_inf_nan=False)))
    return samples


def _sample_of(row: Mapping[str, Any]) -> Sample:
    """A sample, as ``sample.lua`` writes it."""
    return Sample(
        at=row["at"],
        ready=row["ready"],
        target=row["target"],
        starting=row["starting"],
        active=row["active"],
        waiting=row["waiting"],
        warm_hit_rate=row["warmHitRate"],
        start_p50_ms=row["startP50Ms"],
        start_p95_ms=row["startP95Ms"],
        spawn_p50_ms=row["spawnP50Ms"],
        refill_lag_ms=row["refillLagMs"],
    )


def kind_counts_of(row: Sequence[Any], default_target: int, spawns_s: Sequence[float], now: float) -> KindCounts:
    """What ``counts`` says of one kind of agent."""
    ready, warming, target, arrivals, peaks, waiting = row
    measured = Measured(
        arrivals={int(slot): int(number) for slot, number in chunks(arrivals, 2)},
        spawns_s=spawns_s,
        peaks={int(slot): float(value) for slot, value in chunks(peaks, 2)},
        now=now,
    )
    return KindCounts(int(ready), int(warming), target_of(target, default_target), int(waiting), measured)


def snapshot_of(reply: Sequence[Any]) -> PoolSnapshot:
    """What ``snapshot`` says."""
    owned, spawning, waiting, kinds, (joining, cores, lacking_since) = reply
    return PoolSnapshot(
        kinds={kind: _kind_snapshot(row) for kind, *row in chunks(kinds, 8)},
        owned=owned,
        spawning=tuple(
            SpawnUnderWay(i, warm == "1", float(at), int(tries), replaces == "1", kind)
            for i, at, warm, tries, replaces, kind in chunks(spawning, 6)
        ),
        waiting=tuple(Waiting(i, float(since), float(seen), kind) for i, since, seen, kind in chunks(waiting, 4)),
        joining=Joining(joining, float(cores), float(lacking_since) if lacking_since else None),
    )


def _kind_snapshot(row: Sequence[Any]) -> KindSnapshot:
    ready, agents, can_spawn, room, beside, may_begin, failing_since = row
    return KindSnapshot(
        ready=ready,
        agents=agents,
        can_spawn=can_spawn == 1,
        host_room=None if room == "" else int(room),
        beside=frozenset(beside.split(",")) if beside else None,
        may_begin=None if may_begin < 0 else may_begin,
        failing_since=float(failing_since) if failing_since else None,
    )


def chunks(flat: Sequence[str], width: int) -> list[Sequence[str]]:
    """A script's flat list as rows."""
    return [flat[i : i + width] for i in range(0, len(flat), width)]


def parse_cursor(cursor: str) -> tuple[SessionState, str, str]:
    """State, score and id of the last session that was told; at the beginning of a state ``+inf`` and no id.

    Raises:
        InvalidRequestError: it is no cursor.
    """
    try:
        name, score, session_id = cursor.split("|")
        state, begins = SessionState(name), not (score or session_id)
        at = 0.0 if begins else float(score)
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        raise InvalidRequestError("cursor: use the one that the page before gave")
    return state, "+inf" if begins else repr(at), session_id


def cursor_at(state: SessionState, score: str, session_id: str) -> str:
    """What ``parse_cursor`` reads."""
    return f"{state}|{score}|{session_id}" if session_id else f"{state}||"
