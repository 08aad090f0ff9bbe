"""Order where it matters: of two values of one tick the one that arrived later counts, by whichever way they went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frames import FrameBlock
from gnn_service.db.layouts import merge
from gnn_service.db.spool import SpoolRecord
from gnn_service.monitoring.pieces import Piece, Span, span_of, span_of_record


@dataclass(slots=True)
class _Stretch:
    """From the first to the last tick that waits. ``last``: sequence number of the last record, None if not known."""

    low_us: int
    high_us: int
    last: int | None


class SpooledTicks:
    """One stretch of time a machine and lane (such as a rate group): from the first to the last tick that waits.

    Pieces beside it may go to the database at once, those inside have to wait behind it. It may say that a tick waits
    that does not; that costs a detour, never the order.

    Args:
        complete: whether all that waits is known; else any tick may wait, until the spool has been looked through.
    """

    def __init__(self, *, complete: bool = True) -> None:
        self._stretches: dict[tuple[int, int], _Stretch] = {}
        self._complete = complete
        self._position = 0

    def __len__(self) -> int:
        return len(self._stretches)

    @property
    def complete(self) -> bool:
        """Whether all that waits is known."""
        return self._complete

    def digest(self, records: Iterable[SpoolRecord]) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Low, high and last sequence number of each key in records that the spool holds from before."""
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        for record in records:
            try:
                span = span_of_record(record)
            except InvalidInputError:  # the drain sets it aside
                continue
            if span is not None:
                low, high, _ = found.get(span[:2], (span.low_us, span.high_us, 0))
                found[span[:2]] = (min(low, span.low_us), max(high, span.high_us), record.sequence)
        return found

    def take(self, digest: dict[tuple[int, int], tuple[int, int, int]]) -> None:
        """Take in what `digest` found."""
        for key, (low, high, last) in digest.items():
            known = self._stretches.get(key)
            if last < self._position:
                continue
            if known is None:
                self._stretches[key] = _Stretch(low, high, last)
            else:  # what came since has a higher number, or none yet
                known.low_us, known.high_us = min(known.low_us, low), max(known.high_us, high)
                known.last = None if known.last is None else max(known.last, last)

    def finish(self) -> None:
        """All that waits is known."""
        self._complete = True

    def add(self, pieces: Iterable[Piece]) -> None:
        """They go to the spool from now on; their sequence number is not known yet."""
        for span in _spans(pieces):
            known = self._stretches.get(span[:2])
            if known is None:
                self._stretches[span[:2]] = _Stretch(span.low_us, span.high_us, None)
            else:
                known.low_us, known.high_us = min(known.low_us, span.low_us), max(known.high_us, span.high_us)
                known.last = None

    def written(self, pieces: Iterable[Piece], sequence: int) -> None:
        """They are in the spool, none of them behind this sequence number."""
        for span in _spans(pieces):
            if (known := self._stretches.get(span[:2])) is not None:
                known.last = sequence

    def overlap(self, pieces: Iterable[Piece]) -> bool:
        """Whether a tick of theirs may wait."""
        for span in _spans(pieces):
            if not self._complete:
                return True
            known = self._stretches.get(span[:2])
            if known is not None and span.low_us <= known.high_us and span.high_us >= known.low_us:
                return True
        return False

    def drained(self, position: int) -> None:
        """Every record before this sequence number is in the database."""
        self._position = position
        gone = [key for key, known in self._stretches.items() if known.last is not None and known.last < position]
        for key in gone:
            del self._stretches[key]

    def clear(self) -> None:
        """Nothing waits any more."""
        self._stretches.clear()
        self._complete = True


def in_rounds(pieces: Sequence[Piece]) -> list[list[int]]:
    """Places of the pieces in rounds: within one no tick comes twice, and of two with a tick the later comes later.

    The database may write the pieces of one round in any order.
    """
    rounds: list[list[int]] = []
    taken: dict[tuple[int, int], list[tuple[int, int, int]]] = {}  # low, high and round of each piece of a key
    highest: dict[tuple[int, int], int] = {}
    for place, piece in enumerate(pieces):
        span = span_of(piece)
        if span is None:
            continue
        key, number = span[:2], 0
        known = taken.setdefault(key, [])
        if known and span.low_us <= highest[key]:  # else it comes after all of them, as nearly always
            number = max((n + 1 for a, b, n in known if span.low_us <= b and span.high_us >= a), default=0)
        known.append((span.low_us, span.high_us, number))
        highest[key] = max(span.high_us, highest.get(key, span.high_us))
        rounds += [[] for _ in range(number + 1 - len(rounds))]
        rounds[number].append(place)
    return rounds


def coalesced(pieces: Iterable[Piece]) -> list[Piece]:
    """Blocks of frames of the same rate group and layout, one after another, made one; later values win."""
    made: list[Piece] = []
    newest: dict[tuple[int, int], int] = {}  # place of the last block of a key
    gathered: dict[int, list[FrameBlock]] = {}
    for piece in pieces:
        if not isinstance(piece, FrameBlock):
            made.append(piece)
            continue
        key = (piece.machine_id, piece.rate_group)
        place = newest.get(key)
        if place is None or gathered[place][0].layout_id != piece.layout_id:
            newest[key] = place = len(made)
            made.append(piece)
            gathered[place] = []
        gathered[place].append(piece)
    for place, blocks in gathered.items():
        made[place] = joined(blocks)
    return made


def joined(blocks: Sequence[FrameBlock]) -> FrameBlock:
    """Blocks of one layout on the union of their ticks; of two values of a tick the one of the later block wins."""
    blocks = [block for block in blocks if len(block)] or blocks[:1]
    if len(blocks) == 1:
        return blocks[0]
    rising = all(one.times[-1] < other.times[0] for one, other in pairwise(blocks))
    times = np.concatenate([block.times for block in blocks])
    if rising:
        values = np.concatenate([block.values for block in blocks])
    else:
        times = np.unique(times)
        values = np.full((len(times), blocks[0].values.shape[1]), np.nan, np.float32)
        for block in blocks:
            rows = np.searchsorted(times, block.times)
            values[rows] = merge(values[rows], block.values)[0]
    return _like(blocks[-1], times, values)


def _like(block: FrameBlock, times: NDArray[np.int64], values: NDArray[np.float32]) -> FrameBlock:
    return FrameBlock(block.machine_id, block.rate_group, block.layout_id, times, values)


def _spans(pieces: Iterable[Piece]) -> Iterable[Span]:
    return (span for piece in pieces if (span := span_of(piece)) is not None)
