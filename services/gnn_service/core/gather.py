"""Group commit: what many callers bring within a few milliseconds is worked on at once, and each gets its own answer.

J. Gray, A. Reuter, "Transaction Processing" (1993), 9.4.7: one expensive step, such as an fsync, for all who wait.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import GnnServiceError, OverloadedError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")
RETRY_S: Final = 1.0
"""What callers are told to wait when too much waits, in seconds."""
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Brought(Generic[T, R]):
    item: T
    size: int
    outcome: "asyncio.Future[R]"


class Gather(Generic[T, R]):
    """One batch at a time, in order of arrival; belongs to the event loop in which `start` is called.

    Args:
        work: answers the items of a batch, an error for those that it refuses. What it raises all of them get.
        name: what is done, for messages and the task.
        wait_s: seconds that a batch is held open from its first item on.
        waiting_max: size of all that may wait or be worked on; one item alone may be larger.
        batch_max: size of a batch; one item alone may be larger.
        unavailable: the error of those whose items are not worked on.
        clock: monotonic seconds and pauses.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R | GnnServiceError]]],
        *,
        name: str,
        wait_s: float,
        waiting_max: int,
        batch_max: int,
        unavailable: type[UnavailableError] = UnavailableError,
        clock: Clock | None = None,
    ) -> None:
        self._work = work
        self._name = name
        self._wait_s = wait_s
        self._waiting_max = waiting_max
        self._batch_max = batch_max
        self._unavailable = unavailable
        self._clock = clock or SystemClock()
        self._waiting: deque[_Brought[T, R]] = deque()
        self._size = 0
        self._first_at = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._stopping = False
        self.refused_total = 0

    @property
    def size(self) -> int:
        """Size of all that waits or is worked on."""
        return self._size

    def start(self) -> None:
        """Begin to work."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self, timeout_s: float) -> bool:
        """Take nothing more and finish what waits; False where that took longer, then the rest is refused."""
        task, self._task = self._task, None
        self._stopping = True
        self._wake.set()
        if self._pause is not None:
            self._pause.cancel()
        if task is None:
            return True
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
        finally:
            task.cancel()
            self._refuse(self._waiting, self._stopped())
            self._waiting.clear()
        return bool(done)

    async def put(self, item: T, size: int) -> R:
        """The answer to an item. A caller that is cancelled does not know whether it was worked on.

        Raises:
            OverloadedError: too much waits; the item was not taken.
            UnavailableError: this is not running, stopped before the item was worked on, or failed.
            GnnServiceError: the item was refused.
        """
        if self._task is None or self._stopping:
            raise self._stopped()
        if self._size and self._size + size > self._waiting_max:
            self.refused_total += 1
            raise OverloadedError(f"too much waits for the {self._name}; try again later", retry_after_s=RETRY_S)
        brought: _Brought[T, R] = _Brought(item, size, asyncio.get_running_loop().create_future())
        if not self._waiting:
            self._first_at = self._clock.monotonic()
        self._waiting.append(brought)
        self._size += size
        self._wake.set()
        return await brought.outcome

    async def _run(self) -> None:
        while not self._stopping or self._waiting:
            await self._wake.wait()
            held_s = self._clock.monotonic() - self._first_at
            if self._waiting and not self._stopping and held_s < self._wait_s:
                await self._hold_open(self._wait_s - held_s)
            batch = self._take()
            if not self._waiting and not self._stopping:
                self._wake.clear()
            await self._answer(batch)

    async def _hold_open(self, seconds: float) -> None:
        self._pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({self._pause})
        finally:
            self._pause.cancel()

    def _take(self) -> list[_Brought[T, R]]:
        batch: list[_Brought[T, R]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._batch_max):
            brought = self._waiting.popleft()
            if brought.outcome.done():  # whoever brought it has left
                self._size -= brought.size
                continue
            batch.append(brought)
            size += brought.size
        return batch

    async def _answer(self, batch: Sequence[_Brought[T, R]]) -> None:
        if not batch:
            return
        try:
            answers = await self._work([brought.item for brought in batch])
            for brought, answer in zip(batch, answers, strict=True):
                if isinstance(answer, GnnServiceError):
                    self._refuse([brought], answer)
                elif not brought.outcome.done():
                    brought.outcome.set_result(answer)
        except GnnServiceError as error:
            self._refuse(batch, error)
        except asyncio.CancelledError:
            self._refuse(batch, self._stopped())
            raise
        except Exception as error:  # noqa: BLE001 - nobody may be left waiting
            _log.exception("the %s failed", self._name)
            self._refuse(batch, self._unavailable(f"the {self._name} failed: {error}"))
        finally:
            self._size -= sum(brought.size for brought in batch)

    def _stopped(self) -> UnavailableError:
        return self._unavailable(f"the {self._name} is not running")

    def _refuse(self, batch: Sequence[_Brought[T, R]] | deque[_Brought[T, R]], error: GnnServiceError) -> None:
        for brought in batch:
            if not brought.outcome.done():  # its own: one that several raise would gather the frames of all
                own = type(error)(error.detail, where=error.where, retry_after_s=error.retry_after_s)
                brought.outcome.set_exception(own)
