"""How everything that keeps does, in the words of `/health` and `/v1/status`."""

from typing import Literal

from gnn_service.api.schemas.status import (
    DatabaseStatus,
    EmbeddedStatus,
    PoolStatus,
    SpoolStatus,
    StorageStatus,
)
from gnn_service.api.storage import Storage
from gnn_service.core.errors import DatabaseUnavailableError, SpoolFullError
from gnn_service.db.capability import Capability

_RETRY_S = 5.0


def degraded(storage: Storage | None) -> bool:
    """Whether the database is away while readings are still accepted.

    Raises:
        SpoolFullError: nothing would take readings.
    """
    if storage is None or not storage.away:
        return False
    if (why := storage.spool_full) is not None:
        raise SpoolFullError(f"the database is away and {why}", retry_after_s=_RETRY_S)
    return True


def standing(storage: Storage) -> StorageStatus:
    """All of it."""
    return StorageStatus(
        status=_word(storage),
        database=_database(storage),
        spool=_spool(storage),
        embedded=_embedded(storage),
    )


def _word(storage: Storage) -> Literal["ready", "degraded", "full"]:
    if not storage.away:
        return "ready"
    return "degraded" if storage.spool_full is None else "full"


def _database(storage: Storage) -> DatabaseStatus:
    stats, found = storage.store.database.stats(), _capability(storage)
    return DatabaseStatus(
        state=stats.state.value,
        kind=None if found is None else found.kind.value,
        version=None if found is None else ".".join(map(str, found.version)),
        timescale=None if found is None or found.timescale is None else ".".join(map(str, found.timescale)),
        pool=PoolStatus(
            size=stats.pool.size, idle=stats.pool.idle, maximum=stats.pool.maximum, waiters=stats.pool.waiters
        ),
        breaker=stats.breaker.state.value,
        last_error=stats.last_error,
    )


def _capability(storage: Storage) -> Capability | None:
    try:
        return storage.store.database.capability
    except DatabaseUnavailableError:
        return None


def _spool(storage: Storage) -> SpoolStatus:
    held = storage.pipeline.spool.stats()
    return SpoolStatus(
        records=held.records,
        bytes=held.bytes,
        bytes_max=storage.settings.database.spool.bytes_max,
        oldest_s=round(held.oldest_s, 3),
        draining=not storage.pipeline.drain.away,
        full=storage.spool_full,
    )


def _embedded(storage: Storage) -> EmbeddedStatus | None:
    server = storage.store.embedded
    return None if server is None else EmbeddedStatus(running=server.pid is not None, restarts=server.restarts)
