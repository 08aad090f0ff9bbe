"""Years of readings in and out: recordings on the disk, brought in by COPY and taken out part by part.

Both may be cut off anywhere and begun again: an import goes on behind the last rows that it noted, an export keeps the
parts that are whole. Each part is a recording of its own, which every other command takes.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import ConflictError, InvalidInputError, UnknownMachineError
from gnn_service.db.events import EventRepository, Operation
from gnn_service.db.frame_writing import Stored
from gnn_service.db.machines import StoredMachine
from gnn_service.db.place import place
from gnn_service.db.repository import instant, microseconds
from gnn_service.db.store import Store
from gnn_service.db.transfers import TransferRepository
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.recordings.machine_file import read_machine
from gnn_service.recordings.staging import staged_folder, writing_to
from gnn_service.recordings.streaming import ReadingsFile, readings_writer

SOURCE: Final = "gnn-service db export"
LOT_VALUES: Final = 2_000_000
"""Values that are read, stored and noted together."""

Progress = Callable[[str, int, int], object]
"""Hears what is under way, how much of it is done, and of how much."""


class Every(StrEnum):
    """How long a part of an export is."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a recording: its frames, and rows that an earlier import had brought in already."""

    recording: str
    machine: str
    rows: int
    skipped: int
    frames: Stored
    first_us: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export; ``written`` is False where it lay there already."""

    recording: str
    machine: str
    rows: int
    written: bool


@asynccontextmanager
async def command_store(settings: DatabaseSettings, *, make: bool = True) -> AsyncIterator[Store]:
    """The store for a command: that of the service that runs, if one does; ``make``: also one that is not there yet.

    Raises:
        DatabaseRefusedError: the server cannot be used, or there is no database.
    """
    async with AsyncExitStack() as opened:
        if settings.url is None:
            here = await opened.enter_async_context(place(settings, make=make))
            settings = settings.model_copy(update={"url": here.owner, "owner_url": here.owner})
        yield await opened.enter_async_context(Store.open(settings))


# ---- in ----------------------------------------------------------------------------------------------


async def import_recording(
    store: Store,
    folder: Path,
    *,
    name: str | None = None,
    update: bool = False,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Bring the readings of a recording in, and its machine where it is not there yet.

    Args:
        store: where to.
        folder: the recording.
        name: id of the machine that they become readings of; None takes the recording's own.
        update: give a machine that is described differently the recording's description.
        progress: hears of rows.

    Raises:
        ConflictError: the machine is described differently, in a way that these readings do not fit.
        InvalidRecordingError: the recording is not whole, or contradicts itself; what came before that is stored.
    """
    machine = read_machine(folder / "machine.json")
    if name is not None:
        machine = Machine.model_validate(machine.model_dump() | {"id": name})
    file = ReadingsFile(folder)
    stored = await _machine_for(store, machine, file.columns, update=update)
    transfers, events = TransferRepository(store.database), store.events
    source, frames, first_us = file.digest, Stored(), None
    done = skipped = min(await transfers.rows(stored.machine_id, source), file.rows)
    progress(folder.name, done, file.rows)
    lot = max(1, LOT_VALUES // max(1, len(machine.sensors)))
    for readings in file.read(machine, first=done, rows=lot):
        blocks = stored.blocks(readings.times, readings.sensors, readings.values)
        for counts in await store.readings.store(blocks):
            frames += counts
        if frames.refused:
            raise UnknownMachineError(f"machine {machine.id} was deleted meanwhile", where=str(folder))
        if (operation := _operation(readings)) is not None:
            await events.store_operation(stored.machine_id, operation)
        first_us = int(readings.times[0]) if first_us is None else first_us
        done += len(readings.times)
        await transfers.keep(stored.machine_id, source, done)
        progress(folder.name, done, file.rows)
    return Imported(str(folder), machine.id, done - skipped, skipped, frames, first_us)


async def _machine_for(store: Store, machine: Machine, columns: Sequence[str], *, update: bool) -> StoredMachine:
    try:
        stored = await store.machines.get(machine.id)
    except UnknownMachineError:
        return (await store.machines.put(machine)).stored
    if stored.machine.fingerprint == machine.fingerprint:
        return stored
    if update:
        return (await store.machines.put(machine)).stored
    there = {sensor.id: sensor.unit for sensor in stored.machine.sensors}
    strange = [s.id for s in machine.sensors if s.id in columns and there.get(s.id) != s.unit]
    if strange:
        detail = f"machine {machine.id} is described differently: sensor {strange[0]} is not there, or in another unit"
        raise ConflictError(f"{detail}; --update takes the recording's description, --machine another id")
    return stored


def _operation(readings: Readings) -> Operation | None:
    if readings.phase is None and readings.operating_state is None and readings.cycle is None:
        return None
    return Operation(
        readings.times,
        None if readings.cycle is None else readings.cycle.tolist(),
        _texts(readings.phase),
        _texts(readings.operating_state),
    )


def _texts(column: NDArray[np.str_] | None) -> list[str | None] | None:
    return None if column is None else [text or None for text in column.tolist()]


# ---- out ---------------------------------------------------------------------------------------------


async def export_machine(
    store: Store,
    machine_id: str,
    out: Path,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    every: Every = Every.MONTH,
    progress: Progress = lambda *_: None,
) -> tuple[Part, ...]:
    """Take the readings of a machine's present sensors out, as recordings ``out``/MACHINE_TIME, one a part.

    A part that an export has written for the same time and description is left as it is.

    Raises:
        UnknownMachineError: there is no such machine.
        InvalidInputError: a folder cannot be written, or something else stands in its place.
    """
    stored = await store.machines.get(machine_id)
    span = await store.readings.span(stored)
    if span is None:
        return ()
    begin = span[0] if from_us is None else max(from_us, span[0])
    end = span[1] + 1 if to_us is None else min(to_us, span[1] + 1)
    cuts = list(_cuts(begin, end, every, open_start=from_us is None))
    parts = []
    for done, (label, start, stop) in enumerate(cuts):
        progress(machine_id, done, len(cuts))
        target = out / (f"{machine_id}_{label}" if label else machine_id)
        part = await _export_part(store, stored, target, start, stop)
        if part is not None:
            parts.append(part)
    progress(machine_id, len(cuts), len(cuts))
    return tuple(parts)


async def _export_part(store: Store, stored: StoredMachine, target: Path, start: int, stop: int) -> Part | None:
    """One part, whole or not at all; None where nothing was read in its time."""
    events = store.events
    info = {
        "source": SOURCE,
        "from": instant(start).isoformat(),
        "to": instant(stop).isoformat(),
        "machine": stored.machine.fingerprint,
    }
    before = _info(target)
    if before is not None and {key: before.get(key) for key in info} == info:
        return Part(str(target), stored.machine.id, int(before["rows"]), written=False)
    chunks = store.readings.read(stored, start, stop)
    chunk = await anext(chunks, None)
    if chunk is None:
        return None
    known = await events.known(stored.machine_id, int(chunk.times[0]), stop)
    ours = before is not None and before.get("source") == SOURCE
    with staged_folder(target, overwrite=ours) as folder, writing_to(target):
        with readings_writer(folder) as writer:
            while chunk is not None:
                writer.write(await _with_operation(events, stored, chunk, known))
                chunk = await anext(chunks, None)
        (folder / "recording.json").write_text(json.dumps(info | {"rows": writer.rows}, indent=2) + "\n", "utf-8")
        machine = stored.machine.model_dump(mode="json", exclude_none=True)
        (folder / "machine.json").write_text(json.dumps(machine, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return Part(str(target), stored.machine.id, writer.rows, written=True)


async def _with_operation(
    events: EventRepository, stored: StoredMachine, readings: Readings, known: frozenset[str]
) -> Readings:
    """Readings with what the machine was doing at each of their times."""
    if not known:
        return readings
    doing = await events.operation(stored.machine_id, int(readings.times[0]), int(readings.times[-1]) + 1)
    place = np.searchsorted(doing.times, readings.times, side="right") - 1

    def column(name: str) -> list[Any] | None:
        values = [*(getattr(doing, name) or ()), None]  # -1 is before the first
        return [values[at] for at in place.tolist()] if name in known else None

    cycle, phase, state = column("cycle"), column("phase"), column("operating_state")
    return replace(
        readings,
        cycle=None if cycle is None else np.array(cycle, np.int64),
        phase=None if phase is None else np.array([text or "" for text in phase], np.str_),
        operating_state=None if state is None else np.array([text or "" for text in state], np.str_),
    )


def _info(target: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((target / "recording.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot be read: {error}", where=str(target / "recording.json")) from error
    return found if isinstance(found, dict) else None


def _cuts(begin: int, end: int, every: Every, *, open_start: bool) -> Iterator[tuple[str, int, int]]:
    """Label, begin and end of each part of [begin, end); parts end where days, months or years do, in UTC."""
    if every is Every.ALL:
        yield "", begin, end
        return
    while begin < end:
        first, following = _bounds(instant(begin), every)
        # without a begin of the caller's own a part has its whole time, so that late readings find it again
        yield first.strftime(_LABELS[every]), microseconds(first) if open_start else begin, min(following, end)
        begin = following


def _bounds(at: datetime, every: Every) -> tuple[datetime, int]:
    """The begin of the day, month or year of a time, and the end of it in microseconds."""
    if every is Every.DAY:
        first = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return first, microseconds(first) + _DAY_US
    months = 12 if every is Every.YEAR else 1
    first = datetime(at.year, at.month if months == 1 else 1, 1, tzinfo=UTC)
    month = first.month - 1 + months
    return first, microseconds(datetime(first.year + month // 12, month % 12 + 1, 1, tzinfo=UTC))


_DAY_US: Final = 86_400_000_000
_LABELS: Final = {Every.DAY: "%Y-%m-%d", Every.MONTH: "%Y-%m", Every.YEAR: "%Y"}
