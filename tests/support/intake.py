"""Readings' way in around a store that fails: spool, drain and ingest, put together and taken apart."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnn_service.core.config_ingest import IngestSettings
from gnn_service.db.spool import Spool
from gnn_service.monitoring.drain import Drain
from gnn_service.monitoring.ingest import Ingest, handlers
from gnn_service.monitoring.newest import NewestReadings
from gnn_service.monitoring.order import SpooledTicks
from gnn_service.monitoring.pieces import KINDS, Writer
from tests.support.flaky_store import FlakyStore
from tests.support.spool import spool_settings


def ingest_settings(**values: Any) -> IngestSettings:
    known = IngestSettings().model_dump() | {"commit_wait_ms": 1.0, "store_timeout_s": 0.2} | values
    return IngestSettings.model_construct(**known)


@dataclass
class Intake:
    spool: Spool
    drain: Drain
    ingest: Ingest
    ticks: SpooledTicks
    newest: NewestReadings


@asynccontextmanager
async def intake(
    folder: Path,
    store: FlakyStore,
    spool: dict[str, Any] | None = None,
    drained: Sequence[str] = KINDS,
    **values: Any,
) -> AsyncIterator[Intake]:
    ticks = SpooledTicks()
    settings = ingest_settings(**values)
    kept = Spool(folder, spool_settings(**(spool or {})), visit=ticks.visit)
    writer = Writer(store, store.events, store.diagnoses)
    known = {kind: handler for kind, handler in handlers(writer).items() if kind in drained}
    drain = Drain(kept, known, on_progress=ticks.drained, on_empty=ticks.clear)
    newest = NewestReadings(span_s=settings.memory_s, ticks_max=settings.memory_ticks_max, machines_max=10)
    ingest = Ingest(writer, kept, drain, ticks=ticks, newest=newest, settings=settings)
    async with kept:
        drain.start()
        ingest.start()
        try:
            yield Intake(kept, drain, ingest, ticks, newest)
        finally:
            await ingest.stop()
            await drain.stop()
