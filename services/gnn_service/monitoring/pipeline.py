"""The way of readings and diagnoses as one thing: spool, drain and ingest, opened and closed in the right order."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from gnn_service.core.clock import Clock
from gnn_service.core.config_ingest import IngestSettings
from gnn_service.core.config_spool import SpoolSettings
from gnn_service.db.spool import Spool, SpoolStats
from gnn_service.db.stats import DatabaseState
from gnn_service.monitoring.drain import Drain, DrainStats
from gnn_service.monitoring.ingest import Ingest, IngestStats, handlers
from gnn_service.monitoring.newest import NewestReadings, NewestStats
from gnn_service.monitoring.order import SpooledTicks
from gnn_service.monitoring.pieces import Writer


class Watched(Protocol):
    """What is needed of `db.manager.DatabaseManager`."""

    def add_listener(self, listener: Callable[[DatabaseState], None]) -> None: ...  # noqa: D102 - see there


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """What each part holds and has done."""

    ingest: IngestStats
    drain: DrainStats
    spool: SpoolStats
    newest: NewestStats


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`open` makes it."""

    ingest: Ingest
    drain: Drain
    spool: Spool
    newest: NewestReadings

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        writer: Writer,
        database: Watched,
        folder: Path,
        *,
        spool: SpoolSettings,
        ingest: IngestSettings,
        clock: Clock | None = None,
    ) -> AsyncIterator[Self]:
        """Take the spool's folder, drain what is in it, take readings; in the end finish what waits.

        Args:
            writer: the repositories.
            database: tells when it is back.
            folder: of the spool, where `SpoolSettings.folder` names none.
            spool: the spool's settings.
            ingest: the settings of readings on their way in.
            clock: monotonic seconds and pauses.

        Raises:
            ConfigurationError: the folder cannot be used, or another process has it.
        """
        ticks = SpooledTicks(complete=False)
        newest = NewestReadings(
            span_s=ingest.memory_s, ticks_max=ingest.memory_ticks_max, machines_max=ingest.memory_machines_max
        )
        async with Spool(spool.folder or folder, spool, clock=clock, surveyor=ticks) as kept:
            drain = Drain(kept, handlers(writer), on_progress=ticks.drained, on_empty=ticks.clear, clock=clock)
            database.add_listener(drain.database_changed)
            door = Ingest(writer, kept, drain, ticks=ticks, newest=newest, settings=ingest, clock=clock)
            drain.start()
            door.start()
            try:
                yield cls(door, drain, kept, newest)
            finally:
                await door.stop()
                await drain.stop()

    def stats(self) -> PipelineStats:
        """For health and metrics; costs nothing."""
        return PipelineStats(self.ingest.stats(), self.drain.stats(), self.spool.stats(), self.newest.stats())
