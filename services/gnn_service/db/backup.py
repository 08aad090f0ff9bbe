"""The whole database in one file, and back: by PostgreSQL's own pg_dump and pg_restore.

A restore never touches what is there before the backup stands beside it, whole, migrated and checked; then the two
change names in one transaction.
"""

import asyncio
import dataclasses
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from gnn_service.core.config_upkeep import MigrationSettings, UpkeepSettings
from gnn_service.core.errors import ConflictError, DatabaseRefusedError
from gnn_service.db import programs, schema
from gnn_service.db.migrations import NEWEST, REVISIONS
from gnn_service.db.owner import Progress, RawConnection, capability, connected, no_progress
from gnn_service.db.place import Place
from gnn_service.db.programs import Connecting
from gnn_service.db.schema import SchemaStatus
from gnn_service.observability import logs

T = TypeVar("T")
_log = logs.logger("gnn_service.db.backup")

TIMEOUT_S: Final = 86_400.0
_PATIENT: Final = MigrationSettings(statement_timeout_s=TIMEOUT_S / 4)
_OTHERS: Final = """
select count(*) as sessions, string_agg(distinct coalesce(nullif(application_name, ''), usename), ', ') as who
from pg_stat_activity where datname = $1 and backend_type = 'client backend'
"""
_DUMPED_FROM: Final = re.compile(r"Dumped from database version: (\d+)")
_REVISION: Final = re.compile(r"COPY gnn\.alembic_version .*?;\n(\w+)\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that holds a database: its ``size`` in bytes, the schema's ``revision``, the server's major version."""

    path: Path
    size: int
    revision: str
    major: int
    timescale: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """The database as it is now, and under which name the former one was kept, if it was."""

    status: SchemaStatus
    kept: str | None


async def backup(
    place: Place, path: Path, *, replace: bool = False, timeout_s: float = TIMEOUT_S, progress: Progress = no_progress
) -> Backup:
    """Write a consistent copy of the database to a file, while the service goes on.

    The file appears when it is complete, readable by its owner alone.

    Raises:
        ConflictError: the file is there already.
        DatabaseRefusedError: no pg_dump of the server's version, no schema, or the disk is full.
        DatabaseUnavailableError: the server cannot be reached, or it took too long.
    """
    if not replace:
        _refuse_existing(path)
    async with connected(place.owner) as con:
        major = (await capability(con)).version[0]
        if await schema.revision(con) is None:
            raise DatabaseRefusedError("the database has no schema yet: there is nothing to keep")
    program, to = programs.find("pg_dump", major), Connecting.to(place.owner)
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(handle)
    try:
        command = [
            program, "--format=custom", "--no-password", "--verbose", "--lock-wait-timeout=10000",
            f"--file={part}", f"--dbname={to.uri}",
        ]  # fmt: skip
        await programs.run(command, to, timeout_s=timeout_s, progress=progress)
        made = await inspect(part, major)
        _settle(part, path)
    finally:
        part.unlink(missing_ok=True)
    return dataclasses.replace(made, path=path)


async def inspect(path: Path, major: int) -> Backup:
    """What a backup holds, read by the programs of ``major``.

    Raises:
        DatabaseRefusedError: it is no backup of this service, it is damaged, or of a newer version.
    """
    program, nowhere = programs.find("pg_restore", major), Connecting("", os.environ.copy())

    async def ask(*options: str) -> str:
        try:
            return await programs.run(
                [program, *options, str(path)], nowhere, timeout_s=TIMEOUT_S, progress=no_progress
            )
        except DatabaseRefusedError as error:
            raise DatabaseRefusedError(f"{path} is no backup that can be read: {error.detail}") from None

    size = _size(path)
    contents = await ask("--list")
    dumped = _DUMPED_FROM.search(contents)
    revision = _REVISION.search(await ask("--data-only", "--schema=gnn", "--table=alembic_version", "--file=-"))
    if dumped is None or revision is None:
        raise DatabaseRefusedError(f"{path} holds no database of this service")
    if revision[1] not in REVISIONS:
        message = f"{path} is at schema {revision[1]}, newer than this version of gnn-service knows ({NEWEST}):"
        raise DatabaseRefusedError(f"{message} update gnn-service")
    if int(dumped[1]) > major:
        raise DatabaseRefusedError(f"{path} is of PostgreSQL {dumped[1]}, the server is {major}: it cannot go back")
    timescale = " EXTENSION - timescaledb" in contents
    return Backup(path, size, revision[1], int(dumped[1]), timescale)


async def restore(
    place: Place,
    path: Path,
    *,
    upkeep: UpkeepSettings | None = None,
    disconnect: bool = False,
    keep: bool = False,
    timeout_s: float = TIMEOUT_S,
    progress: Progress = no_progress,
) -> Restored:
    """Put a backup in the place of the database.

    Args:
        place: where.
        path: the backup.
        upkeep: how long things are kept, for TimescaleDB's policies.
        disconnect: end the sessions of others instead of refusing.
        keep: leave the former database on the server, under another name.
        timeout_s: for the restoring.
        progress: hears each step.

    Raises:
        ConflictError: the database is in use.
        DatabaseRefusedError: the file cannot be used, a right or a program is missing; all is as it was.
        DatabaseUnavailableError: the server was lost; what is there is the former database, or the restored one.
    """
    async with connected(place.administrator, _PATIENT) as admin:
        major = (await capability(admin)).version[0]
        progress("checking the backup")
        found = await inspect(path, major)
        if not disconnect:
            await _refuse_in_use(admin, place.name)
        fresh = f"{place.name[:40]}_restoring_{uuid4().hex[:8]}"
        await _create(admin, fresh, place.role)
        try:
            await _fill(place, fresh, found, timeout_s, progress)
            progress("migrating what was restored")
            done = await schema.migrate(place.beside(fresh), _PATIENT, upkeep)
            async with connected(place.beside(fresh), _PATIENT) as con:
                await con.execute("analyze")
            progress("changing places")
            former = await _swap(admin, place.name, fresh, disconnect=disconnect)
        except BaseException:
            await asyncio.shield(_drop(admin, fresh))
            raise
        if former is not None and not keep:
            await _drop(admin, former)
    return Restored(done.status, former if keep else None)


async def _create(admin: RawConnection, name: str, role: str) -> None:
    may = "select rolcreatedb or rolsuper from pg_roles where rolname = current_user"
    if not await admin.fetchval(may):
        who = await admin.fetchval("select current_user")
        message = f"role {who} may not create the database that the backup is restored to:"
        raise DatabaseRefusedError(f"{message} as an administrator: alter role {who} createdb")
    await admin.execute(f"create database {_name(name)} template template0" + (f" owner {_name(role)}" if role else ""))


async def _fill(place: Place, fresh: str, found: Backup, timeout_s: float, progress: Progress) -> None:
    url = place.beside(fresh)
    to = Connecting.to(url)
    server = (await _asked(url, capability)).version[0]
    if found.timescale:
        await _asked(url, _before_timescale)
    command = [
        programs.find("pg_restore", server), "--no-owner", "--no-privileges", "--no-comments", "--no-password",
        "--verbose", "--exit-on-error", f"--dbname={to.uri}", str(found.path),
    ]  # fmt: skip
    await programs.run(command, to, timeout_s=timeout_s, progress=progress)
    if found.timescale:
        await _asked(url, _after_timescale)


async def _before_timescale(con: RawConnection) -> None:
    found = await con.fetchrow(
        "select exists (select from pg_available_extensions where name = 'timescaledb') as available,"
        " current_setting('timescaledb.disable_load', true) is not null as preloaded"
    )
    if found is None or not (found["available"] and found["preloaded"]):
        message = "the backup is of a server with TimescaleDB, and this one has none:"
        raise DatabaseRefusedError(f"{message} take the readings over with gnn-service db export and import")
    await con.execute("create extension if not exists timescaledb with schema public")
    await con.execute("select timescaledb_pre_restore()")


async def _after_timescale(con: RawConnection) -> None:
    await con.execute("select timescaledb_post_restore()")


async def _refuse_in_use(admin: RawConnection, name: str) -> None:
    others = await admin.fetchrow(_OTHERS, name)
    if others is not None and others["sessions"]:
        message = f"the database is in use ({others['sessions']} sessions: {others['who']}):"
        raise ConflictError(f"{message} stop the service first, or end its sessions with --disconnect")


async def _swap(admin: RawConnection, name: str, fresh: str, *, disconnect: bool) -> str | None:
    """Give the restored database the name; returns the former one's new name, None where there was none."""
    if not await admin.fetchval("select exists (select from pg_database where datname = $1)", name):
        await admin.execute(f"alter database {_name(fresh)} rename to {_name(name)}")
        return None
    if not disconnect:
        await _refuse_in_use(admin, name)
    former = f"{name[:40]}_before_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}"
    await admin.execute(f"alter database {_name(name)} with allow_connections false")
    try:
        # background workers too
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = any($1)", [name, fresh]
        )
        async with admin.transaction():
            await admin.execute(f"alter database {_name(name)} rename to {_name(former)}")
            await admin.execute(f"alter database {_name(fresh)} rename to {_name(name)}")
    except BaseException:
        await asyncio.shield(_allow(admin, name))
        raise
    return former


async def _allow(admin: RawConnection, name: str) -> None:
    if not admin.is_closed():
        await admin.execute(f"alter database {_name(name)} with allow_connections true")


async def _drop(admin: RawConnection, name: str) -> None:
    """Remove a database of our making; what cannot be removed is told of and left."""
    try:
        await admin.execute(f"drop database if exists {_name(name)} with (force)")
    except Exception as error:  # noqa: BLE001 - the error that led here matters more
        _log.warning("database_left_behind", database=name, reason=str(error))


async def _asked(url: SecretStr, work: Callable[[RawConnection], Awaitable[T]]) -> T:
    async with connected(url, _PATIENT) as con:
        return await work(con)


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise ConflictError(f"{path} is there already: choose another name, or replace it with --replace")


def _size(path: Path) -> int:
    if not path.is_file():
        raise DatabaseRefusedError(f"there is no file {path}")
    return path.stat().st_size


def _settle(part: Path, path: Path) -> None:
    """Make the finished file last under its name."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
