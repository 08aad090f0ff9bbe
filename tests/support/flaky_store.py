"""A database of frames and diagnoses in memory that fails in every way that a real one does."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from gnn_service.core.errors import DatabaseUnavailableError, InvalidInputError, QueryTimeoutError
from gnn_service.db.diagnoses import Given
from gnn_service.db.events import Events, Operation
from gnn_service.db.frame_writing import Stored
from gnn_service.db.frames import FrameBlock

START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000


def block(ticks: Sequence[int], value: float, *, machine: int = 1, group: int = 1, layout: int = 1) -> FrameBlock:
    """Frames of two sensors at these seconds, one with this value, one missing."""
    values = np.full((len(ticks), 2), np.nan, np.float32)
    values[:, 0] = value
    return FrameBlock(machine, group, layout, START_US + np.asarray(ticks, np.int64) * SECOND_US, values)


class FlakyStore:
    """Merges as the database does: of two values of one tick the later one that is present counts.

    ``mode``: `up`; `down` refuses at once; `lost` writes and then fails, as when the reply is lost; `half` writes the
    first block and fails; `hung` never answers.
    """

    def __init__(self) -> None:
        self.mode = "up"
        self.frames: dict[tuple[int, int, int], np.ndarray] = {}
        self.writes: list[tuple[int, int, float]] = []  # machine, tick and first value, as they came
        self.calls = 0
        self.delay_s = 0.0
        self.poison: float | None = None
        self.released = asyncio.Event()
        self.events = FlakyEvents(self)
        self.diagnoses = FlakyDiagnoses(self)

    async def fail(self) -> None:
        """What every kind of write does first."""
        self.calls += 1
        if self.mode == "down":
            raise DatabaseUnavailableError("the database is away")
        if self.mode == "hung":
            await self.released.wait()
            raise QueryTimeoutError("too slow")

    def reply(self) -> None:
        if self.mode in {"lost", "half"}:
            raise DatabaseUnavailableError("the reply was lost")

    async def store(self, blocks: Sequence[FrameBlock]) -> tuple[Stored, ...]:
        await self.fail()
        if any(self.poison is not None and (b.values == self.poison).any() for b in blocks):
            raise InvalidInputError("this is no frame")
        await asyncio.sleep(self.delay_s)
        # the order within one call is the database's own
        ordered = sorted(blocks, key=lambda b: (b.machine_id, b.rate_group, b.times[0]))
        for done, one in enumerate(ordered):
            if done and self.mode == "half":
                raise DatabaseUnavailableError("broke off")
            self._write(one)
        self.reply()
        return tuple(Stored(stored=len(one)) for one in blocks)

    def _write(self, one: FrameBlock) -> None:
        for time, values in zip(one.times, one.values, strict=True):
            tick = (int(time) - START_US) // SECOND_US
            old = self.frames.get((one.machine_id, one.rate_group, tick))
            self.frames[one.machine_id, one.rate_group, tick] = (
                values if old is None else np.where(np.isnan(values), old, values)
            )
            self.writes.append((one.machine_id, tick, float(values[0])))

    def values(self, machine: int = 1, group: int = 1) -> dict[int, float]:
        """The first sensor's value at every tick."""
        return {k[2]: float(v[0]) for k, v in sorted(self.frames.items()) if k[:2] == (machine, group)}


class FlakyEvents:
    """The single values and operation of a `FlakyStore`."""

    def __init__(self, database: FlakyStore) -> None:
        self.database = database
        self.values: dict[tuple[int, int, int], float] = {}
        self.cycles: dict[tuple[int, int], int | None] = {}

    async def store(self, events: Events) -> Stored:
        await self.database.fail()
        for time, value in zip(events.times.tolist(), events.values.tolist(), strict=True):
            self.values[events.machine_id, events.sensor_id, time] = value
        self.database.reply()
        return Stored(stored=len(events.times))

    async def store_operation(self, machine_id: int, operation: Operation) -> int:
        await self.database.fail()
        for place, time in enumerate(operation.times.tolist()):
            self.cycles[machine_id, time] = operation.cycle[place] if operation.cycle else None
        self.database.reply()
        return len(operation.times)


class FlakyDiagnoses:
    """The diagnoses of a `FlakyStore`."""

    def __init__(self, database: FlakyStore) -> None:
        self.database = database
        self.given: dict[tuple[Any, ...], Given] = {}

    async def store(self, given: Sequence[Given]) -> Stored:
        await self.database.fail()
        self.given |= {one.key: one for one in given}
        self.database.reply()
        return Stored(stored=len(given))
