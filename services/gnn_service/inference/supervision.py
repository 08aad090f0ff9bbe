"""Keeps one warm worker: starts it, notices its loss, starts the next one after a pause that grows."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gnn_service.core.clock import Clock
from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import EngineFailedError, EngineStoppedError, GnnServiceError
from gnn_service.inference.canary import Canary
from gnn_service.inference.execution import BatchRunner, ModelWorker
from gnn_service.inference.left_behind import LeftBehind
from gnn_service.inference.loaded import LoadedModel
from gnn_service.inference.runtimes.base import Runtime
from gnn_service.inference.stats import Counters, WorkerState
from gnn_service.inference.worker import JobFailedError, Worker, WorkerHungError, WorkerLostError, describe

WARM_UP_S: Final = 10.0
"""Seconds after which a slow model is warm enough, when it has run every batch size once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all models of one engine, and all their instances, have in common."""

    settings: InferenceSettings
    clock: Clock
    counters: Counters
    left_behind: LeftBehind
    start_timeout_s: float


class Supervisor:
    """The life of one model thread.

    Args:
        factory: builds the runtime.
        shared: settings, clock and counters of the engine.
        runner: runs what warms a worker up.
        canary: what a worker must answer rightly before it serves.
        serve: takes batches through a worker until that is lost.
        on_loss: told why the worker was lost and when to come back, before the restart.
        on_change: told of every change of ``state``.
        on_exit: told that a worker's thread left, so that an idle loss is noticed at once.
    """

    def __init__(
        self,
        factory: Callable[[], Runtime],
        shared: Shared,
        *,
        runner: BatchRunner,
        canary: Canary,
        serve: Callable[[ModelWorker], Awaitable[None]],
        on_loss: Callable[[str, float], None],
        on_change: Callable[[], object],
        on_exit: Callable[[], object],
    ) -> None:
        self._factory = factory
        self._shared = shared
        self._settings = shared.settings
        self._clock = shared.clock
        self._runner = runner
        self._canary = canary
        self._serve = serve
        self._on_loss = on_loss
        self._on_change = on_change
        self._on_exit = on_exit
        self._state = WorkerState.NEW
        self.worker: ModelWorker | None = None
        self.last_error: str | None = None
        self.retry_s = 1.0
        self._starting: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving: list[ModelWorker] = []
        self._strikes = 0
        self._ready_at = 0.0

    @property
    def state(self) -> WorkerState:
        """Where this instance is."""
        return self._state

    async def start(self) -> None:
        """Bring up the first worker and keep one from then on.

        Raises:
            GnnServiceError: it cannot be brought up.
            EngineStoppedError: started or stopped before, or stopped meanwhile.
        """
        if self._state is not WorkerState.NEW:
            raise EngineStoppedError("an engine starts once; build a new one")
        self._become(WorkerState.STARTING)
        self._starting = asyncio.create_task(self._begin(), name="gnn-engine-start")
        [error] = await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(error, asyncio.CancelledError):  # by `stop`: a caller who gives up is cancelled above
            raise EngineStoppedError("the engine was stopped while it started")
        if error is not None:
            raise error

    def close_door(self) -> None:
        """Bring up no worker from now on."""
        if self._state is not WorkerState.STOPPED:
            self._become(WorkerState.STOPPING)

    async def stop(self) -> None:
        """End the tasks and the threads, one that is still loading too.

        A thread that has not left after a few seconds is left behind, and logged.
        """
        tasks = [task for task in (self._starting, self._task) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self.worker is not None:
            self.worker.retire()  # not given up yet: it leaves when its present job has ended
            self._leaving.append(self.worker)
            self.worker = None
        await self._shared.left_behind.join(list(self._leaving))
        self._leaving = []
        self._become(WorkerState.STOPPED)

    async def _begin(self) -> None:
        try:
            self.worker = await self._bring_up()
        except BaseException as error:
            if isinstance(error, Exception):
                self.last_error = describe(error)
            self._become(WorkerState.STOPPED)
            raise
        # The task outlives whoever starts the engine, and must not carry on that caller's trace.
        self._task = asyncio.create_task(self._keep(self.worker), name="gnn-engine", context=contextvars.Context())
        self._task.add_done_callback(self._ended)

    async def _keep(self, worker: ModelWorker | None) -> None:
        while worker is not None:
            try:
                await self._serve(worker)
            except WorkerLostError as error:
                reason = error.detail
                self._shared.counters.hung += isinstance(error, WorkerHungError)
            except Exception as error:  # noqa: BLE001 - a defect here must not leave callers hanging
                _log.exception("the engine's loop failed")
                reason = f"the engine failed: {describe(error)}"
            else:
                reason = "the engine's loop ended"
            self._lose(worker, reason)
            worker = await self._restart()

    def _lose(self, worker: ModelWorker, reason: str) -> None:
        _log.error("lost the model's worker: %s", reason)
        if self._clock.monotonic() - self._ready_at > self._settings.restart_backoff_max_s:
            self._strikes = 0
        self.last_error = reason
        self.worker = None
        self._retire(worker)
        self.retry_s = max(1.0, self._pause_s())
        if self._state is WorkerState.READY:
            self._become(WorkerState.RESTARTING)
        self._on_loss(reason, self.retry_s)

    async def _restart(self) -> ModelWorker | None:
        """The next worker; None when the door has closed, and no other one is wanted."""
        while True:
            pause_s = self._pause_s()
            self._strikes += 1
            await self._clock.sleep(pause_s)
            if self._state is WorkerState.STOPPING:
                return None
            self._leaving = [worker for worker in self._leaving if not worker.exited]
            if reason := self._shared.left_behind.report():
                self.last_error = reason
                continue
            self._shared.counters.restarts += 1
            try:
                self.worker = await self._bring_up()
            except GnnServiceError as error:
                self.last_error = describe(error)
                if self._state is WorkerState.RESTARTING:
                    _log.warning("the model's worker could not be restarted: %s", self.last_error)
            else:
                _log.info("the model's worker is back")
                return self.worker

    def _pause_s(self) -> float:
        doubled = self._settings.restart_backoff_s * 2.0 ** min(self._strikes, 30)
        return min(self._settings.restart_backoff_max_s, doubled)

    async def _bring_up(self) -> ModelWorker:
        worker = Worker(self._load, self._on_exit)
        try:
            async with asyncio.timeout(self._shared.start_timeout_s):
                await worker.built()
                await self._warm_up(worker)
            if self._state is WorkerState.STOPPING or self._state is WorkerState.STOPPED:
                raise EngineStoppedError("the engine was stopped while it started")
        except TimeoutError:
            self._retire(worker)
            self._shared.counters.hung += 1
            limit_s = self._shared.start_timeout_s
            raise EngineFailedError(f"the model was not ready within {limit_s:g} s") from None
        except BaseException as error:
            worker.retire()
            self._leaving.append(worker)
            if isinstance(error, GnnServiceError):  # cancelled: who cancels waits for the thread
                await self._shared.left_behind.join([worker])
            raise
        self._ready_at = self._clock.monotonic()
        self._become(WorkerState.READY)
        return worker

    def _load(self) -> LoadedModel:
        return LoadedModel(self._factory(), self._canary.names, self._settings.batch_max)

    async def _warm_up(self, worker: ModelWorker) -> None:
        """Run the canary in batches of every size that is prepared for, then check its answer.

        Round after round, the largest first: every size runs once, and again until it has run ``warmup_iterations``
        times or `WARM_UP_S` seconds have passed. The canary is checked without a warm-up too.

        Raises:
            EngineFailedError: a run raised, or the answer is wrong.
            WorkerLostError: the worker crashed or hung.
        """
        limit_s, began = self._shared.start_timeout_s, self._clock.monotonic()
        sizes = await worker.call(_sizes, limit_s, self._settings.batch_max)
        for turn in range(self._settings.warmup_iterations):
            if turn and self._clock.monotonic() - began > WARM_UP_S:
                break
            for size in sizes:
                await self._warm(worker, size)
        flaw = await self._runner.canary_flaw(worker, limit_s)
        if flaw is not None:
            raise EngineFailedError(f"{flaw}; the bundle does not fit this runtime, rebuild or replace it")

    async def _warm(self, worker: ModelWorker, size: int) -> None:
        if size > self._runner.limit:
            return
        try:
            await self._runner.run(worker, [self._canary.item] * size, self._shared.start_timeout_s)
        except JobFailedError as failed:
            if not isinstance(failed.error, MemoryError) or size == 1:
                raise EngineFailedError(f"the model fails its warm-up: {failed.detail}") from failed.error
            await self._runner.make_room(worker, size)

    def _become(self, state: WorkerState) -> None:
        self._state = state
        self._on_change()

    def _retire(self, worker: ModelWorker) -> None:
        """Give a worker up: it crashed, hangs, or did not get ready in time."""
        self._shared.left_behind.add(worker)
        self._leaving.append(worker)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task is meant to run until it is cancelled; should it fail, nobody may be left waiting."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.last_error = f"the engine's supervisor failed: {describe(error)}"
        _log.critical(self.last_error)
        if self.worker is not None:
            self._retire(self.worker)
            self.worker = None
        self._become(WorkerState.STOPPED)
        self._on_loss(self.last_error, 1.0)


def _sizes(model: LoadedModel, batch_max: int) -> list[int]:
    """Batch sizes to warm up, the largest first: those that the runtime prepares, or the powers of two."""
    if model.buckets is not None:
        wanted = {min(size, batch_max) for size in model.buckets}
    else:
        wanted = {*(1 << bit for bit in range(batch_max.bit_length())), batch_max}
    return sorted({*wanted, 1}, reverse=True)
