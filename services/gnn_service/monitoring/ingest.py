"""Readings in: to the database, or to the spool while it is away; acknowledged once they are on a disk."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gnn_service.core.clock import Clock
from gnn_service.core.config_ingest import IngestSettings
from gnn_service.core.errors import DeadlineExceededError, GnnServiceError, UnavailableError
from gnn_service.core.gather import Gather
from gnn_service.db.frame_writing import Stored
from gnn_service.db.frames import FrameBlock
from gnn_service.db.spool import Spool, SpoolRecord
from gnn_service.monitoring.deadline import within
from gnn_service.monitoring.drain import AWAY, Drain, Handler
from gnn_service.monitoring.newest import NewestReadings
from gnn_service.monitoring.order import SpooledTicks, coalesced, in_rounds
from gnn_service.monitoring.pieces import KINDS, Doing, Piece, Writer, pack, size_of, span_of, unpack
from gnn_service.observability import logs

__all__ = ["Ingest", "IngestStats", "Kept", "Receipt", "handlers"]

STOP_S: Final = 10.0
"""Seconds for what waits when the service stops."""
SETTLE_S: Final = 1.0
"""Seconds that readings of ticks which wait in the spool may wait for it to be empty."""
SETTLE_BYTES: Final = 4 * 2**20
"""A spool that holds more than this is not waited for."""
_log = logs.logger("gnn_service.monitoring.ingest")


class Kept(StrEnum):
    """Where readings are when they are acknowledged."""

    STORED = "stored"
    SPOOLED = "spooled"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of readings. ``counts`` are the database's, in frames; nothing is known of spooled ones yet."""

    kept: Kept
    counts: Stored = field(default_factory=Stored)


@dataclass(frozen=True, slots=True)
class IngestStats:
    """Values that wait now; since start frames by where they were acknowledged, refused calls, and commits."""

    waiting_values: int
    stored_frames_total: int
    spooled_frames_total: int
    refused_total: int
    commits_total: int


def _unpacked(records: Sequence[SpoolRecord]) -> tuple[list[Piece], list[list[int]]]:
    """The pieces of records, and the rounds to write them in; takes a while where they are many."""
    pieces = coalesced(map(unpack, records))
    return pieces, in_rounds(pieces)


def handlers(writer: Writer) -> dict[str, Handler]:
    """How `Drain` writes what this spools."""

    async def handle(records: Sequence[SpoolRecord]) -> None:
        pieces, rounds = await asyncio.to_thread(_unpacked, records)
        for places in rounds:
            counts = await writer.store([pieces[place] for place in places])
            if gone := sum(count.refused for count in counts):
                _log.warning("spooled readings of machines that are gone were left out", readings=gone)

    return dict.fromkeys(KINDS, handle)


class Ingest:
    """Belongs to one event loop. Call `start` in it, and `stop` before the drain and the spool stop.

    Args:
        writer: the database.
        spool: for what it does not take; started.
        drain: takes that there when it is back.
        ticks: what waits in the spool; the drain's listeners keep it up to date.
        newest: the newest readings, for diagnoses.
        settings: bounds and times.
        clock: monotonic seconds and pauses.
    """

    def __init__(
        self,
        writer: Writer,
        spool: Spool,
        drain: Drain,
        *,
        ticks: SpooledTicks,
        newest: NewestReadings,
        settings: IngestSettings,
        clock: Clock | None = None,
    ) -> None:
        self._writer = writer
        self._spool = spool
        self._drain = drain
        self._ticks = ticks
        self._newest = newest
        self._settings = settings
        self._gather: Gather[Sequence[Piece], Receipt] = Gather(
            self._commit,
            name="ingest",
            wait_s=settings.commit_wait_ms / 1000,
            waiting_max=settings.queue_values_max,
            batch_max=settings.commit_values_max,
            clock=clock,
        )
        self._stored = self._spooled = self._refused = self._commits = 0

    def start(self) -> None:
        """Begin to take readings."""
        self._gather.start()

    async def stop(self) -> None:
        """Take nothing more, and finish what waits."""
        if not await self._gather.stop(STOP_S):
            _log.error("readings that waited were refused: neither the database nor the spool answered in time")

    def stats(self) -> IngestStats:
        """What waits and what was done."""
        return IngestStats(self._gather.size, self._stored, self._spooled, self._refused, self._commits)

    async def submit(self, pieces: Sequence[Piece]) -> Receipt:
        """Keep readings and diagnoses, all of them; returns when they are on a disk.

        They fit the machines that they name: units, order and plausibility are checked before. Of two values of one
        tick the one that was submitted later counts. A caller that is cancelled does not know whether they are kept.

        Raises:
            OverloadedError: too much waits; nothing was kept.
            SpoolFullError: the database is away and the spool is full; nothing is acknowledged.
            SpoolFailedError: the database is away and the disk fails; nothing is acknowledged.
            InvalidInputError: the database refuses them for good; nothing was kept.
            DeadlineExceededError: it took too long; send them again.
        """
        pieces = [self._newest.news(piece) if isinstance(piece, Doing) else piece for piece in pieces]
        pieces = [piece for piece in pieces if span_of(piece) is not None]
        if not pieces:
            return Receipt(Kept.STORED)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._gather.put(pieces, sum(map(size_of, pieces)))
        except TimeoutError as error:
            self._refused += 1
            raise DeadlineExceededError(f"readings were not kept in {self._settings.timeout_s:g} s") from error
        except GnnServiceError:
            self._refused += 1
            raise

    async def _commit(self, groups: Sequence[Sequence[Piece]]) -> Sequence[Receipt | GnnServiceError]:
        """Groups of pieces in order of arrival: to the database what can go there, the rest to the spool."""
        self._commits += 1
        outcomes: dict[int, Receipt | GnnServiceError] = {}
        direct = await self._direct(groups)
        if direct:
            outcomes = await self._store_groups({place: groups[place] for place in direct})
        behind = [place for place in range(len(groups)) if place not in outcomes]
        if behind:
            outcomes |= await self._spool_groups({place: groups[place] for place in behind})
        for place, outcome in outcomes.items():
            if isinstance(outcome, Receipt):
                self._newest.add(groups[place])
                self._count(groups[place], outcome.kept)
        return [outcomes[place] for place in range(len(groups))]

    async def _direct(self, groups: Sequence[Sequence[Piece]]) -> list[int]:
        """Places of the groups that may go to the database now: none of their ticks waits in the spool."""
        if self._drain.away and not self._spool.empty:
            return []  # the drain will notice when it is back
        if any(map(self._ticks.overlap, groups)) and self._spool.stats().bytes <= SETTLE_BYTES:
            await self._drain.settled(SETTLE_S)
        direct = []
        for place, group in enumerate(groups):
            if self._ticks.overlap(group):
                self._ticks.add(group)  # whatever comes after it must wait as well
            else:
                direct.append(place)
        return direct

    async def _store_groups(self, groups: dict[int, Sequence[Piece]]) -> dict[int, Receipt | GnnServiceError]:
        """What the database says to each group; nothing of those that it did not take because it is away."""
        try:
            counts = await within(self._settings.store_timeout_s, self._in_order(list(groups.values())), name="storing")
        except AWAY as error:
            self._drain.failed()
            _log.warning("the database does not take readings; they are spooled", error=str(error))
            return {}
        except Exception as error:  # noqa: BLE001 - each group hears its own
            if len(groups) == 1:
                return {place: _as_refusal(error) for place in groups}
            outcomes: dict[int, Receipt | GnnServiceError] = {}
            for place, group in groups.items():  # one that is refused must not take its neighbours along
                said = await self._store_groups({place: group})
                if not said:
                    break
                outcomes |= said
            return outcomes
        self._drain.succeeded()
        return {place: Receipt(Kept.STORED, count) for place, count in zip(groups, counts, strict=True)}

    async def _in_order(self, groups: Sequence[Sequence[Piece]]) -> list[Stored]:
        """Store groups so that of two values of one tick the later counts; what became of each group."""
        pieces = [(number, piece) for number, group in enumerate(groups) for piece in group]
        found = [Stored()] * len(groups)
        for places in in_rounds([piece for _, piece in pieces]):
            counts = await self._writer.store([pieces[place][1] for place in places])
            for place, count in zip(places, counts, strict=True):
                found[pieces[place][0]] += count
        return found

    async def _spool_groups(self, groups: dict[int, Sequence[Piece]]) -> dict[int, Receipt | GnnServiceError]:
        for group in groups.values():
            self._ticks.add(group)
        outcomes = await asyncio.gather(*map(self._spool_group, groups.values()))
        self._drain.nudge()
        return dict(zip(groups, outcomes, strict=True))

    async def _spool_group(self, group: Sequence[Piece]) -> Receipt | GnnServiceError:
        try:
            sequence = await self._spool.append([pack(piece) for piece in group])
        except GnnServiceError as error:
            return error
        self._ticks.written(group, sequence)
        return Receipt(Kept.SPOOLED)

    def _count(self, group: Sequence[Piece], kept: Kept) -> None:
        frames = sum(len(piece) for piece in group if isinstance(piece, FrameBlock))
        if kept is Kept.STORED:
            self._stored += frames
        else:
            self._spooled += frames


def _as_refusal(error: Exception) -> GnnServiceError:
    if isinstance(error, GnnServiceError):
        return error
    _log.error("the database refuses readings for an unknown reason", error=repr(error))
    return UnavailableError(f"the readings were not stored: {error}")
