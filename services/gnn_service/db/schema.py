"""The schema of the database: brought up to date, described, and checked before anything is served from it."""

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import asyncpg
from pydantic import SecretStr

from gnn_service.core.config_upkeep import MigrationSettings, UpkeepSettings
from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db import roles, timescale
from gnn_service.db.capability import Capability
from gnn_service.db.migrations import FOLDER, NEWEST, REVISIONS, SCHEMA, VERSION_TABLE
from gnn_service.db.owner import (
    Progress,
    RawConnection,
    capability,
    connected,
    no_progress,
    only_one,
    refuse_service_role,
)
from gnn_service.db.roles import ServiceRole
from gnn_service.db.timescale import Layer
from gnn_service.observability import logs

_log = logs.logger("gnn_service.db.schema")
_PAUSE_S: Final = 0.5
_POLL_S: Final = 0.02
_ALEMBIC: Final = threading.Lock()
"""Alembic keeps what it runs in module globals: one migration at a time in a process, whatever its event loop."""
_REVISION: Final = f"select version_num from {SCHEMA}.{VERSION_TABLE}"  # noqa: S608 - constants
_ROLE: Final = """
select current_user as name, rolsuper as superuser,
       coalesce((select pg_has_role(current_user, nspowner, 'usage') from pg_namespace where nspname = 'gnn'), false)
       as owner
from pg_roles where rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """A database and its schema.

    ``revision`` is None where the schema is not there yet; ``pending`` are the revisions that `migrate` would run.
    ``role`` is who asked; a service should be neither owner nor superuser.
    """

    server: Capability
    revision: str | None
    role: str
    is_owner: bool
    is_superuser: bool
    service_role: ServiceRole
    layer: Layer = field(default_factory=Layer)

    @property
    def pending(self) -> tuple[str, ...]:
        """Revisions that are still to be run, oldest first; none where the schema is newer than the code."""
        if self.revision is None:
            return REVISIONS
        return REVISIONS[REVISIONS.index(self.revision) + 1 :] if self.revision in REVISIONS else ()

    @property
    def newer_than_code(self) -> bool:
        """Whether a later version of the service has migrated this database."""
        return self.revision is not None and self.revision not in REVISIONS


@dataclass(frozen=True, slots=True)
class Migrated:
    """What `migrate` did: the revisions ``run``, and the database as it is now."""

    run: tuple[str, ...]
    status: SchemaStatus


class Asker(Protocol):
    """Enough of a connection to ask it for one value: the pool's or a raw one."""

    async def fetchval(self, query: str) -> Any:
        """The first value of the first row."""
        ...


async def migrate(
    url: SecretStr,
    settings: MigrationSettings | None = None,
    upkeep: UpkeepSettings | None = None,
    *,
    progress: Progress = no_progress,
    convert_large: bool = False,
    opened: Callable[[RawConnection], object] | None = None,
) -> Migrated:
    """Bring the schema up to date, give the service's role its rights, and set TimescaleDB up where the server has it.

    Safe to repeat, and to run in several processes at once: one works, the others wait and then find nothing to do.

    Args:
        url: the owner's address, without a connection pooler in between.
        settings: limits.
        upkeep: how long things are kept, where TimescaleDB sees to that.
        progress: hears each step.
        convert_large: make hypertables also of tables over 1 GB, which locks them for as long as it takes.
        opened: given the connection, for whoever may have to cut it off.

    Raises:
        DatabaseRefusedError: the role may not, the server is too old, or the schema is newer than the code.
        DatabaseUnavailableError: no server, or another process did not end its migration in time.
        QueryTimeoutError: tables stayed in use, or a statement took too long.
    """
    settings, upkeep = settings or MigrationSettings(), upkeep or UpkeepSettings()
    async with connected(url, settings, opened=opened) as con:
        await capability(con)  # too old a server is refused before anything is tried
        await refuse_service_role(con, roles.SERVICE_ROLE)
        async with only_one(con, settings.wait_s, progress):
            before = await revision(con)
            _refuse_newer(before)
            if before != NEWEST:
                await _with_patience(con, settings.attempts, progress)
            progress("setting rights")
            await roles.apply(con)
            layer = await timescale.apply(con, upkeep, progress=progress, convert_large=convert_large)
            found = await _status(con, layer)
    done = REVISIONS if before is None else REVISIONS[REVISIONS.index(before) + 1 :]
    _log.info("schema_migrated", revision=found.revision, run=list(done), server=str(found.server))
    return Migrated(done, found)


async def status(url: SecretStr) -> SchemaStatus:
    """What is there now; changes nothing. Raises as `migrate` does."""
    async with connected(url) as con:
        return await _status(con, await timescale.state(con))


async def revision(con: Asker) -> str | None:
    """The revision of the schema that a connection sees; None where there is none."""
    try:
        found = await con.fetchval(_REVISION)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return str(found) if found is not None else None


async def require_current(con: Asker) -> None:
    """Refuse to serve from a schema that this version was not written for.

    Raises:
        DatabaseRefusedError: the schema is missing, older or newer than the code.
    """
    found = await revision(con)
    _refuse_newer(found)
    if found != NEWEST:
        state = "has no schema yet" if found is None else f"is at schema {found}"
        message = f"the database {state}, this version needs {NEWEST}:"
        raise DatabaseRefusedError(f"{message} run gnn-service db migrate with the rights of the owner")


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in REVISIONS:
        message = f"the database is at schema {found}, newer than this version of gnn-service knows ({NEWEST}):"
        raise DatabaseRefusedError(f"{message} update gnn-service, or restore a backup of before")


async def _status(con: RawConnection, layer: Layer) -> SchemaStatus:
    role = await con.fetchrow(_ROLE)
    if role is None:
        raise AssertionError(_ROLE)
    return SchemaStatus(
        server=await capability(con),
        revision=await revision(con),
        role=role["name"],
        is_owner=role["owner"],
        is_superuser=role["superuser"],
        service_role=await roles.state(con),
        layer=layer,
    )


async def _with_patience(con: RawConnection, attempts: int, progress: Progress) -> None:
    """Run the revisions; again after a pause where others held a table longer than a statement may wait."""
    for attempt in range(1, attempts + 1):
        try:
            await _upgrade(con, progress)
            return
        except Exception as error:
            if attempt == attempts or getattr(getattr(error, "orig", error), "sqlstate", None) != "55P03":
                raise
            progress(f"a table is in use by others; attempt {attempt + 1} of {attempts}")
        await asyncio.sleep(_PAUSE_S * (1 + random.random()))


async def _upgrade(con: RawConnection, progress: Progress) -> None:
    """Run Alembic over this connection. Imported here: a service whose schema is current needs neither library."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import Connection, StaticPool  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def given() -> RawConnection:
        return con

    def upgrade(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
        command.upgrade(config, "head")

    progress(f"migrating to {NEWEST}")
    await con.execute(f"create schema if not exists {SCHEMA}")
    engine = create_async_engine(
        "postgresql+asyncpg://?prepared_statement_cache_size=0", async_creator=given, poolclass=StaticPool
    )
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - of threads; ends with the other migration
        await asyncio.sleep(_POLL_S)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
    finally:
        _ALEMBIC.release()
        await engine.dispose(close=False)  # the connection is not SQLAlchemy's to close
