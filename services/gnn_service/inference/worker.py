"""One thread that owns one runtime: builds it, runs it, closes it. The event loop only ever hands over and waits."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from gnn_service.core.errors import EngineFailedError, GnnServiceError
from gnn_service.inference.runtimes.base import Runtime, RuntimeLostError

R = TypeVar("R", bound=Runtime)
T = TypeVar("T")
P = ParamSpec("P")
_LATE_S: Final = 0.1
"""A timer that rings this much too late shows that the event loop itself stood still."""
_EARLY_S: Final = 0.002
"""Timers of some event loops ring up to a millisecond before their time."""
_log = logging.getLogger(__name__)


class WorkerLostError(EngineFailedError):
    """The thread ended, or a job took longer than a working one ever does."""


class WorkerHungError(WorkerLostError):
    """A job took longer than a working one ever does; its thread may never leave."""


class JobFailedError(EngineFailedError):
    """A job raised; the worker goes on. ``error`` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(describe(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class _Returned(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Raised:
    """Carried as a value: a future takes no StopIteration, and a runtime's TimeoutError is not the heartbeat's."""

    error: Exception


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """``due_at``, on the event loop's clock, is when silence about it means a hang; ``late_once`` after a late timer.

    ``ended`` is set on the thread: the outcome is on its way to an event loop that has not come to it yet.
    """

    function: Callable[..., T]
    arguments: tuple[Any, ...]
    outcome: asyncio.Future[_Returned[T] | _Raised]
    limit_s: float
    due_at: float
    late_once: bool = False
    ended: bool = False


class Worker(Generic[R]):
    """Starts its thread at once; await `built` before the first `call`. Belongs to the running event loop.

    A thread cannot be ended from outside: after `retire` it leaves when its present job returns. It is a daemon, so
    one that never returns does not keep the process.

    Args:
        factory: builds the runtime, on the thread.
        on_exit: called in the event loop when the thread has left, for whatever reason.
    """

    def __init__(self, factory: Callable[[], R], on_exit: Callable[[], object] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._on_exit = on_exit
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._pending: set[_Job[Any]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._built: asyncio.Future[None] = self._loop.create_future()
        self._exited = asyncio.Event()
        self._busy_since: float | None = None
        self._retired = False
        self.name: str | None = None
        self.device: str | None = None
        self._why = "it was retired"
        self._thread = threading.Thread(target=self._main, name="gnn-model", daemon=True)
        self._thread.start()

    @property
    def exited(self) -> bool:
        """Whether the thread has left."""
        return self._exited.is_set()

    @property
    def busy_s(self) -> float:
        """Seconds that the present job has taken, 0.0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def built(self) -> None:
        """Wait until the runtime is built.

        Raises:
            GnnServiceError: building it failed; errors of other kinds arrive as EngineFailedError.
        """
        await asyncio.shield(self._built)

    async def call(
        self, function: Callable[Concatenate[R, P], T], timeout_s: float, *arguments: P.args, **_: P.kwargs
    ) -> T:
        """Run ``function(runtime, *arguments)`` on the thread, after the jobs before it.

        Give it what it needs as arguments: a function that encloses arrays keeps them as long as an error of it lives.

        Raises:
            JobFailedError: it raised.
            WorkerLostError: the thread left.
            WorkerHungError: it was silent for ``timeout_s`` seconds.
        """
        if self._exited.is_set():
            raise self._lost()
        due_at = self._loop.time() + timeout_s
        job: _Job[T] = _Job(function, arguments, self._loop.create_future(), timeout_s, due_at)
        self._pending.add(job)
        if job.due_at < self._alarm_at:
            self._wind_up(job.due_at)
        self._jobs.put(job)
        try:
            outcome = await job.outcome
        finally:
            self._pending.discard(job)
        if isinstance(outcome, _Raised):
            raise JobFailedError(outcome.error) from outcome.error
        return outcome.value

    def retire(self) -> None:
        """Have the thread leave after its present job."""
        if not self._retired:
            self._retired = True
            self._jobs.put(None)
            if not self._pending:
                self._silence()

    async def join(self, timeout_s: float) -> bool:
        """Wait until the thread has left; False when it has not within ``timeout_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._exited.wait()
        if not self._exited.is_set():
            return False
        self._thread.join()  # it has posted its farewell: microseconds
        return True

    # ---- on the thread ----

    def _main(self) -> None:
        lost: BaseException | None = None
        try:
            runtime = self._factory()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiter must hear of it
            self._post(self._leave, error)
            return
        self._post(self._announce, runtime.name, runtime.device)
        try:
            self._work(runtime)
        except BaseException as error:  # noqa: BLE001 - whatever it is, every waiter must hear of it
            _forget_locals(error)
            lost = error
        try:
            runtime.close()
        except Exception:  # noqa: BLE001 - the thread leaves either way
            _log.exception("closing the model's runtime failed")
        self._post(self._leave, lost)

    def _work(self, runtime: R) -> None:
        while (job := self._jobs.get()) is not None:
            self._busy_since = time.monotonic()
            outcome: _Returned[Any] | _Raised
            try:
                outcome = _Returned(job.function(runtime, *job.arguments))
            except RuntimeLostError:
                raise
            except Exception as error:  # noqa: BLE001 - a job's failure is its caller's to judge
                _forget_locals(error)
                outcome = _Raised(error)
            finally:
                self._busy_since = None
            job.ended = True
            self._post(_settle, job.outcome, outcome)
            del job, outcome  # an idle thread holds no arrays

    def _post(self, callback: Callable[..., object], *args: Any) -> None:
        # The loop may be gone when a worker that hung comes back: then nobody is left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    # ---- in the event loop ----

    def _wind_up(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_at(at, self._ring)

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = float("inf")

    def _ring(self) -> None:
        """Tell the jobs that nothing was heard of in their time; the alarm stands until no job is left.

        A timer that rings late shows that the loop stood still, and maybe the worker with it (a paused machine, a
        stopped process): that says nothing about the worker, so each job gets its time anew. Once: a loop that is
        always late must not put a hang off for ever.
        """
        now, late = self._loop.time(), self._loop.time() - self._alarm_at > _LATE_S
        self._silence()
        for job in self._pending:
            if late and not job.late_once:
                job.late_once, job.due_at = True, now + job.limit_s
            elif job.due_at <= now + _EARLY_S and not job.ended and not job.outcome.done():
                lost = f"the model's worker hangs: no sign of life for {job.limit_s:g} s"
                job.outcome.set_exception(WorkerHungError(lost))
        waiting = [job.due_at for job in self._pending if not job.ended and not job.outcome.done()]
        if waiting:
            self._wind_up(min(waiting))

    def _announce(self, name: str, device: str) -> None:
        self.name, self.device = name, device
        _settle(self._built, None)

    def _leave(self, error: BaseException | None) -> None:
        if error is not None:
            self._why = describe(error)
        self._exited.set()
        if not self._built.done():
            self._built.set_exception(_load_error(error))
            self._built.exception()  # nobody may be waiting any more
        self._silence()
        for job in tuple(self._pending):
            if not job.outcome.done():
                job.outcome.set_exception(self._lost())
        self._on_exit()

    def _lost(self) -> WorkerLostError:
        return WorkerLostError(f"the model's worker ended: {self._why}")


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, GnnServiceError):
        return str(error)
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])


def _forget_locals(error: BaseException) -> None:
    """Whoever keeps the error shall not keep the batch that it came from."""
    traceback.clear_frames(error.__traceback__)


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _load_error(error: BaseException | None) -> GnnServiceError:
    if isinstance(error, GnnServiceError):
        return error
    failed = EngineFailedError(f"the model cannot be loaded: {describe(error) if error else 'its worker left'}")
    failed.__cause__ = error
    return failed
