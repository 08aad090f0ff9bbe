"""Readings' way in around a store that fails, with bounds that a test reaches soon."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gnn_service.core.config_ingest import IngestSettings
from gnn_service.db.stats import DatabaseState
from gnn_service.monitoring.pieces import Writer
from gnn_service.monitoring.pipeline import Pipeline
from tests.support.flaky_store import FlakyStore
from tests.support.spool import spool_settings


class Quiet:
    """A database manager that says nothing by itself."""

    def add_listener(self, listener: Callable[[DatabaseState], None]) -> None:
        self.listener = listener


def ingest_settings(**values: Any) -> IngestSettings:
    known = IngestSettings().model_dump() | {"commit_wait_ms": 1.0, "store_timeout_s": 0.2} | values
    return IngestSettings.model_construct(**known)


@asynccontextmanager
async def intake(
    folder: Path, store: FlakyStore, spool: dict[str, Any] | None = None, **values: Any
) -> AsyncIterator[Pipeline]:
    writer = Writer(store, store.events, store.diagnoses)
    bounds, settings = spool_settings(**(spool or {})), ingest_settings(**values)
    async with Pipeline.open(writer, Quiet(), folder, spool=bounds, ingest=settings) as pipeline:
        yield pipeline
