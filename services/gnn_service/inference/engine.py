"""Many concurrent callers, one model at a time: what serves it, what takes its place, and what looks on.

`Engine` is the one door. Behind it stands a `Generation`, the model that answers; during a swap a second one, loading
or finishing what it has; and place for one `Shadow`.
"""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from gnn_service.core.breaker import BreakerState
from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import EngineStoppedError, SwapRefusedError
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.generation import Generation
from gnn_service.inference.left_behind import LeftBehind
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.shadow import Disagree, ShadowPlace, Translate
from gnn_service.inference.spec import ModelSpec
from gnn_service.inference.stats import Counters, EngineHealth, EngineStats, Readiness, WorkerState
from gnn_service.inference.supervision import Shared


class Lease:
    """Holds on to the model of the moment: whatever is swapped meanwhile, this one goes on answering its holder.

    For whoever prepares an item for one model and reads its answer with the same. Hold it for one request; a swap
    waits for it, and gives up after ``request_timeout_s`` and ``drain_timeout_s``.
    """

    def __init__(self, generation: Generation, on_release: Callable[[], object]) -> None:
        self._generation = generation
        self._on_release = on_release
        self._held = True
        generation.leases += 1

    @property
    def spec(self) -> ModelSpec:
        """The model that is held."""
        return self._generation.spec

    async def infer(
        self,
        item: Item,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        context: object = None,
    ) -> Output:
        """As `Engine.infer`, by the model that is held."""
        return await self._generation.infer(item, timeout_s, priority, context)

    def submit(
        self,
        item: Item,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        context: object = None,
    ) -> Request:
        """As `Engine.submit`, by the model that is held."""
        return self._generation.submit(item, timeout_s, priority, context)

    def release(self) -> None:
        """Let go; a second time is no error."""
        if self._held:
            self._held = False
            self._generation.leases -= 1
            self._on_release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Engine:
    """Answers items one by one, computing them together. Starts once, stops once; one event loop.

    Use it as an async context manager, or call `start` and `stop`::

        async with Engine(ModelSpec(lambda: OnnxRuntime(graph), item, answer), settings) as engine:
            output = await engine.infer(item)

    Args:
        spec: the model that it begins with.
        settings: sizes, times and the breaker's numbers.
        clock: monotonic seconds and pauses.
        start_timeout_s: seconds for building a runtime and warming it up.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: InferenceSettings,
        *,
        clock: Clock | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._counters = Counters()
        self._left_behind = LeftBehind(settings.hung_max)
        self._shared = Shared(settings, self._clock, self._counters, self._left_behind, start_timeout_s)
        self._shadow = ShadowPlace(self._shared)
        self._now = Generation(spec, self._shared, self._shadow.offer)
        self._coming: Generation | None = None
        self._going: Generation | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._released = asyncio.Event()
        self._previous: ModelSpec | None = None
        self._stopping = False

    async def start(self) -> None:
        """Build the model, warm it up, check the canary; ready when this returns.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly.
            EngineStoppedError: it was started or stopped before.
        """
        await self._now.start()

    async def stop(self) -> None:
        """Admit nobody, let those inside finish for ``drain_timeout_s`` seconds, refuse the rest, end the threads.

        What is still loading, another model or a shadow, is given up: whoever waits for it gets EngineStoppedError. A
        thread that has not left a few seconds later is left behind, and logged; it ends with the process.
        """
        self._stopping = True
        limit_s = self._settings.drain_timeout_s
        self._released.set()  # an old model that is held is waited for no longer than the others
        generations = [one for one in (self._now, self._going, self._coming) if one is not None]
        for generation in generations:
            generation.close_door()  # all in this instant: none takes another one's place any more
        others = [asyncio.create_task(self._shadow.stop())]
        try:
            await asyncio.gather(*(generation.stop(limit_s) for generation in generations))
        finally:
            if self._retiring is not None:
                others.append(self._retiring)
            await asyncio.wait(others)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- requests ----

    async def infer(
        self,
        item: Item,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        context: object = None,
    ) -> Output:
        """The model's answer to one item. Cancel freely: nobody else notices.

        Args:
            item: arrays by input name, without a batch axis; left unchanged until the answer is there.
            timeout_s: seconds from now to the answer, at most; None takes ``request_timeout_s``.
            priority: who goes first when several wait.
            context: the caller's own, handed to a shadow with the item.

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
        return await self._now.infer(item, timeout_s, priority, context)

    def submit(
        self,
        item: Item,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.NORMAL,
        context: object = None,
    ) -> Request:
        """`infer` without a task: the future of the answer, for callers who live from callbacks.

        Arguments are as for `infer`. What is refused at the door raises here; what goes wrong later is the future's
        exception, of the same kinds. ``cancel()`` on it is what cancelling `infer` is: it is not computed any more,
        and nobody else notices. Either way it ends once and is counted once. In the event loop's thread only.
        """
        return self._now.submit(item, timeout_s, priority, context)

    def lease(self) -> Lease:
        """Hold on to the model of the moment; release it, or use it as a context manager."""
        return Lease(self._now, self._released.set)

    # ---- other models ----

    @property
    def spec(self) -> ModelSpec:
        """The model that answers new requests."""
        return self._now.spec

    @property
    def previous(self) -> ModelSpec | None:
        """The model that `roll_back` goes back to."""
        return self._previous

    async def swap(self, spec: ModelSpec) -> None:
        """Serve another model from now on, without refusing or losing a request.

        It is loaded, warmed up and checked by its canary beside the present one; new requests then go to it, those
        inside finish on the model they started on, and this returns when that has left. Cancelled while the new model
        is loading, nothing has changed; later, the old one still leaves by itself.

        Raises:
            GnnServiceError: the new model cannot be loaded, fails its warm-up or answers its canary wrongly; the
                present one serves on.
            SwapRefusedError: another swap is under way, or the last one's old model has not left yet: never more
                than two are in memory.
            EngineStoppedError: the engine is not started, or is stopping.
        """
        await self._exchange(spec, back=False)

    async def roll_back(self) -> None:
        """Swap to the model before the present one; a second time comes back to it. Raises as `swap`."""
        if self._previous is None:
            raise SwapRefusedError("there is no previous model to go back to")
        await self._exchange(self._previous, back=True)

    async def _exchange(self, spec: ModelSpec, *, back: bool) -> None:
        if self._coming is not None or self._going is not None:
            raise SwapRefusedError("another model is being exchanged; try again when that is done", retry_after_s=1.0)
        if self._stopping or self._now.state in {WorkerState.NEW, WorkerState.STARTING, WorkerState.STOPPED}:
            raise EngineStoppedError("the engine is not running; start it before another model", retry_after_s=1.0)
        self._coming = coming = Generation(spec, self._shared, self._shadow.offer)
        try:
            await coming.start()
            if coming.state is not WorkerState.READY:  # stopped, or lost, in the same instant
                raise EngineStoppedError("the new model did not stay up; the present one serves on")
        except BaseException:
            self._counters.failed_swaps += 1
            # As below: it outlives a caller who gives up, even one who does so twice.
            self._retiring = asyncio.create_task(self._dismiss(coming), context=contextvars.Context())
            await asyncio.shield(self._retiring)
            raise
        self._coming = None
        self._going, self._now = self._now, coming
        self._previous = self._going.spec
        self._counters.swaps += 1
        self._counters.roll_backs += back
        # It outlives a caller who gives up, and must not carry on that caller's trace.
        self._retiring = asyncio.create_task(self._retire(self._going), context=contextvars.Context())
        await asyncio.shield(self._retiring)

    async def set_shadow(
        self, spec: ModelSpec | None, *, translate: Translate | None = None, disagree: Disagree | None = None
    ) -> None:
        """Have a second model compute a share of the answered requests too (``shadow_fraction``), or stop that.

        Callers are neither delayed nor failed by it. A shadow that was there before is stopped first.

        Args:
            spec: the model; None for none.
            translate: makes its items, where they are not those of the model that answers.
            disagree: whether two answers mean something else; counted in the statistics.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly; there is no
                shadow then.
            EngineStoppedError: the engine is not started, or is stopping.
        """
        if spec is not None and (self._stopping or self._now.state is WorkerState.NEW):
            raise EngineStoppedError("the engine is not running; start it before its shadow", retry_after_s=1.0)
        await self._shadow.change(spec, translate=translate, disagree=disagree)

    # ---- what is told of it ----

    @property
    def on_fatal(self) -> Callable[[str], object] | None:
        """Told once why only a new process can help: ``hung_max`` model threads hang. Readiness is false by then."""
        return self._left_behind.on_fatal

    @on_fatal.setter
    def on_fatal(self, callback: Callable[[str], object] | None) -> None:
        self._left_behind.on_fatal = callback

    async def check_ready(self, *, timeout_s: float | None = None) -> Readiness:
        """Send the canary through the whole path and compare its answer; concurrent askers share one run.

        It goes before everybody else and is not bound by the line, so that a busy engine is still a ready one. With
        the breaker half-open it is a probe: an engine that nobody is sent to any more finds its way back.

        Args:
            timeout_s: seconds until this asker has an answer, at most; None takes ``heartbeat_timeout_s``.
        """
        return await self._now.check_ready(self._settings.heartbeat_timeout_s if timeout_s is None else timeout_s)

    def health(self) -> EngineHealth:
        """What is true now, without running anything."""
        now = self._now
        instances = tuple(instance.health() for instance in now.instances)
        breaker, stuck = now.breaker.state, self._left_behind.verdict
        return EngineHealth(
            ready=now.state is WorkerState.READY and breaker is not BreakerState.OPEN and stuck is None,
            worker=now.state,
            breaker=breaker.value,
            queue_depth=len(now.batcher),
            in_flight=now.in_flight,
            busy_s=max(instance.busy_s for instance in instances),
            restarts=self._counters.restarts,
            runtime=next((instance.runtime for instance in instances if instance.runtime), None),
            device=next((instance.device for instance in instances if instance.device), None),
            last_error=now.last_error,
            instances=instances,
            model=now.spec.name,
            version=now.spec.version,
            previous=self._previous.version if self._previous else None,
            shadow=self._shadow.version,
            swapping=self._coming is not None or self._going is not None,
        )

    def stats(self) -> EngineStats:
        """The counts so far; they go on over swaps."""
        now, going = self._now, self._going
        serving = [now, going] if going is not None else [now]
        counts = self._counters.snapshot(
            queue_depth=sum(len(generation.batcher) for generation in serving),
            in_flight=sum(generation.in_flight for generation in serving),
            worker=now.state,
            breaker=now.breaker.state.value,
            batch_limit=min(instance.runner.limit for instance in now.instances),
            instances_ready=sum(instance.supervisor.state is WorkerState.READY for instance in now.instances),
            version=now.spec.version,
            shadow=self._shadow.stats(),
        )
        return replace(counts, left_behind=len(self._left_behind))

    async def _dismiss(self, coming: Generation) -> None:
        """End a model that was not taken."""
        try:
            await coming.stop(drain_s=0)
        finally:
            self._coming = None

    async def _retire(self, old: Generation) -> None:
        """Let an old model finish what it has, and end it."""
        limit_s = self._settings.request_timeout_s + self._settings.drain_timeout_s
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                while old.leases and not self._stopping:
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            pass  # somebody holds it longer than any request may take
        finally:
            await old.stop(max(0.0, limit_s - (self._clock.monotonic() - began)))
            self._going = None
