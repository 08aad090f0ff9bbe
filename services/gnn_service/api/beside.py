"""Opening one thing while another is opened too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def begun(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[Callable[[], Awaitable[T]]]:
    """Enter a context manager in a task of its own, at once; what is yielded waits for what it gives.

    It is left, in that same task, when this context is left. What entering or leaving it raises is raised here.
    """
    leave = asyncio.Event()
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with manager as value:
            entered.set_result(value)
            await leave.wait()

    task = asyncio.create_task(hold(), name="opening")

    async def value() -> T:
        either: set[asyncio.Future[Any]] = {task, entered}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not entered.done():
            task.result()  # raises what entering raised
        return entered.result()

    try:
        yield value
    finally:
        leave.set()
        if not entered.done():
            task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
