"""A hundred thousand claims by sixteen callers while answers are dropped now and then: none double, none leaked.

What ``tests/integration/test_claims_under_faults.py`` does, five times as long. ``python -m benchmarks.claims``
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

import structlog

from benchmarks.report import Report
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_store import RedisStore
from tests.support.claims import CALLERS, DROP_RATE, Outcome, claim_all, in_parts, reap_all
from tests.support.servers import RedisServer, running

CLAIMS = 100_000


def main() -> None:
    """All of them on one Redis."""
    # Each session that the lease ends is told of.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder, running(RedisServer.create(Path(folder))) as server:
        assert isinstance(server, RedisServer)
        found, never_ended = asyncio.run(_measure(server))
    double = len(found.twice) + len(found.others) + found.refused
    report = Report("claims", "python -m benchmarks.claims")
    report.add(f"claims by {CALLERS} callers", CLAIMS, "")
    report.add("answers dropped on their way", found.dropped, "", at_least=CLAIMS * DROP_RATE / 2)
    report.add("agents assigned twice", double, "", at_most=0)
    report.add("agents leaked", len(found.leaked) + never_ended, "", at_most=0)
    report.add("callers who went away unanswered", found.no_answer, "")
    report.add("agents claimed for these, which the lease ended", len(found.orphans), "", at_most=found.no_answer)
    report.add("claims a second, acknowledged, one process for all", CLAIMS / found.took_s, "/s")
    report.raw = {"claims": CLAIMS, "double": double, "leaked": len(found.leaked) + never_ended, "took_s": found.took_s}
    report.publish()


async def _measure(server: RedisServer) -> tuple[Outcome, int]:
    """What was found, and how many agents were assigned to nobody even when the lease was over."""
    client = connect(server.url, max_connections=80)
    try:
        found = await claim_all(server, client, CLAIMS)
        store = RedisStore(client)
        await in_parts([store.mark_active(session_id) for session_id, _ in found.handed])
        await reap_all(client)
        return found, await _assigned(client)
    finally:
        await client.aclose()


async def _assigned(client: Client) -> int:
    return (await RedisStore(client).counts(0)).by_state[SessionState.ASSIGNED]


if __name__ == "__main__":
    main()
