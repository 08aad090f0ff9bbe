"""What every repository stands on: something that runs work on a connection, and the tenant whose rows it sees."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

import asyncpg

from gnn_service.db.pool import Connection

__all__ = ["DEFAULT_TENANT", "Connection", "Repository", "Runner", "instant", "microseconds"]

T = TypeVar("T")
DEFAULT_TENANT: Final = 1
_UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Runner(Protocol):
    """Runs work on a connection, with deadlines, repetition and breaker: `db.manager.DatabaseManager`."""

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        name: str,
        idempotent: bool,
        timeout_s: float | None = None,
    ) -> T:
        """The result of the work. ``idempotent`` work is repeated whole when the connection is lost."""
        ...


class Repository:
    """The rows of one tenant, reached through a runner. Its methods raise the errors of `core.errors` alone."""

    def __init__(self, database: Runner, *, tenant_id: int = DEFAULT_TENANT) -> None:
        self._database = database
        self._tenant = tenant_id

    async def _fetch(self, name: str, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Rows of a query that changes nothing, or nothing more when it runs again."""

        async def work(con: Connection) -> Sequence[asyncpg.Record]:
            return await con.fetch(sql, *arguments)

        return await self._database.run(work, name=name, idempotent=True)

    async def _row(self, name: str, sql: str, *arguments: Any) -> asyncpg.Record | None:
        """The first of those rows, None where there is none."""
        rows = await self._fetch(name, sql, *arguments)
        return rows[0] if rows else None


def instant(microseconds: int) -> datetime:
    """Microseconds since 1970 UTC as a datetime, exactly."""
    return _UNIX + timedelta(microseconds=int(microseconds))


def microseconds(time: datetime) -> int:
    """A datetime with a zone as microseconds since 1970 UTC, exactly."""
    since = time - _UNIX
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
