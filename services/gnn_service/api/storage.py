"""What keeps readings and diagnoses, as one thing for the lifespan: the store, and the way into it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gnn_service.api.door import Door
from gnn_service.core.config import Settings
from gnn_service.core.errors import DeadlineExceededError, UnavailableError
from gnn_service.db.purge import Purge
from gnn_service.db.stats import DatabaseState
from gnn_service.db.store import Store
from gnn_service.db.upkeep import Upkeep
from gnn_service.monitoring.diagnose import Diagnosing, MachineDiagnoses, Sources
from gnn_service.monitoring.machines import MachineDirectory
from gnn_service.monitoring.pieces import Writer
from gnn_service.monitoring.pipeline import Pipeline
from gnn_service.observability.database import watch_with_opentelemetry
from gnn_service.observability.intake import IntakeReaders
from gnn_service.observability.logs import logger
from gnn_service.observability.metrics import Metrics

NO_STORE: Final = "this service stores nothing (GNN_DATABASE__ENABLED is false); switch it on, or ask one that does"
READING_THREADS: Final = 2
"""Threads that read bodies and write answers; they must not keep those of diagnoses waiting."""
READING_REQUESTS: Final = 256
"""Requests with readings that may be read at once; more are refused."""
_LEAVE_S: Final = 5.0
_log = logger("gnn_service.api.storage")


@dataclass(frozen=True, slots=True)
class Storage:
    """What the routes are given of everything that keeps; all of it runs."""

    settings: Settings
    store: Store
    pipeline: Pipeline
    machines: MachineDirectory
    upkeep: Upkeep
    purge: Purge
    threads: Executor
    door: Door

    @property
    def away(self) -> bool:
        """Whether the database does not answer, or does not take what waits for it."""
        waits = self.pipeline.drain.away and not self.pipeline.spool.empty
        return waits or self.store.database.state is not DatabaseState.HEALTHY

    @property
    def spool_full(self) -> str | None:
        """Why the spool would take nothing now; None where it takes something."""
        held, bounds = self.pipeline.spool.stats(), self.settings.database.spool
        if bounds.over_age == "refuse" and held.oldest_s > bounds.age_max_s:
            return f"the spool's oldest waits over {bounds.age_max_s:g} s"
        if held.full:  # a record that does not fit is refused, so it never holds exactly as much as it may
            return f"the spool holds its {bounds.bytes_max} bytes, or its disk is full"
        return None

    def diagnoses(self, diagnoser: Diagnosing) -> MachineDiagnoses:
        """Diagnoses of the machines that are kept here, by this diagnoser."""
        return MachineDiagnoses(
            diagnoser,
            self.machines,
            self.pipeline.newest,
            self.pipeline.ingest,
            sources=Sources(self.store.readings, self.store.events, self.store.state),
            ticks_max=self.settings.monitoring.ingest.memory_ticks_max,
        )


StorageFactory = Callable[[Settings], AbstractAsyncContextManager[Storage | None]]


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage | None]:
    """Open everything that keeps, in order; None where the settings say that nothing is kept.

    A database that is away is no error: readings go to the spool until it is there.

    Raises:
        DatabaseRefusedError: the database does not take this service as it is set up.
        ConfigurationError: a folder cannot be used, or another service has it.
    """
    database = settings.database
    if not database.enabled:
        yield None
        return
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(Store.open(database))
        writer = Writer(store.readings, store.events, store.diagnoses)
        way_in = Pipeline.open(
            writer, store.database, database.folder / "spool", spool=database.spool, ingest=settings.monitoring.ingest
        )
        pipeline = await opened.enter_async_context(way_in)
        upkeep, purge = Upkeep(store.database, database.upkeep), Purge(store.machines)
        for name, work in (("upkeep", upkeep.run()), ("purge", purge.run())):
            opened.push_async_callback(_end, asyncio.create_task(work, name=name))
        threads = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="readings")
        opened.callback(threads.shutdown, wait=False, cancel_futures=True)
        door = Door(READING_REQUESTS, "requests with readings are being read")
        storage = Storage(settings, store, pipeline, MachineDirectory(store.machines), upkeep, purge, threads, door)
        if not storage.away:
            try:
                await storage.machines.load()
            except (UnavailableError, DeadlineExceededError) as error:  # then they are read as they are asked for
                _log.warning("machines were not read at the start", reason=str(error))
        yield storage


def watch_storage(metrics: Metrics, storage: Storage) -> None:
    """Report what it counts about itself whenever the metrics are asked for."""
    metrics.watch_database(storage.store.database.stats)
    watch_with_opentelemetry(storage.store.database.stats)
    way_in, upkeep = storage.pipeline, storage.upkeep
    metrics.watch_intake(
        IntakeReaders(
            way_in.spool.stats, way_in.drain.stats, way_in.ingest.stats, way_in.newest.stats, lambda: upkeep.stats
        )
    )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_LEAVE_S)
