"""What keeps readings and diagnoses, as one thing for the lifespan: the store, and the spool before it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gnn_service.core.config import Settings
from gnn_service.db.purge import Purge
from gnn_service.db.spool import Spool
from gnn_service.db.stats import DatabaseState
from gnn_service.db.store import Store
from gnn_service.db.upkeep import Upkeep
from gnn_service.monitoring.drain import Drain
from gnn_service.monitoring.ingest import Ingest, handlers
from gnn_service.monitoring.newest import NewestReadings
from gnn_service.monitoring.order import SpooledTicks
from gnn_service.monitoring.pieces import Writer
from gnn_service.observability.intake import IntakeReaders
from gnn_service.observability.metrics import Metrics

_LEAVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Storage:
    """What the routes are given of everything that keeps; all of it runs."""

    settings: Settings
    store: Store
    spool: Spool
    drain: Drain
    newest: NewestReadings
    ingest: Ingest
    upkeep: Upkeep
    purge: Purge

    @property
    def away(self) -> bool:
        """Whether the database did not answer the last that was asked of it."""
        return self.store.database.state is not DatabaseState.HEALTHY or self.drain.away

    @property
    def spool_full(self) -> str | None:
        """Why the spool would take nothing now; None where it takes something."""
        held, bounds = self.spool.stats(), self.settings.database.spool
        if held.bytes >= bounds.bytes_max:
            return f"the spool holds its {bounds.bytes_max} bytes"
        if bounds.over_age == "refuse" and held.oldest_s > bounds.age_max_s:
            return f"the spool's oldest waits over {bounds.age_max_s:g} s"
        return None


StorageFactory = Callable[[Settings], AbstractAsyncContextManager[Storage | None]]


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage | None]:
    """Open everything that keeps, in order; None where the settings say that nothing is kept.

    A database that is away is no error: readings go to the spool until it is there.

    Raises:
        DatabaseRefusedError: the database does not take this service as it is set up.
        ConfigurationError: a folder cannot be used, or another service has it.
    """
    if not settings.database.enabled:
        yield None
        return
    bounds = settings.monitoring.ingest
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(Store.open(settings.database))
        ticks = SpooledTicks()
        folder = settings.database.spool.folder or settings.database.folder / "spool"
        spool = await opened.enter_async_context(Spool(folder, settings.database.spool, visit=ticks.visit))
        writer = Writer(store.readings, store.events, store.diagnoses)
        drain = Drain(spool, handlers(writer), on_progress=ticks.drained, on_empty=ticks.clear)
        store.database.add_listener(drain.database_changed)
        newest = NewestReadings(
            span_s=bounds.memory_s, ticks_max=bounds.memory_ticks_max, machines_max=bounds.memory_machines_max
        )
        ingest = Ingest(writer, spool, drain, ticks=ticks, newest=newest, settings=bounds)
        drain.start()
        opened.push_async_callback(drain.stop)
        ingest.start()
        opened.push_async_callback(ingest.stop)
        upkeep, purge = Upkeep(store.database, settings.database.upkeep), Purge(store.machines)
        for name, work in (("upkeep", upkeep.run()), ("purge", purge.run())):
            opened.push_async_callback(_end, asyncio.create_task(work, name=name))
        yield Storage(settings, store, spool, drain, newest, ingest, upkeep, purge)


def watch_storage(metrics: Metrics, storage: Storage) -> None:
    """Report what it counts about itself whenever the metrics are asked for."""
    metrics.watch_database(storage.store.database.stats)
    metrics.watch_intake(
        IntakeReaders(
            storage.spool.stats,
            storage.drain.stats,
            storage.ingest.stats,
            storage.newest.stats,
            lambda: storage.upkeep.stats,
        )
    )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_LEAVE_S)
