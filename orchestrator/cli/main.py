"""The ``greenroom`` command.

A command's module is imported when that command is used and not before, so that ``--help`` is quick and a
broken corner of one command leaves the others alone. Register a command with one line in ``COMMANDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from orchestrator.cli.console import CommandError, fail

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module:function, what `greenroom --help` says)
    "run": ("orchestrator.cli.run:run", "Start everything on this machine; Ctrl-C ends it."),
    "serve": ("orchestrator.cli.serve:serve", "Run some programs of a container: api, worker, beat, host, all."),
    "healthy": ("orchestrator.cli.healthy:healthy", "Tell whether this container's programs are well."),
    "talk": ("orchestrator.cli.talk:talk", "Talk with an agent, aloud or in the chat, and measure it."),
    "status": ("orchestrator.cli.pool_commands:status", "Show the pool, the hosts and the newest sessions."),
    "resize": ("orchestrator.cli.pool_commands:resize", "Set how many agents wait in the pool."),
    "end": ("orchestrator.cli.pool_commands:end", "End a session and its agent."),
    "logs": ("orchestrator.cli.pool_commands:logs", "Print the newest lines of a session's agent."),
    "drain": ("orchestrator.cli.host_commands:drain", "Take a host out of service without ending a call."),
    "undrain": ("orchestrator.cli.host_commands:undrain", "Put a drained host back."),
    "rollout": (
        "orchestrator.cli.rollout:rollout",
        "Recycle waiting agents after a change of their code or settings.",
    ),
    "doctor": (
        "orchestrator.cli.doctor:doctor",
        "Check what a run needs, and say what to mend.",
    ),
    "fetch-livekit": (
        "orchestrator.cli.livekit_server:fetch_livekit",
        "Build livekit-server once.",
    ),
}


class _LazyCommand(TyperCommand):
    """Stands for a command in the list; becomes the real one when it is called."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name=name, callback=None, help=summary)
        self._target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return _load(self.name or "", self._target).make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    """The commands of ``COMMANDS``, and their errors as one clear line."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in COMMANDS:
            return None
        target, summary = COMMANDS[cmd_name]
        return _LazyCommand(cmd_name, target, summary)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            fail(str(error))
            raise typer.Exit(1) from None


def _load(name: str, target: str) -> TyperCommand:
    module, _, attribute = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(function)
    command = typer.main.get_command(single)
    assert isinstance(command, TyperCommand)  # noqa: S101 - one function makes one command
    return command


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keeps voice agents started and waiting in their rooms, and hands one out in milliseconds.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"greenroom {metadata.version('greenroom')}")
        raise typer.Exit


@app.callback()
def greenroom(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Keep voice agents started and waiting in their rooms, and hand one out in milliseconds."""


if __name__ == "__main__":
    app()
