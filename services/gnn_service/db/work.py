"""Work on a connection, bounded: by a deadline that no library code can outlast, and by a transaction around it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeAlias, TypeVar

import asyncpg

from gnn_service.db.pool import CANCEL_GRACE_S, Connection, Held, is_lost

T = TypeVar("T")
Isolation: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]


async def within(held: Held, work: Callable[[Connection], Awaitable[T]], timeout_s: float) -> T:
    """The result of the work, which has a task of its own.

    A task that waits inside asyncpg cannot be trusted to end when it is cancelled: a rollback waits for a server
    that may be gone. So this one waits outside, and cuts the connection off where the work does not end by itself.

    Raises:
        TimeoutError: the work took longer than ``timeout_s``; it has ended.
        Exception: what the work raised.
    """
    task = asyncio.create_task(_started(work, held.con))
    held.leak.follow(task)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    except BaseException:
        await _end(task, held.con)
        raise
    if task.done():
        return task.result()
    await _end(task, held.con)
    if task.done() and not task.cancelled() and task.exception() is None:
        return task.result()  # it was done in the very moment
    raise TimeoutError


async def _started(work: Callable[[Connection], Awaitable[T]], con: Connection) -> T:
    return await work(con)


async def _end(task: asyncio.Task[Any], con: Connection) -> None:
    """Cancel the work; where the server does not let it end in time, cut the connection off."""
    task.add_done_callback(_retrieve)
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
    finally:
        if not task.done():
            cut_off(con)
            task.cancel()  # what it waits for by now, it may wait for in vain
    if not task.done():
        await asyncio.wait({task}, timeout=CANCEL_GRACE_S)


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody else asks for it


def cut_off(con: Connection) -> None:
    """Close the connection at once; who waits for it gets an error."""
    with contextlib.suppress(asyncpg.InterfaceError):  # taken away already
        con.terminate()


@contextlib.asynccontextmanager
async def transaction(con: Connection, isolation: Isolation, *, readonly: bool = False) -> AsyncIterator[None]:
    """A transaction around the block: committed at its end, rolled back where it raises.

    Where asyncpg's own raises its complaint about a lost connection, this raises what the block raised. A connection
    on which neither commit nor rollback came to a known end is cut off.
    """
    block = con.transaction(isolation=isolation, readonly=readonly)
    await _surely(con, block.start())
    try:
        yield
    except BaseException:
        if not is_lost(con):
            await _roll_back(con, block.rollback())
        raise
    await _surely(con, block.commit())


async def _surely(con: Connection, step: Coroutine[Any, Any, None]) -> None:
    """A step whose end, if it is not the server's word, leaves the connection in a state that nobody knows."""
    try:
        await step
    except asyncpg.PostgresError:
        raise
    except BaseException:
        await _roll_back(con, con.execute("rollback"))  # or, if the server is there, it would go on for a while
        cut_off(con)
        raise


async def _roll_back(con: Connection, step: Coroutine[Any, Any, Any]) -> None:
    try:
        async with asyncio.timeout(CANCEL_GRACE_S):
            await step
    except Exception:  # noqa: BLE001 - what the block raised is what counts
        cut_off(con)
    except BaseException:
        cut_off(con)
        raise
