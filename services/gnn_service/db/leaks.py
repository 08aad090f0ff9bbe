"""Who holds a connection for too long: logs where it was taken and where its holder stands now.

After HikariCP's leakDetectionThreshold. Taking a connection costs a walk over a few frames, no text is made before
something is late.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Final

from gnn_service.observability import logs

_FRAMES: Final = 16
_ROOMS: Final = ("gnn_service.db.pool", "gnn_service.db.keeper", "gnn_service.db.manager")
_log = logs.logger("gnn_service.db.leaks")


class LeakWatch:
    """Watches one holder until `stop`."""

    __slots__ = ("_after_s", "_on_leak", "_place", "_task", "_timer")

    def __init__(self, after_s: float, on_leak: Callable[[], None]) -> None:
        self._after_s = after_s
        self._on_leak = on_leak
        self._task = asyncio.current_task()
        self._place = _callers()
        self._timer = asyncio.get_running_loop().call_later(after_s, self._report)

    def follow(self, task: asyncio.Task[Any]) -> None:
        """The work goes on in this task."""
        self._task = task

    def stop(self) -> None:
        """The connection was given back."""
        self._timer.cancel()
        self._task = None

    def _report(self) -> None:
        self._on_leak()
        task, self._task = self._task, None
        _log.warning(
            "connection held too long",
            held_s=self._after_s,
            task=task.get_name() if task else None,
            taken_at=[_place(code, line) for code, line in self._place],
            stands_at=[_place(frame.f_code, frame.f_lineno) for frame in _awaiting(task)],
        )


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line} {code.co_qualname}"


def _awaiting(task: asyncio.Task[Any] | None) -> Iterator[FrameType]:
    """The frames of a suspended task, outermost first; `Task.get_stack` gives the first of them alone."""
    coroutine: Any = task.get_coro() if task is not None else None
    while coroutine is not None:
        frames = (getattr(coroutine, name, None) for name in ("cr_frame", "ag_frame", "gi_frame"))
        if (frame := next(filter(None, frames), None)) is not None:
            yield frame
        inner = (getattr(coroutine, name, None) for name in ("cr_await", "ag_await", "gi_yieldfrom"))
        coroutine = next(filter(None, inner), None)


def _callers() -> list[tuple[CodeType, int]]:
    """Code and line of who asked, nearest first, without the machinery in between."""
    found: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - a stack as text would cost more than most queries
    while frame is not None and len(found) < _FRAMES:
        if frame.f_globals.get("__name__") not in _MACHINERY:
            found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found


_MACHINERY: Final = frozenset({"contextlib", "gnn_service.core.retry", __name__, *_ROOMS})
