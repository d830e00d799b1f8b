"""How long a user hears nothing: from the death of an agent, or the cut of its machine, to its successor's first sound.

``python -m benchmarks.recovery`` (as root: three machines in network namespaces, with the settings' defaults)
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from time import monotonic

from benchmarks.report import Report, percentile
from contract.states import SessionState
from orchestrator.records import Session
from tests.support.machines import Machines, heard_again, running_machines
from tests.support.session_call import another_agent
from tests.support.stack import Backend

HOSTS = 3
POOL = 3
DEATHS = 15
LOSSES = 5
HEAR_S = 60.0
Fault = Callable[[Machines, Session], None]


def main() -> None:
    """One call at a time, which is hit once."""
    with running_machines(HOSTS, PREWARM_POOL_SIZE=str(POOL)) as machines:
        deaths_s, losses_s = asyncio.run(_measure(machines))
    report = Report("recovery", "python -m benchmarks.recovery")
    for what, seconds, limit_s in (("agent killed", deaths_s, 2), ("host cut off", losses_s, 15)):
        report.add(
            f"{what} to the successor heard, p50 of {len(seconds)}", percentile(seconds, 0.5), "s", at_most=limit_s
        )
        report.add(f"{what} to the successor heard, longest", max(seconds), "s", at_most=limit_s)
    report.raw = {"deaths_s": [round(s, 3) for s in deaths_s], "losses_s": [round(s, 3) for s in losses_s]}
    report.publish()


async def _measure(machines: Machines) -> tuple[list[float], list[float]]:
    async with machines.hub.container() as backend:
        deaths_s = [await _one(machines, backend, _kill) for _ in range(DEATHS)]
        losses_s = [await _one(machines, backend, _cut) for _ in range(LOSSES)]
        await backend.container.pool.resize(0)
        await backend.pool_has(0)
    return deaths_s, losses_s


async def _one(machines: Machines, backend: Backend, fault: Fault) -> float:
    """Seconds from the fault until this call's user hears an agent again."""
    await backend.pool_has(POOL)
    async with machines.calling(backend) as call:
        before = await call.session()
        hit_at = monotonic()
        fault(machines, before)
        heard_at = await call.caller.answer_to(hit_at, HEAR_S)
        await another_agent(backend, before)
    await backend.end(call.session_id)
    if before.host is not None and fault is _cut:
        machines.mend(before.host)
        await heard_again(backend, before.host)
    assert (await backend.session(call.session_id, SessionState.ENDED)).replacements == 1
    return heard_at - hit_at


def _kill(_: Machines, session: Session) -> None:
    assert session.agent_pid is not None
    os.kill(session.agent_pid, signal.SIGKILL)


def _cut(machines: Machines, session: Session) -> None:
    assert session.host is not None
    machines.cut(session.host)


if __name__ == "__main__":
    main()
