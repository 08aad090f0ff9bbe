"""Order where it matters: of two values of one tick the one that arrived later counts, by whichever way they went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frames import FrameBlock
from gnn_service.db.layouts import merge
from gnn_service.db.spool import SpoolRecord

FRAMES = "frames/1"
"""Kind of the spool's records that hold one packed `FrameBlock`."""


@dataclass(slots=True)
class _Stretch:
    """From the first to the last tick that waits. ``last``: sequence number of the last record, None if not known."""

    low: int
    high: int
    last: int | None


class SpooledTicks:
    """One stretch of time a machine and rate group: from the first to the last tick that waits.

    Frames beside it may go to the database at once, those inside have to wait behind it. It may say that a tick waits
    that does not; that costs a detour, never the order.
    """

    def __init__(self) -> None:
        self._stretches: dict[tuple[int, int], _Stretch] = {}

    def __len__(self) -> int:
        return len(self._stretches)

    def visit(self, record: SpoolRecord) -> None:
        """Take in a record that the spool holds from before."""
        if record.kind == FRAMES:
            try:
                block = FrameBlock.unpack(record.payload)
            except InvalidInputError:  # the drain sets it aside
                return
            self.add([block])
            self.written([block], record.sequence)

    def add(self, blocks: Iterable[FrameBlock]) -> None:
        """They go to the spool from now on; their sequence number is not known yet."""
        for block in blocks:
            if not len(block):
                continue
            low, high = int(block.times[0]), int(block.times[-1])
            known = self._stretches.get(_key(block))
            if known is None:
                self._stretches[_key(block)] = _Stretch(low, high, None)
            else:
                known.low, known.high, known.last = min(known.low, low), max(known.high, high), None

    def written(self, blocks: Iterable[FrameBlock], sequence: int) -> None:
        """They are in the spool, none of them behind this sequence number."""
        for block in blocks:
            if (known := self._stretches.get(_key(block))) is not None:
                known.last = sequence

    def overlap(self, blocks: Iterable[FrameBlock]) -> bool:
        """Whether a tick of theirs may wait."""
        for block in blocks:
            known = self._stretches.get(_key(block))
            if known is not None and len(block) and block.times[0] <= known.high and block.times[-1] >= known.low:
                return True
        return False

    def drained(self, position: int) -> None:
        """Every record before this sequence number is in the database."""
        gone = [key for key, known in self._stretches.items() if known.last is not None and known.last < position]
        for key in gone:
            del self._stretches[key]

    def clear(self) -> None:
        """Nothing waits any more."""
        self._stretches.clear()


def in_rounds(blocks: Sequence[FrameBlock]) -> list[list[int]]:
    """Places of the blocks in rounds: within one no tick comes twice, and of two with a tick the later comes later.

    The database may write the blocks of one round in any order.
    """
    rounds: list[list[int]] = []
    spans: dict[tuple[int, int], list[list[tuple[int, int]]]] = {}  # of each key in each round
    for place, block in enumerate(blocks):
        if not len(block):
            continue
        low, high = int(block.times[0]), int(block.times[-1])
        known = spans.setdefault(_key(block), [])
        number = max((n + 1 for n, span in enumerate(known) for a, b in span if low <= b and high >= a), default=0)
        while len(known) <= number:
            known.append([])
        while len(rounds) <= number:
            rounds.append([])
        known[number].append((low, high))
        rounds[number].append(place)
    return rounds


def coalesced(blocks: Iterable[FrameBlock]) -> list[FrameBlock]:
    """Blocks one after another of the same key and layout made one, in which the later value wins."""
    found: dict[tuple[int, int], list[FrameBlock]] = {}
    for block in blocks:
        known = found.setdefault(_key(block), [])
        if known and known[-1].layout_id == block.layout_id:
            known[-1] = joined(known[-1], block)
        else:
            known.append(block)
    return [block for known in found.values() for block in known]


def joined(first: FrameBlock, second: FrameBlock) -> FrameBlock:
    """Both blocks, of one layout, on the union of their ticks; present values of the second win."""
    if not len(first) or not len(second) or first.times[-1] < second.times[0]:
        times = np.concatenate([first.times, second.times])
        values = np.concatenate([first.values, second.values])
    else:
        times = np.union1d(first.times, second.times)
        old, new = (_spread(block, times) for block in (first, second))
        values = merge(old, new)[0]
    return FrameBlock(second.machine_id, second.rate_group, second.layout_id, times, values)


def _spread(block: FrameBlock, times: NDArray[np.int64]) -> NDArray[np.float32]:
    values = np.full((len(times), block.values.shape[1]), np.nan, np.float32)
    values[np.searchsorted(times, block.times)] = block.values
    return values


def _key(block: FrameBlock) -> tuple[int, int]:
    return block.machine_id, block.rate_group
