"""Start a program once Redis takes a write: ``python -m orchestrator.cli.await_redis PROGRAM ARGUMENT…``.

Celery's worker and beat end at once where Redis answers and takes no writes: it is out of memory, or a replica. A
program that keeps ending at its start is given up by supervisord, and everything is then ended, calls included. So both
are started through this, named in ``supervisord.conf``: it waits for as long as it takes, and then becomes the program.
"""

from __future__ import annotations

import os
import sys
import time

from orchestrator.cli.redis_server import client_of

DEFAULT_URL = "redis://127.0.0.1:6379/0"
LOOK_S = 0.5
PROBE = "lock:writable"


def main(argv: list[str]) -> None:
    """Wait, then replace this process."""
    told = False
    while (reason := why_not(os.environ.get("REDIS_URL") or DEFAULT_URL)) is not None:
        if not told:
            sys.stdout.write(f"greenroom: {argv[0]} waits for Redis: {reason}\n")
            sys.stdout.flush()
            told = True
        time.sleep(LOOK_S)
    os.execvp(argv[0], argv)  # noqa: S606 - what supervisord.conf names


def why_not(url: str) -> str | None:
    """Why Redis takes no write; None when it does, or when the address is none: the program says that better."""
    import redis

    try:
        with client_of(url, socket_timeout=2, socket_connect_timeout=2, retry=None) as client:
            client.set(PROBE, "1", px=1000)
    except redis.AuthenticationError:
        return None
    except (redis.RedisError, OSError) as error:
        return str(error)[:200] or type(error).__name__
    except ValueError:
        return None
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
