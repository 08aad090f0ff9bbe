"""One model being served: the line before it, its instances, its breaker and its end.

A batch is formed the moment an instance is free, from whatever waits; nobody waits for a batch to fill. All state lives
in the event loop and takes no locks; each instance runs on a thread of its own, with one hand-over a batch.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from gnn_service.core import devices
from gnn_service.core.breaker import BreakerState, CircuitBreaker
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
from gnn_service.inference.execution import ModelWorker
from gnn_service.inference.instance import Instance
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.spec import ModelSpec
from gnn_service.inference.stats import Ending, Readiness, WorkerState
from gnn_service.inference.supervision import Shared
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
_BUSIEST_FIRST: Final = (WorkerState.READY, WorkerState.RESTARTING, WorkerState.STOPPING, WorkerState.STARTING)


class Generation:
    """A model from its loading to its end. Starts once, stops once; one event loop. See `Engine` for its promises.

    Args:
        spec: the model.
        shared: settings, clock and counters.
        on_answered: given what was just answered; must not wait.
    """

    def __init__(
        self,
        spec: ModelSpec,
        shared: Shared,
        on_answered: Callable[[Sequence[tuple[Request, Output]]], object] | None = None,
    ) -> None:
        settings = shared.settings
        self.spec = spec
        self.canary = Canary(spec.canary, spec.expected, spec.tolerance)
        self.breaker = CircuitBreaker(settings.breaker, shared.clock)
        self.batcher = Batcher(settings.batch_max, settings.batch_wait_ms / 1000, settings.queue_max)
        self._on_answered = on_answered
        self.leases = 0
        self.flaw: str | None = None
        self.state = WorkerState.NEW
        self._settings = settings
        self._counters = shared.counters
        self._clock = shared.clock
        self._monotonic = shared.clock.monotonic
        self._left_behind = shared.left_behind
        self._deadlines = Deadlines(shared.clock, self._live)
        self._drained: asyncio.Future[None] | None = None
        self._probe: asyncio.Task[Readiness] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.instances = tuple(self._instance(shared) for _ in range(settings.instances or devices.auto_instances()))

    # ---- its life ----

    async def start(self) -> None:
        """Build every instance, warm it up, check the canary; ready when this returns.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly.
            EngineStoppedError: it was started or stopped before.
        """
        if self.state is not WorkerState.NEW:
            raise EngineStoppedError("an engine starts once; build a new one")
        self._loop = asyncio.get_running_loop()
        starts = [asyncio.ensure_future(instance.supervisor.start()) for instance in self.instances]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            try:
                await asyncio.gather(*starts, return_exceptions=True)
            finally:
                await self.stop(drain_s=0)  # an instance that was quicker is up
            raise

    def close_door(self) -> None:
        """Admit nobody from now on."""
        for instance in self.instances:
            instance.supervisor.close_door()

    async def stop(self, drain_s: float) -> None:
        """Admit nobody, let those inside finish for ``drain_s`` seconds, refuse the rest, end the threads."""
        self.close_door()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    await self._drain()
        finally:
            stopping = EngineStoppedError("the service is stopping; try again later", retry_after_s=1.0)
            self._fail([request for i in self.instances for request in i.runner.in_flight], stopping, Ending.STOPPED)
            self._fail(self.batcher.drain(), stopping, Ending.STOPPED)
            self._look_if_drained()
            self._deadlines.close()
            if self._probe is not None:
                await asyncio.wait({self._probe})
            await asyncio.gather(*(instance.supervisor.stop() for instance in self.instances))

    def _look_around(self) -> None:
        """An instance has changed its state: one that serves is enough to be ready."""
        states = {instance.supervisor.state for instance in self.instances}
        self.state = next((state for state in _BUSIEST_FIRST if state in states), min(states))

    # ---- one request ----

    async def infer(self, item: Item, timeout_s: float | None, priority: Priority, context: object) -> Output:
        """The model's answer to one item; see `Engine.infer`."""
        if tracing.link_to_current() is None:
            return await self.submit(item, timeout_s, priority, context)  # nothing is traced, the usual case
        with tracing.span(tracing.SpanName.ENGINE_REQUEST):
            return await self.submit(item, timeout_s, priority, context)

    def submit(self, item: Item, timeout_s: float | None, priority: Priority, context: object) -> Request:
        """The future of the model's answer; see `Engine.submit`."""
        try:
            request = self._admit(item, timeout_s, priority, context)
        except GnnServiceError as refusal:
            if priority is not Priority.PROBE:
                self._counters.ended[_AT_THE_DOOR[type(refusal)]] += 1
            raise
        self._deadlines.watch(request)
        for instance in self.instances:
            if instance.idle:
                instance.rouse()
                break
        return request

    async def check_ready(self, limit_s: float) -> Readiness:
        """Send the canary through the whole path; see `Engine.check_ready`."""
        began = self._clock.monotonic()
        if reason := self._left_behind.verdict:
            return Readiness(ready=False, reason=reason, seconds=0.0)
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

    @property
    def in_flight(self) -> int:
        """Requests in the model that somebody waits for."""
        return sum(not request.done() for instance in self.instances for request in instance.runner.in_flight)

    @property
    def last_error(self) -> str | None:
        """Why a worker was last lost or could not start, or what readiness last found wrong."""
        errors = (instance.supervisor.last_error for instance in self.instances)
        return self.flaw or next((error for error in errors if error), None)

    def _instance(self, shared: Shared) -> Instance:
        return Instance(
            self.spec.factory,
            self.canary,
            self.breaker,
            shared,
            on_answered=self._on_answered,
            serve=self._serve,
            on_loss=self._lost,
            on_change=self._look_around,
        )

    def _admit(self, item: Item, timeout_s: float | None, priority: Priority, context: object) -> Request:
        arrived = self._monotonic()
        if self.state is not WorkerState.READY:
            self._refuse()
        signature = self.canary.signature_of(item)
        limit_s = self._settings.request_timeout_s if timeout_s is None else timeout_s
        if not limit_s > 0:
            raise DeadlineExceededError(f"the deadline had passed on arrival: {limit_s:g} s were left")
        if self.breaker.state is BreakerState.OPEN:
            self.breaker.acquire().release()  # raises, with the time that is left, unless that has just passed
        link = tracing.link_to_current()
        request = Request(
            item,
            signature,
            priority,
            arrived,
            arrived + limit_s,
            loop=self._loop,
            on_end=self._ended,
            link=link,
            context=context,
        )
        if not self.batcher.put(request):
            self._make_place(priority)
            self.batcher.put(request)
        return request

    def _refuse(self) -> None:
        if self.state is WorkerState.RESTARTING:
            retry_s = min(instance.supervisor.retry_s for instance in self.instances)
            raise EngineFailedError(f"the model is being restarted: {self.last_error}", retry_after_s=retry_s)
        why = {
            WorkerState.NEW: "the engine is not started",
            WorkerState.STARTING: "the engine is warming up; try again shortly",
        }.get(self.state, "the service is stopping; try again later")
        raise EngineStoppedError(why, retry_after_s=1.0)

    def _make_place(self, priority: Priority) -> None:
        """Have somebody of lower rank give way.

        Raises:
            OverloadedError: everybody who waits is at least as urgent.
        """
        quickest = min(instance.runner.seconds_per_item for instance in self.instances)
        retry_s = max(_RETRY_S, len(self.batcher) * quickest / len(self.instances))
        detail = f"{len(self.batcher)} windows are waiting already; try again in {retry_s:.0f} s"
        last = self.batcher.give_way(priority)
        if last is None:
            raise OverloadedError(detail, retry_after_s=retry_s)
        last.fail(OverloadedError(detail, retry_after_s=retry_s), Ending.OVERLOADED)

    def _ended(self, request: Request) -> None:
        if request.waiting:
            self.batcher.discard(request)
        if request.ending is not None and request.priority is not Priority.PROBE:
            self._counters.ended[request.ending] += 1

    def _live(self) -> list[Request]:
        return [*self.batcher.waiting(), *(r for instance in self.instances for r in instance.runner.in_flight)]

    async def _ask_canary(self, timeout_s: float) -> Readiness:
        began = self._clock.monotonic()
        try:
            output = await self.submit(self.canary.item, timeout_s, Priority.PROBE, None)
        except GnnServiceError as error:
            reason: str | None = str(error)
        else:
            self.flaw = reason = self.canary.flaw(output)
        return Readiness(reason is None, reason, self._clock.monotonic() - began)

    # ---- the batches ----

    async def _serve(self, instance: Instance, worker: ModelWorker) -> None:
        """Take batch after batch through this worker, until it is lost."""
        while True:
            if worker.exited:
                raise WorkerLostError("the model's worker ended while it was idle")
            if batch := self._next_batch(instance):
                before = self.breaker.state  # a probe that closes it has had others wait too
                await instance.runner.execute(worker, batch)
                if not before is self.breaker.state is BreakerState.CLOSED:
                    self._rouse_all()  # those who waited for a probe's verdict
            else:
                instance.idle = True
                instance.wake.clear()
                self._look_if_drained()
                await instance.wake.wait()

    def _lost(self, instance: Instance, reason: str, retry_after_s: float) -> None:
        """An instance is gone: those inside it fail, those who wait too unless another one serves them."""
        requests, instance.runner.in_flight = instance.runner.in_flight, []
        instance.idle = False
        if any(other.supervisor.worker is not None for other in self.instances):
            self._rouse_all()
        else:
            requests = [*requests, *self.batcher.drain()]
        error = EngineFailedError(f"{reason}; it is being restarted", retry_after_s=retry_after_s)
        self._fail(requests, error, Ending.WORKER_LOST)
        self._look_if_drained()

    def _next_batch(self, instance: Instance) -> list[Request]:
        limit = instance.runner.limit
        if self.breaker.state is BreakerState.HALF_OPEN:
            if self.breaker.full:
                return []
            limit = 1  # a probe: few suffer if the model is still sick
        elif len(self.instances) > 1:  # those who are free share what waits
            free = sum(other.free for other in self.instances)
            limit = max(1, min(limit, -(-len(self.batcher) // max(1, free))))
        return self.batcher.take(self._clock.monotonic(), limit)

    def _rouse_all(self) -> None:
        for instance in self.instances:
            if instance.idle:
                instance.rouse()

    async def _drain(self) -> None:
        if len(self.batcher) or self.in_flight:
            if self._drained is None or self._drained.done():
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)  # others may wait for it too, for longer or shorter

    def _look_if_drained(self) -> None:
        if self._drained is not None and not self._drained.done() and not len(self.batcher) and not self.in_flight:
            self._drained.set_result(None)

    def _fail(self, requests: Sequence[Request], error: GnnServiceError, ending: Ending) -> None:
        """Fail each with an error of its own."""
        for request in requests:
            request.fail(type(error)(error.detail, retry_after_s=error.retry_after_s), ending)
