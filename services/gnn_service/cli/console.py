"""What the commands print with: tables for people, JSON for programs, progress only where a person watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class _Console(Console):
    """rich ends the process with 1 when its reader leaves; here the application decides."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


out = _Console(highlight=False)
PIPE_WIDTH = 132
"""Columns of a table that nobody watches being drawn."""


def print_table(table: RenderableType) -> None:
    """A table as wide as the terminal, or wide enough for all of it in a pipe."""
    shown = out if out.is_terminal else _Console(highlight=False, width=PIPE_WIDTH)
    shown.print(table)


err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout; NumPy arrays and scalars are taken as they are."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    typer.echo(orjson.dumps(value, option=options), nl=False)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress display on stderr, and nothing at all when stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    if shown.disable:
        yield shown  # not entered: before rich 14.3 that printed an empty line
        return
    with shown:
        yield shown
