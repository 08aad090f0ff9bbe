"""Models that take and give tensors as they are: plain ONNX graphs, and the bundle's own network beside them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.config import Settings
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.engine import Engine
from gnn_service.inference.onnx_graph import OnnxGraph
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.runtimes.choose import runtime_factory
from gnn_service.inference.runtimes.source import Source
from gnn_service.inference.spec import ModelSpec
from gnn_service.inference.stats import EngineStats, Readiness
from gnn_service.inference.tensors import TensorSpec
from gnn_service.model.bundle import Bundle
from gnn_service.observability import tracing

BUNDLE: Final = "bundle"
"""Name of the bundle's network among the models; no graph can have it."""
PLATFORM: Final = "onnxruntime_onnx"

Arrays = Mapping[str, NDArray[Any]]
"""Arrays [B, ...] by tensor name."""
Done = Callable[[dict[str, NDArray[Any]] | BaseException], object]


class EngineLike(Protocol):
    """What is asked of `inference.engine.Engine`."""

    def submit(  # noqa: D102 - see Engine
        self, item: Item, *, timeout_s: float | None = None, priority: Priority = Priority.NORMAL
    ) -> Request: ...

    async def check_ready(self, *, timeout_s: float | None = None) -> Readiness: ...  # noqa: D102

    def stats(self) -> EngineStats: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class TensorModel:
    """A model by its tensors, [B, ...] each, and the engine that computes it item by item.

    Args:
        name: what requests call it.
        version: name of this exact model.
        inputs: what it takes.
        outputs: what it gives.
        engine: computes; its items are these tensors without the batch axis.
        items_max: items in one request, at most.
        platform: what it is, in the protocol's words.
    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engine: EngineLike
    items_max: int
    platform: str = PLATFORM

    async def infer(self, arrays: Arrays, *, timeout_s: float | None = None) -> dict[str, NDArray[Any]]:
        """The answers to ``arrays``, [B, ...] as these: every item's, or the first error.

        Raises what `Engine.infer` raises. Cancel freely: nobody else notices.
        """
        answer: asyncio.Future[dict[str, NDArray[Any]]] = asyncio.get_running_loop().create_future()

        def done(outcome: dict[str, NDArray[Any]] | BaseException) -> None:
            if answer.done():
                return
            if isinstance(outcome, dict):
                answer.set_result(outcome)
            elif isinstance(outcome, asyncio.CancelledError):
                answer.cancel()
            else:
                answer.set_exception(outcome)

        traced = tracing.link_to_current() is not None
        with tracing.span(tracing.SpanName.ENGINE_REQUEST) if traced else nullcontext():
            cancel = self.begin(arrays, done, timeout_s=timeout_s)
            try:
                return await answer
            finally:
                cancel()

    def begin(self, arrays: Arrays, done: Done, *, timeout_s: float | None = None) -> Callable[[], object]:
        """`infer` without a task: calls ``done`` once, later, with the answers or an error.

        What is refused at the door raises here, and nothing of it is computed. Calling what is returned gives up
        waiting; ``done`` is then told of the cancellation, or of what came in the same instant.
        """
        count = len(next(iter(arrays.values())))
        requests: list[Request] = []
        try:
            for row in range(count):
                item = {name: array[row, ...] for name, array in arrays.items()}
                requests.append(self.engine.submit(item, timeout_s=timeout_s))
        except BaseException:
            _cancel(requests)
            raise
        together = _Together(requests, done)
        for request in requests:
            request.add_done_callback(together.ended)
        return partial(_cancel, requests)


class _Together:
    """Waits for the requests of one caller: all answers, or the first error, which ends the others."""

    __slots__ = ("_done", "_left", "_requests")

    def __init__(self, requests: Sequence[Request], done: Done) -> None:
        self._requests = requests
        self._done: Done | None = done
        self._left = len(requests)

    def ended(self, request: asyncio.Future[Output]) -> None:
        self._left -= 1
        error = asyncio.CancelledError() if request.cancelled() else request.exception()
        if error is None and self._left:
            return
        done, self._done = self._done, None
        if done is None:
            return
        if error is not None:
            _cancel(self._requests)
            done(error)
        else:
            done(_stacked([each.result() for each in self._requests]))


class TensorModels:
    """The models that are served as tensors, by name: graphs with an engine each, and the bundle's network.

    The bundle's is computed by the engine that diagnoses, so that both share batches; after a swap of the bundle it is
    the new one.
    """

    def __init__(self, graphs: Mapping[str, TensorModel], diagnoser: Any = None, *, items_max: int = 1) -> None:
        self.graphs = graphs
        self._diagnoser: Diagnoser | None = (
            diagnoser if isinstance(getattr(diagnoser, "bundle", None), Bundle) else None
        )
        self._items_max = items_max
        self._bundle: TensorModel | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, diagnoser: Any = None) -> AsyncIterator[Self]:
        """Start an engine for each graph that the settings name, one after another; stop them in the end.

        Args:
            settings: ``inference.tensor_models``, and all that holds for every engine.
            diagnoser: whose bundle's network is offered beside them; one without a bundle has none to offer.

        Raises:
            GraphError: a graph cannot be read, or is none that can be served.
            GnnServiceError: its engine does not start.
        """
        items_max = min(settings.api.windows_max, settings.inference.queue_max)
        async with AsyncExitStack() as opened:
            graphs: dict[str, TensorModel] = {}
            for name, path in settings.inference.graphs().items():
                graph = await asyncio.to_thread(OnnxGraph.read, path, name)
                engine = await opened.enter_async_context(_engine_of(name, graph, settings))
                graphs[name] = TensorModel(name, graph.version, graph.inputs, graph.outputs, engine, items_max)
            models = cls(graphs, diagnoser, items_max=items_max)
            await asyncio.to_thread(models.find, BUNDLE)
            yield models

    def names(self) -> tuple[str, ...]:
        """What there is."""
        return (*self.graphs, *(() if self._diagnoser is None else (BUNDLE,)))

    def find(self, name: str) -> TensorModel | None:
        """The model of that name, None where there is none."""
        return self._of_bundle() if name == BUNDLE else self.graphs.get(name)

    def _of_bundle(self) -> TensorModel | None:
        if self._diagnoser is None:
            return None
        bundle, engine, known = self._diagnoser.bundle, self._diagnoser.engine, self._bundle
        if known is None or known.version != bundle.version or known.engine is not engine:
            inputs, outputs = self._diagnoser.tensors  # read when the bundle was activated
            known = self._bundle = TensorModel(BUNDLE, bundle.version, inputs, outputs, engine, self._items_max)
        return known


def _engine_of(name: str, graph: OnnxGraph, settings: Settings) -> Engine:
    inference = settings.inference
    if not graph.batches:
        inference = inference.model_copy(update={"batch_max": 1})
    source = Source.of_graph(graph.path, graph.canary, graph.answer, graph.version)
    factory = runtime_factory(source, settings.model_copy(update={"inference": inference}))
    return Engine(ModelSpec(factory, graph.canary, graph.answer, name, graph.version), inference)


def _stacked(answers: list[Output]) -> dict[str, NDArray[Any]]:
    if len(answers) == 1:
        return {name: array[np.newaxis] for name, array in answers[0].items()}
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def _cancel(requests: Sequence[Request]) -> None:
    for request in requests:
        request.cancel()  # one that has failed in the same instant too: nobody will read its error
