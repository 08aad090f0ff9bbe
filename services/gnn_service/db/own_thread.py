"""One thread that does blocking work in order, for one event loop."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Job(Generic[T]):
    def __init__(self, work: Callable[[], T], outcome: "asyncio.Future[T]") -> None:
        self._work = work
        self._outcome = outcome

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            value = self._work()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who waits for it
            self._tell(loop, self._fail, error)
        else:
            self._tell(loop, self._succeed, value)

    @staticmethod
    def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(how, what)

    def _succeed(self, value: T) -> None:
        if not self._outcome.done():
            self._outcome.set_result(value)

    def _fail(self, error: BaseException) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)


class OwnThread:
    """Starts at once, and belongs to the running event loop.

    A daemon: work that never returns does not keep the process.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._left = asyncio.Event()
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """The future of what ``work`` returns or raises, done after all that was submitted before.

        Cancelling it leaves the work as it is.
        """
        outcome: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(lambda: work(*args, **kwargs), outcome))
        return outcome

    def leave(self) -> None:
        """Have the thread end after what was submitted so far."""
        self._jobs.put(None)

    async def left(self) -> None:
        """Wait until the thread has ended."""
        await self._left.wait()

    def _main(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run(self._loop)
            del job  # what it holds may be large
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._left.set)
