"""One zygote for each kind of agent that this host serves. Each is started, watched and started again by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

import structlog

from contract.keys import DEFAULT_KIND
from contract.masking import secrets_in
from contract.messages import Fork, Forked
from orchestrator.host.zygote import Successor, Zygote, ZygoteCommand, ZygoteUnavailableError

log = structlog.get_logger("greenroom.host")


class KindUnknownError(ZygoteUnavailableError):
    """This host does not serve that kind of agent."""

    code = "kind_not_served"


class Zygotes:
    """The zygotes of one host, by kind of agent."""

    def __init__(
        self,
        commands: Mapping[str, ZygoteCommand],
        on_exit: Callable[[int, int], None],
        on_ready: Callable[[], object],
    ) -> None:
        self._on_exit = on_exit
        self._on_ready = on_ready
        self._commands = dict(commands)
        self.secrets = _secrets(commands)
        """All that agents of this daemon were given: those of an earlier rollout may still write them."""
        self._zygotes = {kind: self._made(command) for kind, command in commands.items()}
        self._group: asyncio.TaskGroup | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds of agents that are served."""
        return list(self._zygotes)

    @property
    def statuses(self) -> dict[str, str]:
        """Of each kind's: ``starting``, ``ready`` or ``failed: why``."""
        return {kind: zygote.status for kind, zygote in self._zygotes.items()}

    @property
    def generations(self) -> dict[str, str]:
        """Of each kind's process that is or was last ready."""
        return {kind: zygote.generation for kind, zygote in self._zygotes.items() if zygote.generation}

    @property
    def status(self) -> str:
        """All in one: ``ready`` when each is, else what is wrong, with the kind's name where there are several."""
        wrong = {kind: status for kind, status in self.statuses.items() if status != "ready"}
        if len(self._zygotes) == 1:
            return next(iter(wrong.values()), "ready")
        return "; ".join(f"{kind} {status}" for kind, status in wrong.items()) or "ready"

    def memory_mb(self, kind: str) -> int | None:
        """What one agent of this kind may use; None for one that is not served any more."""
        command = self._commands.get(kind)
        return None if command is None else command.memory_mb

    async def run(self) -> None:
        """Keep all of them running until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for zygote in self._zygotes.values():
                group.create_task(zygote.run())

    async def fork(self, request: Fork, timeout_s: float) -> tuple[Forked, str]:
        """Have an agent forked by its kind's zygote; as ``Zygote.fork``.

        Raises:
            ZygoteUnavailableError: it is not ready in time, or died, or there is none for this kind.
        """
        kind = request.kind or DEFAULT_KIND
        zygote = self._zygotes.get(kind)
        if zygote is None:
            raise KindUnknownError(f"this host serves no agents of the kind {kind} (see AGENT_FILTER)")
        limits = request.limits.model_copy(update={"memory_mb": self._commands[kind].memory_mb})
        return await zygote.fork(request.model_copy(update={"limits": limits}), timeout_s)

    async def renew(self, commands: Mapping[str, ZygoteCommand], timeout_s: float) -> None:
        """Load every kind anew, and those that are new here; then have these fork.

        A kind whose zygote had failed before is only tried again: it has nothing that could be lost, and does not keep
        the others from their new code.

        Raises:
            ZygoteUnavailableError: one could not be loaded. All go on with what they have, and no kind is added.
        """
        self.secrets |= _secrets(commands)
        loaded = await asyncio.gather(*(self._load(command, timeout_s) for command in commands.values()))
        results = dict(zip(commands, loaded, strict=True))
        failed = {kind: result for kind, result in results.items() if isinstance(result, ZygoteUnavailableError)}
        ready = {kind: result for kind, result in results.items() if isinstance(result, Successor)}
        if failed and not (ready and all(map(self._had_failed, failed))):
            for successor in ready.values():
                successor.close()
            raise ZygoteUnavailableError(_words(failed, several=len(commands) > 1))
        for kind, failure in failed.items():
            log.warning("a kind of agent still cannot be loaded", kind=kind, reason=str(failure))
        await asyncio.gather(*(self._hand_over(kind, commands[kind], successor) for kind, successor in ready.items()))

    def _had_failed(self, kind: str) -> bool:
        return kind in self._zygotes and self._zygotes[kind].status.startswith("failed")

    async def _load(self, command: ZygoteCommand, timeout_s: float) -> Successor | ZygoteUnavailableError:
        try:
            return await Successor.load(command, timeout_s)
        except ZygoteUnavailableError as error:
            return error

    async def _hand_over(self, kind: str, command: ZygoteCommand, successor: Successor) -> None:
        self._commands[kind] = command
        if kind in self._zygotes:
            await self._zygotes[kind].take_over(successor)
            return
        zygote = self._zygotes[kind] = self._made(command)
        await zygote.take_over(successor)
        if self._group is not None:
            self._group.create_task(zygote.run())

    def _made(self, command: ZygoteCommand) -> Zygote:
        return Zygote(command, self._on_exit, self._on_ready)


def _words(failed: Mapping[str, ZygoteUnavailableError], *, several: bool) -> str:
    return "; ".join(f"{kind}: {failure}" if several else str(failure) for kind, failure in failed.items())


def _secrets(commands: Mapping[str, ZygoteCommand]) -> set[str]:
    return {secret for command in commands.values() for secret in secrets_in(command.environment)}


def of_kinds(zygotes: Zygotes) -> dict[str, str]:
    """What a heartbeat says of the kinds of agents."""
    statuses = zygotes.statuses
    others = ((kind, named) for kind, named in zygotes.generations.items() if kind != DEFAULT_KIND)
    loading = [kind for kind, status in statuses.items() if status == "starting"]
    return {
        "kinds": ",".join(statuses),
        "loading_kinds": ",".join(loading) if len(statuses) > 1 else "",
        "ready_kinds": ",".join(kind for kind, status in statuses.items() if status == "ready"),
        "zygotes": json.dumps(statuses),
        "generations": ",".join(f"{kind}:{named}" for kind, named in others),
    }
