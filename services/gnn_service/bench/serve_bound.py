"""The bare model in a tight loop, which a service can at best come near; meant for a process of its own.

A diagnosis is encoded, computed and put into words, as the service does it; a graph is only run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.bench.serve_stats import Bound, Speed
from gnn_service.bench.serve_target import sample_windows
from gnn_service.core.config import Settings, load_settings
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.inference.interpreter import Interpreter, Prepared, concluded
from gnn_service.inference.onnx_graph import OnnxGraph
from gnn_service.inference.runtimes.base import Item, Runtime
from gnn_service.inference.runtimes.choose import runtime_factory
from gnn_service.inference.runtimes.source import Source
from gnn_service.model.bundle import Bundle

_WARM_RUNS: Final = 5
_LEAST_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Stages:
    """CPU microseconds a window that each stage of a diagnosis takes, in batches of ``batch``."""

    batch: int
    encode_us: float
    run_us: float
    decode_us: float


def bound_of_diagnosis(seconds: float) -> Bound:
    """Encode, run and decode windows of the sample, on the settings' bundle and runtime."""
    loop = _loop()
    machine, windows = sample_windows()

    def work(batch: int) -> Callable[[], object]:
        chosen = [windows[k % len(windows)] for k in range(batch)]
        return lambda: loop.decode(*loop.run(loop.encode(machine, chosen)))

    return _bound(loop.runtime, work, loop.settings.inference.batch_max, seconds)


def bound_of_bundle(seconds: float) -> Bound:
    """Only run the bundle's network, on its canary."""
    loop = _loop()
    item = loop.bundle.canary[0]
    return _bound(
        loop.runtime, lambda batch: _run(loop.runtime, item, batch), loop.settings.inference.batch_max, seconds
    )


def bound_of_graph(path: Path, tensors: Mapping[str, NDArray[Any]], seconds: float) -> Bound:
    """Only run a graph, on one item's ``tensors`` [1, ...]."""
    graph, runtime = _graph(path)
    batch_max = load_settings().inference.batch_max if graph.batches else 1
    item = {name: value[0] for name, value in tensors.items()}
    return _bound(runtime, lambda batch: _run(runtime, item, batch), batch_max, seconds)


def stages_of(machine: Machine, windows: Sequence[Window], batch: int, seconds: float) -> Stages:
    """What each stage costs for windows of one machine."""
    loop = _loop()
    chosen = [windows[k % len(windows)] for k in range(batch)]
    prepared = loop.encode(machine, chosen)
    answers = loop.run(prepared)
    costs = [
        1e6 / _speed(work, batch, seconds).windows_per_cpu_s
        for work in (
            lambda: loop.encode(machine, chosen),
            lambda: loop.run(prepared),
            lambda: loop.decode(*answers),
        )
    ]
    return Stages(batch, *costs)


@dataclass(frozen=True, slots=True)
class _Loop:
    """What the service does with a window, without the service."""

    settings: Settings
    bundle: Bundle
    interpreter: Interpreter
    runtime: Runtime

    def encode(self, machine: Machine, windows: Sequence[Window]) -> list[Prepared]:
        return [self.interpreter.prepare(machine, window) for window in windows]

    def run(self, prepared: list[Prepared]) -> tuple[list[Prepared], dict[str, NDArray[Any]]]:
        items = [one.item for one in prepared if one.item is not None]
        batch = {name: np.stack([item[name] for item in items]) for name in items[0]}
        return prepared, self.runtime.run(batch)

    def decode(self, prepared: list[Prepared], outputs: Mapping[str, NDArray[Any]]) -> object:
        rows = range(len(prepared))
        return [concluded(prepared[row], {name: value[row] for name, value in outputs.items()}) for row in rows]


@cache
def _loop() -> _Loop:
    settings = load_settings()
    bundle = Bundle.open(settings.model.bundle)
    return _Loop(settings, bundle, Interpreter(bundle), runtime_factory(Source.of_bundle(bundle), settings)())


@cache
def _graph(path: Path) -> tuple[OnnxGraph, Runtime]:
    graph = OnnxGraph.read(path, path.name)
    source = Source.of_graph(graph.path, graph.canary, graph.answer, graph.version)
    return graph, runtime_factory(source, load_settings())()


def _run(runtime: Runtime, item: Item, batch: int) -> Callable[[], object]:
    stacked = {name: np.stack([value] * batch) for name, value in item.items()}
    return lambda: runtime.run(stacked)


def _bound(runtime: Runtime, work: Callable[[int], Callable[[], object]], batch_max: int, seconds: float) -> Bound:
    one, full = _speed(work(1), 1, seconds / 2), _speed(work(batch_max), batch_max, seconds / 2)
    return Bound(one, full, f"{runtime.name} on {runtime.device}")


def _speed(work: Callable[[], object], batch: int, seconds: float) -> Speed:
    for _ in range(_WARM_RUNS):
        work()
    runs, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while runs < _LEAST_RUNS or time.perf_counter() - began < seconds:
        work()
        runs += 1
    windows = batch * runs
    return Speed(batch, windows / (time.perf_counter() - began), windows / max(time.process_time() - cpu_began, 1e-9))
