"""Keeps one warm worker: starts it, notices its loss, starts the next one after a pause that grows."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from gnn_service.core.clock import Clock
from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import EngineFailedError, EngineStoppedError, GnnServiceError
from gnn_service.inference.canary import Canary
from gnn_service.inference.execution import BatchRunner, ModelWorker
from gnn_service.inference.loaded import LoadedModel
from gnn_service.inference.runtimes.base import Runtime
from gnn_service.inference.stats import Counters, WorkerState
from gnn_service.inference.worker import JobFailedError, Worker, WorkerLostError, describe

_JOIN_S: Final = 5.0
HUNG_MAX: Final = 4
"""Hung threads that are put up with; beyond, each restart would only cost more memory."""

_log = logging.getLogger(__name__)


class Supervisor:
    """The life of the engine's worker; see `Engine` for the arguments that it hands on.

    Args:
        serve: takes batches through a worker until that is lost.
        on_loss: told why the worker was lost and when to come back, before the restart.
        on_exit: told that a worker's thread left, so that an idle loss is noticed at once.
    """

    def __init__(  # noqa: PLR0913 - the parts of one engine, named
        self,
        factory: Callable[[], Runtime],
        settings: InferenceSettings,
        *,
        runner: BatchRunner,
        canary: Canary,
        clock: Clock,
        counters: Counters,
        serve: Callable[[ModelWorker], Awaitable[None]],
        on_loss: Callable[[str, float], None],
        on_exit: Callable[[], object],
        start_timeout_s: float,
    ) -> None:
        self._factory = factory
        self._settings = settings
        self._runner = runner
        self._canary = canary
        self._clock = clock
        self._counters = counters
        self._serve = serve
        self._on_loss = on_loss
        self._on_exit = on_exit
        self._start_timeout_s = start_timeout_s
        self.state = WorkerState.NEW
        self.worker: ModelWorker | None = None
        self.last_error: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving: list[ModelWorker] = []
        self._strikes = 0
        self._ready_at = 0.0
        self._retry_s = 1.0

    async def start(self) -> None:
        """Bring up the first worker and keep one from then on.

        Raises:
            GnnServiceError: it cannot be brought up.
            EngineStoppedError: started or stopped before.
        """
        if self.state is not WorkerState.NEW:
            raise EngineStoppedError("an engine starts once; build a new one")
        self.state = WorkerState.STARTING
        try:
            self.worker = await self._bring_up()
        except BaseException as error:
            self.last_error = describe(error)
            self.state = WorkerState.STOPPED
            raise
        # The task outlives whoever starts the engine, and must not carry on that caller's trace.
        self._task = asyncio.create_task(self._keep(self.worker), name="gnn-engine", context=contextvars.Context())
        self._task.add_done_callback(self._ended)

    def check_open(self) -> None:
        """Nothing, while requests are admitted.

        Raises:
            EngineFailedError: the worker is being restarted.
            EngineStoppedError: not started yet, or stopping.
        """
        if self.state is WorkerState.READY:
            return
        if self.state is WorkerState.RESTARTING:
            raise EngineFailedError(f"the model is being restarted: {self.last_error}", retry_after_s=self._retry_s)
        why = {
            WorkerState.NEW: "the engine is not started",
            WorkerState.STARTING: "the engine is warming up; try again shortly",
        }.get(self.state, "the service is stopping; try again later")
        raise EngineStoppedError(why, retry_after_s=1.0)

    def close_door(self) -> None:
        """Admit nobody from now on."""
        if self.state is not WorkerState.STOPPED:
            self.state = WorkerState.STOPPING

    async def stop(self) -> None:
        """End the task and the threads; a thread that hangs is left behind after a few seconds, and logged."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.worker is not None:
            self._retire(self.worker)
            self.worker = None
        left = await asyncio.gather(*(worker.join(_JOIN_S) for worker in self._leaving))
        if not all(left):
            _log.error("%d model threads hang and were left behind; they end with the process", left.count(False))
        self._leaving.clear()
        self.state = WorkerState.STOPPED

    async def _keep(self, worker: ModelWorker) -> None:
        while True:
            try:
                await self._serve(worker)
            except WorkerLostError as error:
                reason = error.detail
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
        self._retry_s = max(1.0, self._pause_s())
        if self.state is WorkerState.READY:
            self.state = WorkerState.RESTARTING
        self._on_loss(reason, self._retry_s)

    async def _restart(self) -> ModelWorker:
        while True:
            pause_s = self._pause_s()
            self._strikes += 1
            await self._clock.sleep(pause_s)
            self._leaving = [worker for worker in self._leaving if not worker.exited]
            if len(self._leaving) >= HUNG_MAX:
                self.last_error = f"{len(self._leaving)} model threads hang; restart the service"
                continue
            self._counters.restarts += 1
            try:
                self.worker = await self._bring_up()
            except GnnServiceError as error:
                self.last_error = describe(error)
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
            async with asyncio.timeout(self._start_timeout_s):
                await worker.built()
                await self._warm_up(worker)
            if self.state is WorkerState.STOPPING or self.state is WorkerState.STOPPED:
                raise EngineStoppedError("the engine was stopped while it started")
        except TimeoutError:
            self._retire(worker)
            raise EngineFailedError(f"the model was not ready within {self._start_timeout_s:g} s") from None
        except BaseException:
            self._retire(worker)
            await worker.join(_JOIN_S)
            raise
        self._ready_at = self._clock.monotonic()
        self.state = WorkerState.READY
        return worker

    async def _warm_up(self, worker: ModelWorker) -> None:
        """Run the canary in batches of every power of two up to the largest, then check its answer.

        Raises:
            EngineFailedError: a run raised, or the answer is wrong.
            WorkerLostError: the worker crashed or hung.
        """
        largest = self._settings.batch_max
        sizes = sorted({*(1 << bit for bit in range(largest.bit_length())), largest})
        for iteration in range(self._settings.warmup_iterations):
            size = min(sizes[-1 - iteration % len(sizes)], self._runner.limit)
            try:
                await self._runner.run(worker, [self._canary.item] * size, self._start_timeout_s)
            except JobFailedError as failed:
                if not isinstance(failed.error, MemoryError) or size == 1:
                    raise EngineFailedError(f"the model fails its warm-up: {failed.detail}") from failed.error
                await self._runner.make_room(worker, size)
        flaw = await self._runner.canary_flaw(worker, self._start_timeout_s)
        if flaw is not None:
            raise EngineFailedError(f"{flaw}; the bundle does not fit this runtime, rebuild or replace it")

    def _load(self) -> LoadedModel:
        return LoadedModel(self._factory(), self._canary.names, self._settings.batch_max)

    def _retire(self, worker: ModelWorker) -> None:
        worker.retire()
        self._leaving.append(worker)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The task is meant to run until it is cancelled; should it fail, nobody may be left waiting."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self.last_error = f"the engine's supervisor failed: {describe(error)}"
        _log.critical(self.last_error)
        self.state = WorkerState.STOPPED
        self._on_loss(self.last_error, 1.0)
