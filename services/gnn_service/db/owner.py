"""A connection of the role that owns the schema: for migrations, backups and the checks before them.

It is not the pool's: it waits longer for statements and holds the lock that lets one process at a time migrate.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeAlias

import asyncpg
from pydantic import SecretStr

from gnn_service.core.config_upkeep import MigrationSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import failures
from gnn_service.db.capability import CAPABILITY_SQL, Capability

RawConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Progress: TypeAlias = Callable[[str], None]

APPLICATION: Final = "gnn-service migration"
SEARCH_PATH: Final = "gnn, public"
MIGRATION_LOCK: Final = 0x676E6E_6D6967  # "gnnmig"; locks of this kind belong to one database
_CONNECT_S: Final = 10.0
_POLL_S: Final = 0.1
_MARGIN_S: Final = 5.0  # the server gives up before the client does
_HOLDER = """
select a.pid, a.application_name, a.usename, now() - a.backend_start as since
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = ($1::bigint >> 32)::int and l.objid::bigint = ($1::bigint & 4294967295)
"""


def no_progress(step: str) -> None:
    """Tell nobody."""


@asynccontextmanager
async def connected(
    url: SecretStr, limits: MigrationSettings | None = None, *, opened: Callable[[RawConnection], object] | None = None
) -> AsyncIterator[RawConnection]:
    """A connection of its own, closed afterwards within seconds, whatever happens to the network.

    ``opened`` is given the connection, for whoever may have to cut it off: work that waits for a silent server does not
    end by being cancelled.

    Raises:
        DatabaseRefusedError: a wrong password, a missing database or right: no repetition mends it.
        DatabaseUnavailableError: the server cannot be reached, or broke off.
        QueryTimeoutError: a statement took too long.
    """
    limits = limits or MigrationSettings()
    try:
        con: RawConnection = await asyncpg.connect(
            url.get_secret_value(),
            timeout=_CONNECT_S,
            command_timeout=limits.statement_timeout_s + _MARGIN_S,
            statement_cache_size=0,  # tables change under way
            server_settings={
                "application_name": APPLICATION,
                "statement_timeout": _ms(limits.statement_timeout_s),
                "lock_timeout": _ms(limits.lock_timeout_s),
                "idle_in_transaction_session_timeout": _ms(limits.statement_timeout_s),
                "client_min_messages": "warning",
            },
        )
    except Exception as error:
        raise failures.of_connecting(error).error from error
    if opened is not None:
        opened(con)
    try:
        with told(con):
            await con.execute(f"set search_path = {SEARCH_PATH}")  # a pooler would pass over it at the start
            yield con
    finally:
        con.terminate()  # nothing is left to say, and a silent server must not be waited for


@contextmanager
def told(con: RawConnection) -> Iterator[None]:
    """Errors of work on this connection as those of the product."""
    try:
        yield
    except Exception as error:
        failure = failures.of_work(_cause(error), lost=con.is_closed())
        if failure is None:
            raise
        raise failure.error from error


async def capability(con: RawConnection) -> Capability:
    """What the server can do. DatabaseRefusedError where it is too old."""
    row = await con.fetchrow(CAPABILITY_SQL)
    if row is None:
        raise AssertionError(CAPABILITY_SQL)
    return Capability.of(**row)


@asynccontextmanager
async def only_one(con: RawConnection, wait_s: float, progress: Progress = no_progress) -> AsyncIterator[None]:
    """Hold the database's migration lock; it ends with the connection, even where that is cut off.

    Raises:
        DatabaseUnavailableError: another process still had it after ``wait_s`` seconds.
    """
    until = time.monotonic() + wait_s
    told_already = False
    while not await con.fetchval("select pg_try_advisory_lock($1)", MIGRATION_LOCK):
        if not told_already:
            progress("waiting for another process that migrates")
            told_already = True
        if time.monotonic() >= until:
            raise DatabaseUnavailableError(f"{await _holder(con)} has been migrating this database for {wait_s:g} s")
        await asyncio.sleep(_POLL_S)
    yield  # after an error nothing more is asked: the connection is closed, and that frees the lock
    await con.execute("select pg_advisory_unlock($1)", MIGRATION_LOCK)


async def refuse_service_role(con: RawConnection, role: str) -> None:
    """Only the owner migrates.

    Raises:
        DatabaseRefusedError: this connection is the service's role.
    """
    if await con.fetchval("select current_user = $1", role):
        message = f"role {role} serves and may not change the schema:"
        raise DatabaseRefusedError(f"{message} name the owner's address in GNN_DATABASE__OWNER_URL")


async def _holder(con: RawConnection) -> str:
    row = await con.fetchrow(_HOLDER, MIGRATION_LOCK)
    return "another process" if row is None else f"{row['application_name'] or row['usename']} (backend {row['pid']})"


def _cause(error: Exception) -> Exception:
    """What asyncpg raised, out of what SQLAlchemy made of it."""
    original = getattr(error, "orig", None)
    cause = getattr(original, "__cause__", None)
    return cause if isinstance(cause, Exception) else error


def _ms(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
