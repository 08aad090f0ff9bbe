"""`gnn-service bench store`: frames written and read, beside what bounds them."""

import asyncio
import signal
from typing import TYPE_CHECKING

import typer
from rich.table import Column, Table

from gnn_service.cli.console import out, print_json, print_table, progress

if TYPE_CHECKING:
    from gnn_service.bench.serve_report import Grid
    from gnn_service.bench.store import StoreBench


def store(
    readings: list[int] = typer.Option(
        None,
        "--readings",
        min=100_000,
        max=1_000_000_000,
        help="Readings stored when windows are read; again for more.",
        show_default="1 and 10 million",
    ),
    frames: list[int] = typer.Option(
        None,
        "--frames",
        min=1,
        max=50_000,
        help="Frames in one write; again for more.",
        show_default="1, 50, 1000, 20000",
    ),
    windows: int = typer.Option(400, "--windows", min=20, max=100_000, help="Windows read at each number of readings."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print the tables as Markdown."),
) -> None:
    """Frames through the repository beside a bare COPY, windows, bytes and a year of history, in a store of its own.

    It is made for this and removed afterwards: on an embedded server of its own, beside where the service keeps its
    data, or where GNN_DATABASE__URL is set as a new database on that server. Ratios carry from computer to computer;
    readings a second and milliseconds belong to this one. 50 million readings need about 1 GB of disk.
    """
    if as_json and as_markdown:
        raise typer.BadParameter("one at a time: --json or --markdown", param_hint="--json")
    from gnn_service.bench.serve_report import markdown
    from gnn_service.bench.store_report import store_document, store_grids

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was made must go with this
    measured = _measure(readings, frames, windows)
    if as_json:
        print_json(store_document(measured))
    elif as_markdown:
        typer.echo(markdown(store_grids(measured)))
    else:
        for grid in store_grids(measured):
            _print(grid)


def _measure(readings: list[int] | None, frames: list[int] | None, windows: int) -> "StoreBench":
    from gnn_service.bench.store import FILLS, LOTS, bench_store, steps
    from gnn_service.core.config import load_settings

    lots, fills = tuple(frames or LOTS), tuple(readings or FILLS)
    with progress() as shown:
        task = shown.add_task("starting", total=steps(lots, fills))
        done = -1

        def on_step(what: str) -> None:
            nonlocal done
            done += 1
            shown.update(task, description=what, completed=done)

        settings = load_settings().database
        return asyncio.run(bench_store(settings, lots=lots, fills=fills, windows=windows, on_step=on_step))


def _print(grid: "Grid") -> None:
    if not grid.rows:
        return
    table = Table(*(Column(name, justify="right") for name in grid.columns), box=None)
    for row in grid.rows:
        table.add_row(*row)
    print_table(table)
    for note in grid.notes:
        out.print(note, soft_wrap=True, markup=False)
    out.print()
