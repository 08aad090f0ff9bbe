"""`gnn-service db import` and `db export`: years of readings in and out, as recordings."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_service.cli.console import err, out, print_json, progress
from gnn_service.core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gnn_service.core.config_database import DatabaseSettings
    from gnn_service.db.transfer import Every, Imported, Part

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_EVERY = ("day", "month", "year", "all")


def import_readings(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings, or folders of recordings.")],
    machine: Annotated[
        str | None, typer.Option("--machine", help="Id of the machine that they become readings of; else their own.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Give a machine that is described differently their description.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Bring recordings into the database: Parquet or CSV, in bounded memory, years if need be.

    Readings that are there already stay, and missing ones are added to them. An import that was cut off goes on where
    it was when it is begun again. A running service rolls up what came in within minutes.
    """
    from gnn_service.core.config import load_settings

    settings = load_settings().database
    with _counting() as shown:
        found = asyncio.run(_import(settings, recordings, machine, update, shown))
    if as_json:
        print_json({"recordings": [asdict(one) for one in found]})
    else:
        for one in found:
            out.print(_imported(one), soft_wrap=True, markup=False)
    _tell_of_retention(settings, found)


def export_readings(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder that the recordings are written into.")],
    machines: Annotated[list[str] | None, typer.Argument(help="Ids of machines; none takes all.")] = None,
    start: Annotated[datetime | None, typer.Option("--from", formats=_TIMES, help="Begin, UTC.")] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=_TIMES, help="End, UTC, not included.")] = None,
    every: Annotated[str, typer.Option("--every", help="Length of a recording: day, month, year or all.")] = "month",
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Take readings out of the database as recordings, which train, evaluate, diagnose and import take.

    Each is a folder of its own, MACHINE_2026-01, written whole or not at all; those that are there already from an
    export of the same time are left, so that an export that was cut off goes on where it was. Sensors that the machine
    no longer has are left out.
    """
    from gnn_service.core.config import load_settings
    from gnn_service.db.transfer import Every

    if every not in _EVERY:
        raise typer.BadParameter(f"must be one of {', '.join(_EVERY)}", param_hint="--every")
    bounds = (_microseconds(start, "--from"), _microseconds(end, "--to"))
    with _counting() as shown:
        parts = asyncio.run(_export(load_settings().database, out_dir, machines or (), bounds, Every(every), shown))
    if as_json:
        print_json({"recordings": [asdict(part) for part in parts]})
        return
    for part in parts:
        done = "" if part.written else ", there already"
        out.print(f"{part.recording}: {part.rows} rows{done}", soft_wrap=True, markup=False)
    if not parts:
        out.print("nothing was read in that time")


async def _import(
    settings: "DatabaseSettings",
    recordings: Sequence[Path],
    machine: str | None,
    update: bool,
    shown: Callable[[str, int, int], None],
) -> "list[Imported]":
    from gnn_service.db.transfer import command_store, import_recording
    from gnn_service.recordings.folder import recording_folders

    folders = recording_folders(recordings)
    async with command_store(settings) as store:
        return [
            await import_recording(store, folder, name=machine, update=update, progress=shown) for folder in folders
        ]


async def _export(
    settings: "DatabaseSettings",
    out_dir: Path,
    machines: Sequence[str],
    bounds: tuple[int | None, int | None],
    every: "Every",
    shown: Callable[[str, int, int], None],
) -> "list[Part]":
    from gnn_service.db.transfer import command_store, export_machine

    parts: list[Part] = []
    async with command_store(settings, make=False) as store:
        names = list(machines) or [name async for name in store.machines.names()]
        for name in names:
            parts += await export_machine(
                store, name, out_dir, from_us=bounds[0], to_us=bounds[1], every=every, progress=shown
            )
    return parts


@contextmanager
def _counting() -> "Iterator[Callable[[str, int, int], None]]":
    """A progress bar a recording or machine."""
    with progress() as shown:
        tasks: dict[str, Any] = {}

        def count(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done, total=total)

        yield count


def _imported(one: "Imported") -> str:
    frames = one.frames
    skipped = f", {one.skipped} rows were there from before" if one.skipped else ""
    return (
        f"{one.recording}: {one.rows} rows into {one.machine}: {frames.stored} frames new, {frames.merged} completed,"
        f" {frames.unchanged} known{skipped}"
    )


def _tell_of_retention(settings: "DatabaseSettings", found: "Sequence[Imported]") -> None:
    """Say so where what came in is older than the service keeps."""
    days = settings.upkeep.frames_days
    begins = [one.first_us for one in found if one.first_us is not None]
    if days is None or not begins:
        return
    oldest = datetime.fromtimestamp(min(begins) / 1e6, UTC)
    if oldest < datetime.now(UTC) - timedelta(days=days):
        err.print(
            f"readings from {oldest:%Y-%m-%d} are older than {days} days: a running service keeps their roll-ups alone;"
            " set GNN_DATABASE__UPKEEP__FRAMES_DAYS to keep them",
            soft_wrap=True,
            markup=False,
        )


def _microseconds(time: datetime | None, option: str) -> int | None:
    if time is None:
        return None
    seconds = int(time.replace(tzinfo=UTC).timestamp())
    if not 0 <= seconds < 7_258_118_400:
        raise InvalidInputError("times lie between 1970 and 2200", where=option)
    return seconds * 1_000_000
