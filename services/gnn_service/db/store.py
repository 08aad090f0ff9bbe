"""The store as one thing: server, schema, connections and repositories, opened and closed in the right order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from itertools import chain, repeat
from typing import Final, Self

from pydantic import SecretStr

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import DatabaseUnavailableError, QueryTimeoutError
from gnn_service.db import roles, schema
from gnn_service.db.access import AccessRepository
from gnn_service.db.alarms import AlarmRepository
from gnn_service.db.diagnoses import DiagnosisRepository
from gnn_service.db.embedded import EmbeddedPostgres
from gnn_service.db.events import EventRepository
from gnn_service.db.frames import set_codecs
from gnn_service.db.history import HistoryRepository
from gnn_service.db.machines import MachineRepository
from gnn_service.db.manager import DatabaseManager
from gnn_service.db.models import ModelRepository
from gnn_service.db.owner import Progress, RawConnection, no_progress
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.state import StateRepository
from gnn_service.observability import logs

_CONNECT_S: Final = 1.5  # and as long again for connections: whose database is silent is up and degraded within 5 s
PATIENCE_S: Final = 20.0
"""Seconds that a start waits for a migration that has begun; a slow one goes on while the service is degraded."""
_STOP_S: Final = 2.0
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0)
_MAY_TAKE: Final = """
select coalesce((select pg_has_role(current_user, oid, 'member') from pg_roles where rolname = $1), false)
   and current_user <> $1"""
_log = logs.logger("gnn_service.db.store")


class Store:
    """What is kept. `open` makes it."""

    def __init__(self, database: DatabaseManager, embedded: EmbeddedPostgres | None = None) -> None:
        self.database = database
        self.embedded = embedded

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings, *, progress: Progress = no_progress) -> AsyncIterator[Self]:
        """Start the embedded server where no other is named, bring the schema up to date, connect.

        A server that is away is waited for in the background, its schema brought up to date when it is there.

        Raises:
            DatabaseRefusedError: a wrong password, a missing database or right, an old server, a newer schema.
            ConfigurationError: a folder cannot be used.
        """
        async with AsyncExitStack() as opened:
            embedded: EmbeddedPostgres | None = None
            if settings.url is None:
                embedded = EmbeddedPostgres(settings.folder, settings.embedded, progress)
                await opened.enter_async_context(embedded)
                service, owner = embedded.url(), embedded.owner_url
            else:
                service, owner = settings.url, settings.owner_url or settings.url
            database = DatabaseManager(settings, url=service, prepare=prepare)
            if settings.migration.on_start:
                # a database without its schema refuses, and what refuses is not looked at again for a while
                migration = Migration(owner, settings, progress, then=database.look_now)
                opened.push_async_callback(migration.stop)
                await migration.start()
            await database.start()
            opened.push_async_callback(database.stop)
            yield cls(database, embedded)

    @cached_property
    def machines(self) -> MachineRepository:
        """Descriptions."""
        return MachineRepository(self.database)

    @cached_property
    def readings(self) -> ReadingRepository:
        """Frames."""
        return ReadingRepository(self.database)

    @cached_property
    def events(self) -> EventRepository:
        """Single values, and what the machines were doing."""
        return EventRepository(self.database)

    @cached_property
    def history(self) -> HistoryRepository:
        """Readings in buckets, for plots."""
        return HistoryRepository(self.database)

    @cached_property
    def diagnoses(self) -> DiagnosisRepository:
        """What was said of the windows."""
        return DiagnosisRepository(self.database)

    @cached_property
    def alarms(self) -> AlarmRepository:
        """Episodes."""
        return AlarmRepository(self.database)

    @cached_property
    def state(self) -> StateRepository:
        """Baselines, and what is carried from window to window."""
        return StateRepository(self.database)

    @cached_property
    def models(self) -> ModelRepository:
        """Which bundle answered from when on."""
        return ModelRepository(self.database)

    @cached_property
    def access(self) -> AccessRepository:
        """Who may call, and who did what."""
        return AccessRepository(self.database)


async def prepare(con: RawConnection) -> None:
    """Make a new connection one that serves: with the rights of the service alone, from the schema of this version.

    Raises:
        DatabaseRefusedError: the schema is not this version's.
    """
    # a setting that outlives asyncpg's RESET ALL between two uses of the connection
    if await con.fetchval(_MAY_TAKE, roles.SERVICE_ROLE):
        await con.execute(f"set role {roles.SERVICE_ROLE}")
    await schema.require_current(con)
    await set_codecs(con)


class Migration:
    """Brings the schema up to date once the server is there, however late that is.

    Args:
        url: address for the role that owns the schema; that of the service's role is no error where nothing is to do.
        settings: limits.
        progress: hears each step.
        then: called when it is done.
        patience_s: seconds that a start waits for a server that has answered; then it goes on in the background.
    """

    def __init__(
        self,
        url: SecretStr,
        settings: DatabaseSettings,
        progress: Progress,
        *,
        then: Callable[[], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._url = url
        self._settings = settings
        self._progress = progress
        self._then = then
        self._patience_s = patience_s
        self._reached = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._con: RawConnection | None = None

    async def start(self) -> None:
        """Wait until it is done, or until a silent server has had its time; then it goes on in the background.

        Raises:
            DatabaseRefusedError: no repetition mends what is wrong.
        """
        self._task = task = asyncio.create_task(self._until_done(), name="migration")
        reached = asyncio.create_task(self._reached.wait())
        try:
            await asyncio.wait({task, reached}, timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reached.cancel()
        if self._reached.is_set():
            await asyncio.wait({task}, timeout=self._patience_s)
        if task.done():
            await task
        else:
            _log.warning("the database is silent; its schema is brought up to date in the background")
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Give up what is not done; what a migration has begun is rolled back by the server."""
        task = self._task
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=_STOP_S)
        if not task.done() and self._con is not None:
            self._con.terminate()
            await asyncio.wait({task}, timeout=_STOP_S)

    async def _until_done(self) -> None:
        for pause_s in chain(_PAUSES_S, repeat(_PAUSES_S[-1])):
            try:
                await self._once()
            except (DatabaseUnavailableError, QueryTimeoutError) as error:
                _log.debug("migration_waits", reason=str(error))
                await asyncio.sleep(pause_s)
            else:
                self._then()
                return

    async def _once(self) -> None:
        found = await schema.status(self._url)
        self._reached.set()
        if found.revision is not None and not (found.is_owner or found.is_superuser):
            return  # the service's own role; each connection checks what it serves from
        await schema.migrate(
            self._url,
            self._settings.migration,
            self._settings.upkeep,
            progress=self._progress,
            opened=self._hold,
        )

    def _hold(self, con: RawConnection) -> None:
        self._con = con


def _report(task: "asyncio.Task[None]") -> None:
    """A migration that failed in the background: nothing is served from the database until somebody mends it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("migration_failed", reason=str(error))
