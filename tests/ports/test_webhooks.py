"""Which webhooks were acted on, over each Redis."""

from __future__ import annotations

from contract import keys
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_webhooks import KEEP_S, RedisWebhooks


async def test_one_is_new_until_it_was_acted_on(client: Client) -> None:
    events = RedisWebhooks(client)
    assert await events.is_new("EV_1")
    await events.acted_on("EV_1")
    assert not await events.is_new("EV_1")
    assert await events.is_new("EV_2")


async def test_those_whose_signature_is_no_longer_good_are_let_go(client: Client) -> None:
    events = RedisWebhooks(client)
    await events.acted_on("EV_1")
    await client.zincrby(keys.WEBHOOKS, -KEEP_S - 1, "EV_1")
    await events.acted_on("EV_2")
    assert await client.zrange(keys.WEBHOOKS, 0, -1) == ["EV_2"]
