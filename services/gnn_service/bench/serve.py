"""The service under load, beside the bare model that it serves, both in one run.

Ratios (CPU efficiency above all) say what the service costs and carry from computer to computer; requests a second
and milliseconds belong to the computer, and to whatever else it does: ``other_cores`` tells how much that was.
"""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from gnn_service import __version__
from gnn_service.bench.serve_bound import bound_of_bundle, bound_of_diagnosis, bound_of_graph
from gnn_service.bench.serve_child import Service
from gnn_service.bench.serve_http import ask
from gnn_service.bench.serve_stats import Asked, Bound, Run, run_of
from gnn_service.bench.serve_target import (
    VARIANTS,
    Message,
    Wire,
    diagnose_message,
    infer_message,
    random_tensors,
    sample_windows,
)
from gnn_service.bench.serve_workers import Workers
from gnn_service.core.errors import InvalidInputError
from gnn_service.inference.onnx_graph import OnnxGraph
from gnn_service.inference.tensor_models import BUNDLE
from gnn_service.model.bundle import Bundle

CALLERS: Final = (1, 8, 32, 64, 256)
BOUND_S: Final = 1.0
"""Seconds that the bare model is measured for, before and after each target; no longer than a load."""

SHORTEST_S: Final = 0.1
IN_FLIGHT: Final = 256
"""Requests of an open loop that may be under way at once."""

_WARM_CALLERS: Final = 16
_WARM_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Something of the service to load. ``bound`` measures the bare model for so many seconds; it is picklable."""

    name: str
    wire: Wire
    messages: tuple[Message, ...]
    bound: Callable[[float], Bound]


@dataclass(frozen=True, slots=True)
class Plan:
    """The loads on each target.

    A closed loop of ``seconds`` for each of ``callers``; then, where there is a ``rate_per_s``, or a ``share`` of the
    most requests a second that a closed loop reached, an open loop at it of ``open_s`` seconds.
    """

    callers: tuple[int, ...] = CALLERS
    seconds: float = 5.0
    rate_per_s: float | None = None
    share: float | None = None
    open_s: float = 10.0

    def __post_init__(self) -> None:
        """InvalidInputError where it measures nothing."""
        if not (self.seconds >= SHORTEST_S and self.open_s >= SHORTEST_S):
            raise InvalidInputError(f"must be at least {SHORTEST_S} s", where="duration")
        if self.rate_per_s is not None and self.share is not None:
            raise InvalidInputError("give a rate or a share of the maximum, not both", where="rate")
        if self.share is not None and not self.callers:
            raise InvalidInputError("a share of the maximum needs a closed loop to find it", where="callers")
        if not self.callers and self.rate_per_s is None:
            raise InvalidInputError("there is nothing to measure: give callers or a rate", where="callers")

    @property
    def steps(self) -> int:
        """How often `bench_serve` reports that it has gone on, for each target."""
        return 2 + len(self.callers) + (self.rate_per_s is not None or self.share is not None)


@dataclass(frozen=True, slots=True)
class Measured:
    """One target: the bare model before and after, and the loads between."""

    target: str
    wire: str
    body_bytes: int
    before: Bound
    after: Bound
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class ServeBench:
    """One run of `bench_serve`."""

    version: str
    python: str
    cpus: int
    measured: tuple[Measured, ...]


def bench_serve(
    service: Service,
    targets: tuple[Target, ...],
    plan: Plan,
    workers: Workers,
    on_step: Callable[[], object] = lambda: None,
) -> ServeBench:
    """Measure every target in turn; ``on_step`` is called `Plan.steps` times for each.

    Raises UnavailableError, with the service's reason, where a target does not answer its requests.
    """
    measured = tuple(_measure(service, target, plan, workers, on_step) for target in targets)
    return ServeBench(__version__, platform.python_version(), os.cpu_count() or 1, measured)


def diagnose_target() -> Target:
    """`/v1/diagnose` with cycles of the recording that comes with the package."""
    machine, windows = sample_windows()
    messages = tuple(diagnose_message(machine.id, window) for window in windows)
    return Target("/v1/diagnose", "json", messages, bound_of_diagnosis)


def bundle_target(bundle: Bundle, wire: Wire) -> Target:
    """The bundle's own network as tensors, on its canary, with its readings moved a little from request to request."""
    item = bundle.canary[0]
    messages = tuple(
        infer_message(BUNDLE, {key: _moved(key, value[None], k) for key, value in item.items()}, wire)
        for k in range(VARIANTS)
    )
    return Target(f"/v2 {BUNDLE}", wire, messages, bound_of_bundle)


def graph_target(name: str, path: Path, dims: Mapping[str, int], wire: Wire) -> Target:
    """A graph that the service was given with ``--onnx``; ``dims`` are lengths of its open axes but the first.

    Raises GraphError where the graph cannot be served, InvalidInputError where an open axis has no length.
    """
    graph = OnnxGraph.read(path, name)
    tensors = random_tensors(graph.inputs, dims)
    messages = tuple(
        infer_message(name, {key: _moved("readings", value, k) for key, value in tensors.items()}, wire)
        for k in range(VARIANTS)
    )
    return Target(f"/v2 {name}", wire, messages, partial(bound_of_graph, path, dict(tensors)))


def _measure(service: Service, target: Target, plan: Plan, workers: Workers, on_step: Callable[[], object]) -> Measured:
    for message in target.messages:
        ask(service.url, "POST", message.path, message.body, message.headers)
    bound_s = min(BOUND_S, plan.seconds)
    before = workers.alone(target.bound, bound_s)
    on_step()
    workers.send(service, target.messages, _WARM_CALLERS, min(_WARM_S, plan.seconds))
    sent = []
    for callers in plan.callers:
        asked = Asked(target.name, target.wire, callers, None, min(len(workers.senders), callers))
        sent.append((asked, *workers.send(service, target.messages, callers, plan.seconds)))
        on_step()
    rate = plan.rate_per_s
    if plan.share is not None:
        rate = plan.share * max(tally.answered / tally.elapsed_s for _, tally, _ in sent)
    if rate is not None and rate > 0:
        asked = Asked(target.name, target.wire, IN_FLIGHT, rate, len(workers.senders))
        sent.append((asked, *workers.send(service, target.messages, IN_FLIGHT, plan.open_s, rate)))
        on_step()
    after = workers.alone(target.bound, bound_s)
    on_step()
    bound = Bound.mean([before, after])
    size = max(len(message.body) for message in target.messages)
    runs = tuple(run_of(asked, tally, usage, bound) for asked, tally, usage in sent)
    return Measured(target.name, target.wire, size, before, after, runs)


def _moved(name: str, value: Any, k: int) -> Any:
    """A float tensor of readings a little beside itself, a different one for each request; others stay."""
    moves = name == "readings" and value.dtype.kind == "f"
    return (value * (1 + 0.001 * k)).astype(value.dtype) if moves else value
