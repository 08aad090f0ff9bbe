"""A second model that computes some of the answers too, to see what it would have said. Callers never notice it."""

import asyncio
import contextvars
import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gnn_service.core.errors import EngineFailedError, EngineStoppedError
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.generation import Generation
from gnn_service.inference.left_behind import LeftBehind
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.spec import ModelSpec
from gnn_service.inference.stats import Counters, ShadowStats
from gnn_service.inference.supervision import Shared
from gnn_service.inference.worker import describe

Translate = Callable[[Item, object], Item]
"""Makes the shadow's item of an answered item and its request's context; on a thread."""

Disagree = Callable[[object, Output, Output], bool]
"""Whether answer and shadow's answer, of a request with this context, say something else; on a thread."""

HUNG_MAX: Final = 1
"""Threads of a shadow that may hang; it is not worth more."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sample:
    item: Item
    context: object
    output: Output


class Shadow:
    """Has a sample of the answered requests computed by another model, one at a time, and compares.

    It has a thread of its own and never more than one request in its model. What comes while ``shadow_queue_max``
    samples wait is dropped; its failures are counted and reach nobody.

    Args:
        spec: the model.
        shared: settings and clock of the engine; its counts go to ``counters.shadow``.
        translate: makes the model's items, where they are not those of the model that answered.
        disagree: compares what two answers mean, beside their numbers.
    """

    def __init__(
        self, spec: ModelSpec, shared: Shared, *, translate: Translate | None = None, disagree: Disagree | None = None
    ) -> None:
        alone = shared.settings.model_copy(update={"instances": 1})
        apart = dataclasses.replace(shared, settings=alone, counters=Counters(), left_behind=LeftBehind(HUNG_MAX))
        self.spec = spec
        self._generation = Generation(spec, apart)
        self._fraction = shared.settings.shadow_fraction
        self._queue_max = shared.settings.shadow_queue_max
        self._counts = shared.counters.shadow
        self._translate = translate
        self._disagree = disagree
        self._samples: deque[_Sample] = deque()
        self._credit = 0.0
        self._largest = 0.0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load, warm up and check the model; samples are taken from then on.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly.
        """
        await self._generation.start()
        self._task = asyncio.create_task(self._run(), name="gnn-shadow", context=contextvars.Context())

    async def stop(self) -> None:
        """Take no more samples, forget those that wait and end the thread."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._samples.clear()
        await self._generation.stop(drain_s=0)

    def offer(self, answered: Sequence[tuple[Request, Output]]) -> None:
        """Take samples of what was just answered. Copies them: item and answer are the caller's from now on."""
        for request, output in answered:
            if request.priority is not Priority.NORMAL:
                continue
            if self._translate is not None and request.context is None:
                continue  # whoever asked for the tensors alone cannot be asked anew
            self._credit += self._fraction
            if self._credit < 1:
                continue
            self._credit -= 1
            if len(self._samples) >= self._queue_max:
                self._counts.dropped += 1
                continue
            item = {name: array.copy() for name, array in request.item.items()}
            answer = {name: array.copy() for name, array in output.items()}
            self._samples.append(_Sample(item, request.context, answer))
            self._arrived.set()

    def stats(self) -> ShadowStats:
        """The counts so far."""
        return self._counts.snapshot(version=self.spec.version, largest=self._largest, waiting=len(self._samples))

    async def _run(self) -> None:
        while True:
            while not self._samples:
                self._arrived.clear()
                await self._arrived.wait()
            sample = self._samples.popleft()
            try:
                await self._compare(sample)
            except Exception as error:  # noqa: BLE001 - whatever a shadow does, the service goes on
                if self._counts.failed == 0:
                    _log.warning("the shadow %s failed: %s", self.spec.title, describe(error))
                self._counts.failed += 1

    async def _compare(self, sample: _Sample) -> None:
        item = sample.item
        if self._translate is not None:
            item = await asyncio.to_thread(self._translate, item, sample.context)
        output = await self._generation.submit(item, None, Priority.BACKGROUND, None)
        difference, disagree = await asyncio.to_thread(self._judge, sample, output)
        self._counts.compared += 1
        self._counts.disagreed += disagree
        self._largest = max(self._largest, difference)

    def _judge(self, sample: _Sample, output: Output) -> tuple[float, bool]:
        disagree = self._disagree is not None and self._disagree(sample.context, sample.output, output)
        return largest_difference(sample.output, output), disagree


class ShadowPlace:
    """Room for one shadow: who comes takes the place of who is there, one change after another.

    Args:
        shared: settings, clock and counters of the engine.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._now: Shadow | None = None
        self._coming: Shadow | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._change = asyncio.Lock()
        self._stopped = False

    async def change(
        self, spec: ModelSpec | None, *, translate: Translate | None = None, disagree: Disagree | None = None
    ) -> None:
        """Have this model look on, or none; see `Engine.set_shadow`.

        Raises:
            GnnServiceError: the model cannot be loaded, fails its warm-up or answers its canary wrongly.
            EngineStoppedError: stopped before or meanwhile.
        """
        async with self._change:
            await self._clear()
            if spec is None:
                return
            if self._stopped:
                raise EngineStoppedError("the service is stopping; no shadow begins any more", retry_after_s=1.0)
            self._coming = coming = Shadow(spec, self._shared, translate=translate, disagree=disagree)
            try:
                await coming.start()
                self._now = coming
            except BaseException:
                await self._end(coming)
                raise
            finally:
                self._coming = None

    async def stop(self) -> None:
        """End the shadow, one that is still loading too; none begins any more."""
        self._stopped = True
        if self._coming is not None:
            await self._coming.stop()
        async with self._change:
            await self._clear()

    def offer(self, answered: Sequence[tuple[Request, Output]]) -> None:
        """As `Shadow.offer`, to whoever is there."""
        if self._now is not None:
            self._now.offer(answered)

    @property
    def version(self) -> str | None:
        """Of the model that looks on; None where none does."""
        return self._now.spec.version if self._now else None

    def stats(self) -> ShadowStats:
        """The counts so far; they go on from shadow to shadow."""
        return self._now.stats() if self._now else self._shared.counters.shadow.snapshot()

    async def _clear(self) -> None:
        if self._now is not None:
            gone, self._now = self._now, None
            await self._end(gone)
        elif self._leaving is not None:
            await asyncio.shield(self._leaving)

    async def _end(self, gone: Shadow) -> None:
        # It outlives a caller who gives up: the thread leaves all the same.
        self._leaving = asyncio.create_task(gone.stop(), context=contextvars.Context())
        await asyncio.shield(self._leaving)


def largest_difference(answer: Output, other: Output) -> float:
    """The largest absolute difference between the numbers of two answers.

    Raises:
        EngineFailedError: they have not the same outputs of the same shapes.
    """
    shapes, others = ({name: array.shape for name, array in output.items()} for output in (answer, other))
    if shapes != others:
        raise EngineFailedError(f"its outputs are {others}, not {shapes}")
    pairs = [(array.astype(np.float64), other[name].astype(np.float64)) for name, array in answer.items()]
    return max((float(np.max(np.abs(one - two), initial=0.0)) for one, two in pairs), default=0.0)
