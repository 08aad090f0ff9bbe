"""The store against its own bounds: frames written beside a bare COPY, windows read, bytes, commits and history.

Ratios (repository over COPY, window at many readings over few) carry from computer to computer; rates and
milliseconds belong to this one, and what bounds them is measured in the same run.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.db.frames import FrameBlock
from gnn_service.db.machines import StoredMachine
from gnn_service.db.scratch import Scratch, scratch_store
from gnn_service.domain.machine import Component, Machine, Sensor, Span

MACHINES, SENSORS, TICKS = 10, 40, 128
LOTS: Final = (1, 50, 1000, 20_000)
"""Frames in one write: one reading in time, a group commit of a fleet, a minute of many, a back-fill."""
FILLS: Final = (1_000_000, 10_000_000)
START_US: Final = 1_767_225_600_000_000  # 2026-01-01
_SECOND: Final = 1_000_000
_WINDOWS = 400
_LOT_READINGS, _LOT_ROUNDS = 2_000_000, 5
_SMALL_ROUNDS = 40
_FILL_TICKS = 500  # of every machine in a COPY
_DISK_BYTES = 2**27
_YEAR_HOURS = 8760

OnStep = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Spread:
    """Times of something done again and again, in milliseconds."""

    p50_ms: float
    p99_ms: float
    times: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """The middle and the slowest hundredth of some durations."""
        p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
        return cls(float(p50), float(p99), len(seconds))


@dataclass(frozen=True, slots=True)
class Lot:
    """Writes of ``frames`` at a time, repository and bare COPY in turns."""

    frames: int
    repository_per_s: float
    copy_per_s: float
    write: Spread

    @property
    def ratio(self) -> float:
        """Readings a second through the repository over those of the bare COPY."""
        return self.repository_per_s / self.copy_per_s


@dataclass(frozen=True, slots=True)
class Fill:
    """The newest ticks of a machine at a random time, with so many readings stored."""

    readings: int
    window: Spread
    bytes_per_reading: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no store on this computer can beat. The disk is known where the server is embedded."""

    round_trip: Spread
    window_copy_ms: float
    sync_ms: float | None = None
    disk_mb_per_s: float | None = None

    def readings_per_s(self, bytes_per_reading: float) -> float | None:
        """Readings a second that the disk takes: each is written twice, to the log and to its place."""
        return None if self.disk_mb_per_s is None else self.disk_mb_per_s * 1e6 / (2 * bytes_per_reading)


@dataclass(frozen=True, slots=True)
class StoreBench:
    """All of it. ``history`` is a year of hours of one sensor and of eight, None where the server keeps roll-ups."""

    server: str
    sensors: int
    lots: tuple[Lot, ...]
    fills: tuple[Fill, ...]
    bounds: Bounds
    history: dict[int, Spread] = field(default_factory=dict)


def steps(lots: Sequence[int] = LOTS, fills: Sequence[int] = FILLS) -> int:
    """How many steps `bench_store` tells of."""
    return len(lots) + len(fills) + 2


async def bench_store(
    settings: DatabaseSettings,
    *,
    lots: Sequence[int] = LOTS,
    fills: Sequence[int] = FILLS,
    windows: int = _WINDOWS,
    on_step: OnStep = lambda _: None,
) -> StoreBench:
    """Measure a store of its own, made for it and removed afterwards.

    Args:
        settings: of the database; an address in them names a server on which a new database can be made.
        lots: frames in one write.
        fills: readings that are stored when windows are read, rising.
        windows: how many of them are read at each fill.
        on_step: hears what is done next, `steps` times.
    """
    async with _made(settings) as (scratch, machines):
        on_step("bounds")
        bounds = await _bounds(scratch, windows)
        filled, ticks, found = [], 0, []
        for readings in sorted(fills):
            on_step(f"windows at {readings / 1e6:g} M readings")
            wanted = -(-readings // (MACHINES * SENSORS))
            await _fill(scratch, machines, ticks, wanted)
            ticks = wanted
            spread = await _windows(scratch, machines, ticks, windows)
            size = await scratch.frame_bytes() / (ticks * MACHINES * SENSORS)
            filled.append(Fill(ticks * MACHINES * SENSORS, spread, size))
        for frames in lots:
            on_step(f"writes of {frames} frames")
            lot, ticks = await _lot(scratch, machines, frames, ticks)
            found.append(lot)
        on_step("a year of history")
        history = await _history(scratch, machines[0], windows // 10)
        server = str(scratch.store.database.capability)
    return StoreBench(server, SENSORS, tuple(found), tuple(filled), bounds, history)


@asynccontextmanager
async def _made(settings: DatabaseSettings) -> AsyncIterator[tuple[Scratch, list[StoredMachine]]]:
    async with scratch_store(settings) as scratch:
        yield scratch, [(await scratch.store.machines.put(_machine(n))).stored for n in range(MACHINES)]


def _machine(number: int) -> Machine:
    sensors = tuple(
        Sensor(id=f"S{n:02d}", component="pump", quantity="pressure", unit="bar", range=Span(low=0, high=400))
        for n in range(SENSORS)
    )
    return Machine(id=f"bench_{number}", components=(Component(id="pump", type="pump"),), sensors=sensors)


def _values(first: int, count: int) -> NDArray[np.float32]:
    """Readings (count, SENSORS) like those of a converter: a sine with noise, in hundredths."""
    random = np.random.default_rng(first)
    waves = 100 + 10 * np.sin(np.arange(first, first + count)[:, None] / 50 + np.arange(SENSORS))
    return np.round(waves + random.normal(0, 0.4, waves.shape), 2).astype(np.float32)


def _block(machine: StoredMachine, first: int, count: int, values: NDArray[np.float32]) -> FrameBlock:
    layout = machine.groups[0]
    times = START_US + np.arange(first, first + count, dtype=np.int64) * _SECOND
    return FrameBlock(machine.machine_id, layout.rate_group, layout.layout_id, times, values)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _fill(scratch: Scratch, machines: Sequence[StoredMachine], first: int, end: int) -> None:
    """Frames of all machines tick by tick, as a fleet sends them: a window's rows lie apart."""
    for start in range(first, end, _FILL_TICKS):
        count = min(_FILL_TICKS, end - start)
        values = _values(start, count)
        await scratch.copy([_block(machine, start, count, values) for machine in machines], by_time=True)


async def _windows(scratch: Scratch, machines: Sequence[StoredMachine], ticks: int, count: int) -> Spread:
    random = np.random.default_rng(ticks)
    readings, times = scratch.store.readings, []
    for turn in range(-20, count):  # the first ones warm connection and plan up
        machine = machines[int(random.integers(len(machines)))]
        until = START_US + int(random.integers(min(TICKS, ticks - 1), ticks)) * _SECOND
        began = time.perf_counter()
        window = await readings.window(machine, ticks=TICKS, until_us=until)
        if turn >= 0:
            times.append(time.perf_counter() - began)
        if not len(window.times):
            raise RuntimeError("a window is empty")
    return Spread.of(times)


async def _lot(scratch: Scratch, machines: Sequence[StoredMachine], frames: int, ticks: int) -> tuple[Lot, int]:
    """Write lots through the repository and by a bare COPY in turns, at times that are not taken yet."""
    each = -(-frames // len(machines))
    sharing = machines if frames >= len(machines) else machines[:1]
    size = each * len(sharing) * SENSORS
    rounds = max(_LOT_ROUNDS, min(_SMALL_ROUNDS, _LOT_READINGS // size))
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for through in (True, False):
            values = _values(ticks, each)
            blocks = [_block(machine, ticks, each, values) for machine in sharing]
            ticks += each
            if through:
                took = await _timed(lambda blocks=blocks: scratch.store.readings.store(blocks))  # type: ignore[misc]
            else:
                took = await _timed(lambda blocks=blocks: scratch.copy(blocks))  # type: ignore[misc]
            taken[through].append(took)
    # of each the median: a checkpoint in one round must not decide
    through_s, copy_s = (float(np.median(taken[way])) for way in (True, False))
    return Lot(each * len(sharing), size / through_s, size / copy_s, Spread.of(taken[True])), ticks


async def _history(scratch: Scratch, machine: StoredMachine, count: int) -> dict[int, Spread]:
    if scratch.store.database.capability.has_policies:
        return {}
    await scratch.fill_hours(machine.machine_id, machine.groups[0].layout_id, _YEAR_HOURS)
    found = {}
    for sensors in (1, 8):
        tags = machine.machine.sensor_ids[:sensors]
        end = START_US + _YEAR_HOURS * 3600 * _SECOND

        async def ask(tags: tuple[str, ...] = tags, end: int = end) -> None:
            await scratch.store.history.history(machine, tags, START_US, end)

        found[sensors] = Spread.of([await _timed(ask) for _ in range(max(count, 5))])
    return found


async def _bounds(scratch: Scratch, count: int) -> Bounds:
    trips = [await _timed(scratch.round_trip) for _ in range(count)]
    window = np.empty((TICKS, SENSORS), np.float32)
    copies = []
    for _ in range(count):
        began = time.perf_counter()
        window.copy()
        copies.append(time.perf_counter() - began)
    sync_ms, speed = (None, None) if scratch.folder is None else _disk(scratch.folder)
    return Bounds(Spread.of(trips), float(np.median(copies)) * 1e3, sync_ms, speed)


def _disk(folder: Path) -> tuple[float, float]:
    """Milliseconds of a durable write of 8 KiB, and MB/s of a long one."""
    path, page, piece = folder / "disk-probe", os.urandom(8192), os.urandom(2**20)
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        with path.open("wb", buffering=0) as file:
            syncs = []
            for _ in range(50):
                began = time.perf_counter()
                file.write(page)
                sync(file.fileno())
                syncs.append(time.perf_counter() - began)
            began = time.perf_counter()
            for _ in range(_DISK_BYTES // len(piece)):
                file.write(piece)
            sync(file.fileno())
            took = time.perf_counter() - began
    finally:
        path.unlink(missing_ok=True)
    return float(np.median(syncs)) * 1e3, _DISK_BYTES / 1e6 / took
