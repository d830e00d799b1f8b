"""What every command prints with, and the error that ends one with a clear line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.markup import escape

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


class CommandError(Exception):
    """The command cannot go on; the message says what is wrong and what to do."""


def fail(message: str) -> None:
    """Print why a command ends, one line for each thing that is wrong."""
    for line in message.splitlines():
        err.print(f"[bold red]greenroom:[/] {escape(line)}")


def step(message: str) -> None:
    """Print one thing that was done."""
    out.print(f"[green]✓[/] {escape(message)}")
    sys.stdout.flush()  # through a pipe, a long wait otherwise looks like nothing


class Waiting:
    """Shows that something takes long: a spinner on a terminal, a line now and then elsewhere."""

    SILENT_S = 15.0

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = self._said = monotonic()
        self._status = out.status(escape(what)) if out.is_terminal else None

    def update(self, detail: str = "") -> None:
        """Say how it goes."""
        elapsed_s = monotonic() - self._started
        text = f"{self._what}: {elapsed_s:.0f} s{' · ' + detail if detail else ''}"
        if self._status:
            self._status.update(escape(text[: out.width - 4]))
        elif monotonic() - self._said >= self.SILENT_S:
            self._said = monotonic()
            out.print(escape(text))
            sys.stdout.flush()

    @contextmanager
    def shown(self) -> Iterator[Waiting]:
        """Show it until the block ends."""
        if self._status is None:
            out.print(escape(f"{self._what} …"))
            sys.stdout.flush()
            yield self
            return
        with self._status:
            yield self
