"""A database manager for tests: the product's settings, with the times that a test states."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pydantic import SecretStr

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.db.manager import DatabaseManager


def database_settings(**values: Any) -> DatabaseSettings:
    """Quick to notice and to repeat; what a test states counts."""
    fitting: dict[str, Any] = {
        "query_timeout_s": 5.0,
        "statement_timeout_s": 4.0,
        "acquire_timeout_s": 2.0,
        "connection": {"timeout_s": 2.0},
        "health": {"timeout_s": 0.5, "backoff_s": 0.2, "backoff_max_s": 0.5},
    }
    for name, value in values.items():
        fitting[name] = {**fitting.get(name, {}), **value} if isinstance(value, dict) else value
    return DatabaseSettings(**fitting)


@asynccontextmanager
async def managed(
    url: SecretStr, *, draw: Callable[[], float] | None = None, **values: Any
) -> AsyncIterator[DatabaseManager]:
    """A started manager; stopped at the end, whatever happened, within its 5 s, and leaving no task behind."""
    before = asyncio.all_tasks()
    options = {} if draw is None else {"draw": draw}
    manager = DatabaseManager(database_settings(**values), url=url, **options)
    await manager.start()
    try:
        yield manager
    finally:
        started = time.monotonic()
        await manager.stop()
        assert time.monotonic() - started <= 5
        await until(lambda: not asyncio.all_tasks() - before, 2)


async def until(true: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until it is true.

    Raises:
        AssertionError: it was not in ``timeout_s``.
    """
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < timeout_s, f"not so after {timeout_s:g} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def seconds_of(work: Awaitable[Any]) -> tuple[float, Any]:
    """How long something took, and what it gave or raised."""
    started = time.monotonic()
    try:
        result = await work
    except Exception as error:  # noqa: BLE001 - looked at by the test
        result = error
    return time.monotonic() - started, result


@asynccontextmanager
async def observer(url: SecretStr) -> AsyncIterator[Any]:
    """A connection beside the manager's, to look at the server with."""
    con = await asyncpg.connect(url.get_secret_value(), timeout=5, server_settings={"application_name": "observer"})
    try:
        yield con
    finally:
        await con.close(timeout=5)


async def statements(con: Any) -> list[str]:
    """What the managers of this database are doing on the server now."""
    rows = await con.fetch(
        "select query from pg_stat_activity where application_name = 'gnn-service' and state = 'active'"
        " and datname = current_database()"
    )
    return [row["query"] for row in rows]
