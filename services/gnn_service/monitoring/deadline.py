"""Work outside this process gets a deadline even where it does not heed its own cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from gnn_service.core.errors import DeadlineExceededError
from gnn_service.observability import logs

T = TypeVar("T")
GRACE_S: Final = 2.0
"""Seconds that cancelled work has to end; then it is left behind."""
_left_behind: set[asyncio.Task[Any]] = set()
_log = logs.logger("gnn_service.monitoring")


async def within(seconds: float, work: Coroutine[Any, Any, T], *, name: str, grace_s: float = GRACE_S) -> T:
    """The result of the work, or a DeadlineExceededError in time, whatever the work does."""
    task = asyncio.create_task(work, name=name)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=grace_s)
    finally:
        if not task.done():
            task.cancel()
            _left_behind.add(task)
            task.add_done_callback(_buried)
    if not task.done():
        _log.error("work that does not end is left behind", work=name)
    elif not task.cancelled() and task.exception() is None:
        return task.result()  # it was just in time
    raise DeadlineExceededError(f"{name} took longer than {seconds:g} s")


def _buried(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("work that was left behind failed", work=task.get_name(), error=str(error))
