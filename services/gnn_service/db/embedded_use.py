"""The embedded database for a command: that of the service that runs, else one for as long as the command lasts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db.embedded import EmbeddedPostgres, log_progress
from gnn_service.db.embedded_access import Access, holder, published


@asynccontextmanager
async def embedded_server(
    folder: Path, settings: EmbeddedSettings | None = None, progress: Callable[[str], None] = log_progress
) -> AsyncIterator[Access]:
    """The embedded server of the service's data folder, started and stopped here where no service runs it.

    Raises:
        DatabaseRefusedError: it cannot run here, or the service that runs it is another user's.
        DatabaseUnavailableError: it did not become ready in time, or the service is only starting it.
    """
    running = _running(folder)
    if running is not None:
        yield running
        return
    async with EmbeddedPostgres(folder, settings, progress) as server:
        yield server.access


def _running(folder: Path) -> Access | None:
    """The server of the service that holds the folder; None where none does."""
    home = folder.absolute() / "postgres"
    if not (home / "lock").exists():
        return None
    try:
        with FileLock(home / "lock", timeout=0, thread_local=False):
            return None
    except Timeout:
        pass
    except OSError as error:
        message = f"this user may not use the embedded database in {home} ({error.strerror or error}):"
        raise DatabaseRefusedError(f"{message} run this as the service's user") from None
    try:
        found = published(home)
    except OSError:
        message = f"the embedded database in {home} is run by another user's process {holder(home)}:"
        raise DatabaseRefusedError(f"{message} run this as the same user") from None
    if found is None:
        message = f"process {holder(home)} is only just starting the embedded database in {home}:"
        raise DatabaseUnavailableError(f"{message} try again", retry_after_s=2.0)
    return found
