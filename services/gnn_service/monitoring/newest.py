"""The newest readings of every machine in memory, so that diagnoses go on while the database is away."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gnn_service.db.events import Operation
from gnn_service.db.frames import FrameBlock
from gnn_service.db.layouts import on_one_grid
from gnn_service.db.machines import StoredMachine
from gnn_service.domain.recording import Readings
from gnn_service.monitoring.order import joined
from gnn_service.monitoring.pieces import Doing, Piece, span_of

_MICROSECONDS: Final = 1_000_000
MOMENTS_MAX: Final = 512
"""Times kept at which a machine began to do something else, at most."""


class _Series:
    """Frames of one rate group in one layout, rising; late ones are merged, the oldest leave."""

    def __init__(self, span_us: int, ticks_max: int) -> None:
        self._span_us = span_us
        self._ticks_max = ticks_max
        self.parts: deque[FrameBlock] = deque()
        self.ticks = 0

    def add(self, block: FrameBlock, *, older: bool) -> None:
        """Take frames in. On ticks that are there the new value wins where it is present; with ``older`` the old."""
        if self.parts and self.parts[-1].layout_id != block.layout_id:
            if older:
                return
            self.parts.clear()  # frames of a former layout are read from the database
        if not self.parts or block.times[0] > self.parts[-1].times[-1]:
            self.parts.append(block)
        else:
            whole = self.whole()
            self.parts = deque([joined([block, whole] if older else [whole, block])])
        self._trim()

    def whole(self) -> FrameBlock:
        """All of it as one block."""
        if len(self.parts) > 1:
            self.parts = deque([joined(tuple(self.parts))])
        return self.parts[0]

    def _trim(self) -> None:
        since = self.parts[-1].times[-1] - self._span_us
        while self.parts[0].times[-1] <= since:
            self.parts.popleft()
        self.ticks = sum(map(len, self.parts))
        if self.ticks > 2 * self._ticks_max or (len(self.parts) == 1 and self.ticks > self._ticks_max):
            self.parts = deque([self.whole().part(slice(-self._ticks_max, None))])
            self.ticks = len(self.parts[0])


@dataclass(frozen=True, slots=True)
class Moment:
    """What a machine does from a time on, as far as it is known."""

    time_us: int
    cycle: int | None = None
    operating_state: str | None = None
    phase: str | None = None

    @property
    def said(self) -> tuple[int | None, str | None, str | None]:
        """What it does."""
        return self.cycle, self.operating_state, self.phase


def _moments(operation: Operation) -> list[Moment]:
    nothing = [None] * len(operation.times)
    columns = (operation.cycle or nothing, operation.operating_state or nothing, operation.phase or nothing)
    return [
        Moment(time, None if cycle is None else int(cycle), state, phase)
        for time, cycle, state, phase in zip(operation.times.tolist(), *columns, strict=True)
    ]


class _Machine:
    """What is known of one machine."""

    def __init__(self) -> None:
        self.groups: dict[int, _Series] = {}
        self.moments: list[Moment] = []  # rising

    def add(self, operation: Operation, *, older: bool) -> None:
        for said in _moments(operation):
            place = bisect_left(self.moments, said.time_us, key=lambda moment: moment.time_us)
            there = place < len(self.moments) and self.moments[place].time_us == said.time_us
            if not (there and older):
                self.moments[place : place + there] = [said]
        del self.moments[:-MOMENTS_MAX]


@dataclass(frozen=True, slots=True)
class NewestStats:
    """Machines with readings in memory, their ticks, and machines that had to leave for others since start."""

    machines: int
    ticks: int
    evicted_total: int


class NewestReadings:
    """Belongs to one event loop.

    Args:
        span_s: seconds of readings kept of a machine, counted from its newest.
        ticks_max: ticks of a rate group kept, at most.
        machines_max: machines kept; the one that was heard of longest ago leaves.
    """

    def __init__(self, *, span_s: float, ticks_max: int, machines_max: int) -> None:
        self._span_us = round(span_s * _MICROSECONDS)
        self._ticks_max = ticks_max
        self._machines_max = machines_max
        self._machines: OrderedDict[int, _Machine] = OrderedDict()
        self._evicted = 0

    def add(self, pieces: Iterable[Piece], *, older: bool = False) -> None:
        """Take frames and operation in, as they are accepted; ``older`` ones, read from the database, only fill gaps.

        Diagnoses and single values are passed over.
        """
        for piece in pieces:
            if not isinstance(piece, FrameBlock | Doing) or span_of(piece) is None:
                continue
            machine = self._machines.setdefault(piece.machine_id, _Machine())
            self._machines.move_to_end(piece.machine_id)
            if isinstance(piece, Doing):
                machine.add(piece.operation, older=older)
            else:
                series = machine.groups.setdefault(piece.rate_group, _Series(self._span_us, self._ticks_max))
                series.add(piece, older=older)
        while len(self._machines) > self._machines_max:
            self._machines.popitem(last=False)
            self._evicted += 1

    def forget(self, machine_id: int) -> None:
        """The machine is gone, or its sensors have changed."""
        self._machines.pop(machine_id, None)

    def until_us(self, machine_id: int) -> int | None:
        """Time of the newest tick, microseconds since 1970 UTC; None where there is none."""
        known = self._machines.get(machine_id)
        groups = known.groups.values() if known is not None else ()
        return max((int(series.parts[-1].times[-1]) for series in groups), default=None)

    def moments(self, machine_id: int) -> Sequence[Moment]:
        """What is known of what the machine was doing, rising in time."""
        known = self._machines.get(machine_id)
        return tuple(known.moments) if known is not None else ()

    def news(self, doing: Doing) -> Doing:
        """Without its first moments where they say what is known of that time already."""
        known = self.moments(doing.machine_id)
        given = _moments(doing.operation.changes())
        if not known or not given:
            return doing
        place = bisect_right(known, given[0].time_us, key=lambda moment: moment.time_us) - 1
        if place < 0 or known[place].said != given[0].said:
            return doing
        rest = given[1:]
        operation = Operation(
            np.array([moment.time_us for moment in rest], np.int64),
            cycle=[moment.cycle for moment in rest],
            phase=[moment.phase for moment in rest],
            operating_state=[moment.operating_state for moment in rest],
        )
        return Doing(doing.machine_id, operation)

    def readings(self, machine: StoredMachine, span_s: float) -> Readings | None:
        """What is known of the last ``span_s`` seconds up to the newest tick; None where that is nothing.

        Frames of a layout that the machine no longer has are left out.
        """
        until = self.until_us(machine.machine_id)
        if until is None:
            return None
        since = until - round(span_s * _MICROSECONDS)
        groups = self._machines[machine.machine_id].groups
        pieces = []
        for layout in machine.groups:
            series = groups.get(layout.rate_group)
            if series is not None and series.parts[-1].layout_id == layout.layout_id:
                block = series.whole()
                block = block.part(slice(int(np.searchsorted(block.times, since, side="right")), None))
                pieces.append((block.times, block.values, layout.sensor_ids))
        if not pieces:
            return None
        times, values = on_one_grid(pieces, machine.columns)
        return Readings(times, machine.machine.sensor_ids, values)

    def stats(self) -> NewestStats:
        """How much is kept."""
        ticks = sum(series.ticks for known in self._machines.values() for series in known.groups.values())
        return NewestStats(len(self._machines), ticks, self._evicted)
