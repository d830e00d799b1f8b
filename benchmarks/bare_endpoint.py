"""What Greenroom's start is held against: FastAPI, one Redis command, nothing else."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from redis import asyncio as redis


def create_app() -> FastAPI:
    """One endpoint that pops a set."""
    app = FastAPI()
    # A pool that has its callers wait, as Greenroom's: the default one fails them when a moment brings too many.
    pool = redis.BlockingConnectionPool.from_url(os.environ["REDIS_URL"], decode_responses=True)
    client = redis.Redis.from_pool(pool)

    @app.post("/claim")
    async def claim(body: dict[str, Any]) -> dict[str, Any]:
        """Take one member."""
        return {"success": True, "status": "ready", "sessionId": await client.spop("bare"), "user": body["userId"]}

    return app
