"""What was measured of calls: counters and histograms in one hash of Redis (``stats:voice``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from contract import keys
from contract.messages import Measured
from contract.states import FINAL_STATES
from orchestrator.adapters.redis_client import Client, Scripts, again, information, translated
from orchestrator.domain.prices import Prices
from orchestrator.domain.voice import ANSWER_BOUNDS_S, CALL_BOUNDS_S, CALL_BOUNDS_USD, Observations, StoreMemory
from orchestrator.records import AgentIdentity

NUMBERS_KEPT_S = 3600
SETTLE_LATE_S, SETTLE_AT_MOST = 3600, 2000
"""A reap looks that far back, every five minutes, for calls that no host settled: theirs is lost."""


class RedisMeasures:
    """Counts reports of agents and calls that are over, each once; and says what was counted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts = Scripts(client)

    async def note(self, session_id: str, agent: AgentIdentity, report: Measured, prices: Prices) -> bool:
        """Count an agent's report; false when it was counted before.

        Raises:
            StoreUnavailableError: it may have been counted; it may be sent again.
        """
        own = [keys.session(session_id), keys.measured(session_id), keys.STATS_VOICE]
        args = [agent.word, report.seq, f"{prices.total(report.used):.9f}", NUMBERS_KEPT_S, *_rows(report, prices)]
        return bool(await self._scripts.again("note_measured", own, args))

    async def settle(self, session_ids: Sequence[str]) -> int:
        """Count the length and the cost of those calls that are over; returns how many were counted now.

        Raises:
            StoreUnavailableError: it may be asked again.
        """
        own = [keys.STATS_VOICE, *map(keys.session, session_ids)]
        return int(await self._scripts.again("settle", own, [_bounds(CALL_BOUNDS_S), _bounds(CALL_BOUNDS_USD)]))

    async def settle_late(self, now: float) -> int:
        """The same for all that ended in the last hour."""
        over: list[str] = []
        for state in sorted(FINAL_STATES):
            key, since = keys.sessions_in(state), now - SETTLE_LATE_S
            with translated():
                found = await self._client.zrevrangebyscore(key, now, since, start=0, num=SETTLE_AT_MOST)
            over += map(str, found)
        return await self.settle(over) if over else 0

    async def observations(self) -> Observations:
        """All that was counted, by the hash's fields."""
        fields = await again(lambda: self._client.hgetall(keys.STATS_VOICE))
        found: dict[str, float] = {}
        for name, value in fields.items():
            with suppress(ValueError):  # an operator's, or another version's
                found[str(name)] = float(value)
        return found

    async def memory(self) -> StoreMemory | None:
        """What Redis uses of its memory; None where it does not say that, or of how much: some rented ones do not."""
        info = await information(self._client, "memory")
        most = int(info.get("maxmemory") or info.get("total_system_memory") or 0)
        if "used_memory" not in info or not most:
            return None
        return StoreMemory(int(info["used_memory"]), most)


def _bounds(values: Sequence[float]) -> str:
    return ",".join(map(str, values))


def _rows(report: Measured, prices: Prices) -> list[object]:
    """Name, provider, amount or value, and bounds, of each thing in a report."""
    rows: list[object] = []
    for timing in report.timings:
        rows += [f"{timing.of}_seconds", timing.provider, f"{timing.seconds:.6f}", _bounds(ANSWER_BOUNDS_S)]
    for used in report.used:
        rows += [f"used_{used.unit}", used.provider, f"{used.amount:.6f}", ""]
        if usd := prices.of(used):
            rows += ["cost_usd", used.provider, f"{usd:.9f}", ""]
    for provider in report.transcription_errors:
        rows += ["transcription_errors", provider, 1, ""]
    if report.barge_ins:
        rows += ["barge_ins", "", report.barge_ins, ""]
    return rows
