"""Many concurrent callers, one model: a bounded door, batches, deadlines, a breaker and a supervised worker.

A batch is formed the moment the model is free, from whatever waits; nobody waits for a batch to fill. All state lives
in the event loop and takes no locks; the model runs on one thread, with one hand-over a batch.
"""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from gnn_service.core.breaker import BreakerState, CircuitBreaker
from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import (
    BreakerOpenError,
    DeadlineExceededError,
    EngineFailedError,
    EngineStoppedError,
    GnnServiceError,
    InvalidInputError,
    OverloadedError,
)
from gnn_service.inference.batcher import Batcher, Priority, Request
from gnn_service.inference.canary import Canary
from gnn_service.inference.deadlines import Deadlines
from gnn_service.inference.execution import BatchRunner, ModelWorker
from gnn_service.inference.runtimes.base import Item, Output, Runtime
from gnn_service.inference.stats import Counters, Ending, EngineHealth, EngineStats, Readiness, WorkerState
from gnn_service.inference.supervision import Supervisor
from gnn_service.inference.worker import WorkerLostError
from gnn_service.observability import tracing

_RETRY_S: Final = 1.0
_AT_THE_DOOR: Final = {
    BreakerOpenError: Ending.BREAKER_OPEN,
    DeadlineExceededError: Ending.EXPIRED,
    EngineFailedError: Ending.WORKER_LOST,
    EngineStoppedError: Ending.STOPPED,
    InvalidInputError: Ending.INVALID,
    OverloadedError: Ending.OVERLOADED,
}


class Engine:
    """Answers items one by one, computing them together. Starts once, stops once; one event loop.

    Use it as an async context manager, or call `start` and `stop`::

        async with Engine(lambda: OnnxRuntime(graph), settings, canary=item, expected=answer) as engine:
            output = await engine.infer(item)

    Args:
        runtime_factory: builds the runtime; called on the worker's thread, again after each loss of the worker.
        settings: sizes, times and the breaker's numbers.
        canary: one valid item; its names, types and numbers of axes are what every item must have.
        expected: the canary's answer; None asks only for finite numbers.
        clock: monotonic seconds and pauses.
        tolerance: difference to ``expected`` that is still right, absolute and relative.
        start_timeout_s: seconds for building the runtime and warming it up.
    """

    def __init__(
        self,
        runtime_factory: Callable[[], Runtime],
        settings: InferenceSettings,
        *,
        canary: Item,
        expected: Output | None,
        clock: Clock | None = None,
        tolerance: float = 1e-3,
        start_timeout_s: float = 120.0,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._canary = Canary(canary, expected, tolerance)
        self._counters = Counters()
        self._breaker = CircuitBreaker(settings.breaker, self._clock)
        self._batcher = Batcher(settings.batch_max, settings.batch_wait_ms / 1000, settings.queue_max)
        self._runner = BatchRunner(
            self._canary, settings.batch_max, settings.heartbeat_timeout_s, self._clock, self._breaker, self._counters
        )
        self._deadlines = Deadlines(self._clock, self._live)
        self._wake = asyncio.Event()
        self._sleeping = True
        self._idle = asyncio.Event()
        self._idle.set()
        self._supervisor = Supervisor(
            runtime_factory,
            settings,
            runner=self._runner,
            canary=self._canary,
            clock=self._clock,
            counters=self._counters,
            serve=self._serve,
            on_loss=self._fail_everybody,
            on_exit=self._wake.set,
            start_timeout_s=start_timeout_s,
        )
        self._probe: asyncio.Task[Readiness] | None = None
        self._flaw: str | None = None

    async def start(self) -> None:
        """Build the runtime, warm it up, check the canary; ready when this returns.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly.
            EngineStoppedError: it was started or stopped before.
        """
        await self._supervisor.start()

    async def stop(self) -> None:
        """Admit nobody, let those inside finish for ``drain_timeout_s`` seconds, refuse the rest, end the worker."""
        self._supervisor.close_door()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_timeout_s):
                    await self._idle.wait()
        finally:
            self._end_all(EngineStoppedError, "the service is stopping; try again later", Ending.STOPPED)
            self._deadlines.close()
            if self._probe is not None:
                await asyncio.wait({self._probe})
            await self._supervisor.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def infer(
        self, item: Item, *, timeout_s: float | None = None, priority: Priority = Priority.NORMAL
    ) -> Output:
        """The model's answer to one item. Cancel freely: nobody else notices.

        Args:
            item: arrays by input name, without a batch axis; left unchanged until the answer is there.
            timeout_s: seconds from now to the answer, at most; None takes ``request_timeout_s``.
            priority: who goes first when several wait.

        Returns:
            arrays by output name, without a batch axis; the caller's own.

        Raises:
            InvalidInputError: the item does not fit the model.
            OverloadedError: the line is full, or memory is; ``retry_after_s`` is set.
            BreakerOpenError: the model has been failing and rests; ``retry_after_s`` is set.
            DeadlineExceededError: the time has passed; the item is not computed any more.
            EngineFailedError: the model failed on this item, or its worker was lost.
            EngineStoppedError: the engine is not started, or is stopping.
        """
        if tracing.link_to_current() is None:
            return await self.submit(item, timeout_s=timeout_s, priority=priority)
        with tracing.span(tracing.SpanName.ENGINE_REQUEST):
            return await self.submit(item, timeout_s=timeout_s, priority=priority)

    def submit(self, item: Item, *, timeout_s: float | None = None, priority: Priority = Priority.NORMAL) -> Request:
        """`infer` without a task: the future of the answer, for callers who live from callbacks.

        Arguments are as for `infer`. What is refused at the door raises here; what goes wrong later is the future's
        exception, of the same kinds. ``cancel()`` on it is what cancelling `infer` is: it is not computed any more,
        and nobody else notices. Either way it ends once and is counted once. In the event loop's thread only.
        """
        try:
            return self._admit(item, timeout_s, priority)
        except GnnServiceError as refusal:
            self._count(_AT_THE_DOOR[type(refusal)], priority)
            raise

    async def check_ready(self, *, timeout_s: float | None = None) -> Readiness:
        """Send the canary through the whole path and compare its answer; concurrent askers share one run.

        It goes before everybody else and is not bound by the line, so that a busy engine is still a ready one. With
        the breaker half-open it is a probe: an engine that nobody is sent to any more finds its way back.

        Args:
            timeout_s: seconds until this asker has an answer, at most; None takes ``heartbeat_timeout_s``.
        """
        limit_s = self._settings.heartbeat_timeout_s if timeout_s is None else timeout_s
        began = self._clock.monotonic()
        if self._probe is None or self._probe.done():
            # never shorter than usual: whoever joins it may have more time than whoever began it
            probe_s = max(limit_s, self._settings.heartbeat_timeout_s)
            self._probe = asyncio.create_task(self._ask_canary(probe_s))
        probe = self._probe
        await asyncio.wait({probe}, timeout=limit_s)
        if probe.done():
            return probe.result()
        reason = f"the canary had no answer within {limit_s:g} s"
        return Readiness(ready=False, reason=reason, seconds=self._clock.monotonic() - began)

    def health(self) -> EngineHealth:
        """What is true now, without running anything."""
        worker = self._supervisor.worker
        return EngineHealth(
            ready=self._supervisor.state is WorkerState.READY and self._breaker.state is not BreakerState.OPEN,
            worker=self._supervisor.state,
            breaker=self._breaker.state.value,
            queue_depth=len(self._batcher),
            in_flight=self._in_flight(),
            busy_s=worker.busy_s if worker else 0.0,
            restarts=self._counters.restarts,
            runtime=worker.name if worker else None,
            device=worker.device if worker else None,
            last_error=self._flaw or self._supervisor.last_error,
        )

    def stats(self) -> EngineStats:
        """The counts so far."""
        return self._counters.snapshot(
            queue_depth=len(self._batcher),
            in_flight=self._in_flight(),
            worker=self._supervisor.state,
            breaker=self._breaker.state.value,
            batch_limit=self._runner.limit,
        )

    # ---- one request ----

    def _admit(self, item: Item, timeout_s: float | None, priority: Priority) -> Request:
        arrived = self._clock.monotonic()
        self._supervisor.check_open()
        signature = self._canary.signature_of(item)
        limit_s = self._settings.request_timeout_s if timeout_s is None else timeout_s
        if not limit_s > 0:
            raise DeadlineExceededError(f"the deadline had passed on arrival: {limit_s:g} s were left")
        if self._breaker.state is BreakerState.OPEN:
            self._breaker.acquire().release()  # raises, with the time that is left, unless that has just passed
        link = tracing.link_to_current()
        loop = asyncio.get_running_loop()
        request = Request(
            item, signature, priority, arrived, arrived + limit_s, loop=loop, on_end=self._ended, link=link
        )
        if not self._batcher.put(request):
            self._make_place(priority)
            self._batcher.put(request)
        self._deadlines.watch(request)
        self._idle.clear()
        if self._sleeping:
            self._sleeping = False
            self._wake.set()
        return request

    def _make_place(self, priority: Priority) -> None:
        """Have somebody of lower rank give way.

        Raises:
            OverloadedError: everybody who waits is at least as urgent.
        """
        retry_s = max(_RETRY_S, len(self._batcher) * self._runner.seconds_per_item)
        detail = f"{len(self._batcher)} windows are waiting already; try again in {retry_s:.0f} s"
        last = self._batcher.give_way(priority)
        if last is None:
            raise OverloadedError(detail, retry_after_s=retry_s)
        last.fail(OverloadedError(detail, retry_after_s=retry_s), Ending.OVERLOADED)

    def _ended(self, request: Request) -> None:
        self._batcher.discard(request)
        if request.ending is not None and request.priority is not Priority.PROBE:
            self._counters.ended[request.ending] += 1

    def _live(self) -> list[Request]:
        return [*self._batcher.waiting(), *self._runner.in_flight]

    def _count(self, ending: Ending, priority: Priority) -> None:
        if priority is not Priority.PROBE:
            self._counters.ended[ending] += 1

    def _in_flight(self) -> int:
        return sum(not request.done() for request in self._runner.in_flight)

    async def _ask_canary(self, timeout_s: float) -> Readiness:
        began = self._clock.monotonic()
        try:
            output = await self.submit(self._canary.item, timeout_s=timeout_s, priority=Priority.PROBE)
        except GnnServiceError as error:
            reason: str | None = str(error)
        else:
            self._flaw = reason = self._canary.flaw(output)
        return Readiness(reason is None, reason, self._clock.monotonic() - began)

    # ---- the batches ----

    async def _serve(self, worker: ModelWorker) -> None:
        """Take batch after batch through this worker, until it is lost."""
        while True:
            if worker.exited:
                raise WorkerLostError("the model's worker ended while it was idle")
            # A half-open breaker admits probes: single items, so that few suffer if the model is still sick.
            probing = self._breaker.state is BreakerState.HALF_OPEN
            batch = self._batcher.take(self._clock.monotonic(), 1 if probing else self._runner.limit)
            if batch:
                await self._runner.execute(worker, batch)
            else:
                self._sleeping = True
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()

    def _fail_everybody(self, reason: str, retry_after_s: float) -> None:
        self._end_all(EngineFailedError, f"{reason}; it is being restarted", Ending.WORKER_LOST, retry_after_s)

    def _end_all(self, kind: type[GnnServiceError], detail: str, ending: Ending, retry_after_s: float = 1.0) -> None:
        for request in (*self._runner.in_flight, *self._batcher.drain()):
            request.fail(kind(detail, retry_after_s=retry_after_s), ending)
        self._runner.in_flight = []
        self._idle.set()
