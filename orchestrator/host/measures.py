"""What this host's agents measured of their calls, on its way to the store."""

from __future__ import annotations

from contract.messages import Measured
from orchestrator.adapters.redis_measures import RedisMeasures
from orchestrator.domain.prices import Prices
from orchestrator.records import AgentIdentity


class CallCounter:
    """Counts reports and calls that are over, each once however often it is told of them."""

    def __init__(self, measures: RedisMeasures, prices: Prices) -> None:
        self._measures = measures
        self._prices = prices

    async def measured(self, session_id: str, agent: AgentIdentity, report: Measured) -> None:
        """An agent reported.

        Raises:
            StoreUnavailableError: the store is away; tell it again.
        """
        await self._measures.note(session_id, agent, report, self._prices)

    async def over(self, session_id: str) -> None:
        """An agent is gone: its call's length and cost are counted, unless another agent goes on with it.

        Raises:
            StoreUnavailableError: the store is away; tell it again.
        """
        await self._measures.settle([session_id])
