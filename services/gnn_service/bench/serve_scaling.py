"""How the cost of a diagnosis grows with nodes, sensors, samples and batch, on machines made up from the catalogue.

The diagnoses mean nothing, their cost does. Stages are the bare model's, in CPU time; over HTTP, where the whole
description goes along with each window, it is the CPU time of the service's processes and the wait of a caller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from gnn_service.bench.serve_bound import Stages, stages_of
from gnn_service.bench.serve_child import Service
from gnn_service.bench.serve_http import ask
from gnn_service.bench.serve_stats import Latency, growth_exponent
from gnn_service.bench.serve_target import diagnose_message
from gnn_service.bench.serve_workers import Workers
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Component, Connection, Machine, Sensor
from gnn_service.domain.template import starting_sensor
from gnn_service.domain.window import Window

Axis = Literal["nodes", "sensors", "samples", "batch"]

_LENGTH_S: Final = 60.0
_START_S: Final = 1_769_846_400.0
_VARIANTS: Final = 8
_SETTLING_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """A made-up machine of ``nodes`` components and ``sensors``, its windows of ``samples`` a sensor, and a batch."""

    nodes: int = 16
    sensors: int = 32
    samples: int = 60
    batch: int = 1


SWEEPS: Final[dict[Axis, tuple[int, ...]]] = {
    "nodes": (4, 8, 16, 32, 64),
    "sensors": (16, 32, 64, 128, 256),
    "samples": (60, 240, 960, 3840),
    "batch": (1, 2, 4, 8, 16),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a window of this size costs. ``callers`` asked over HTTP at once, as many as the batch is large."""

    axis: Axis
    size: Size
    stages: Stages
    body_bytes: int
    callers: int
    http: Latency
    requests_per_s: float
    cpu_ms_per_request: float | None
    errors: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Exponents k of cost ~ size^k along one axis: 0 does not grow, 1 grows with the size; None where not measured."""

    axis: Axis
    encode: float
    run: float
    decode: float
    request_cpu: float | None


@dataclass(frozen=True, slots=True)
class Scaling:
    """One run of `bench_scaling`."""

    costs: tuple[Cost, ...]
    growth: tuple[Growth, ...]


def bench_scaling(
    service: Service,
    workers: Workers,
    *,
    seconds: float,
    sweeps: dict[Axis, tuple[int, ...]] = SWEEPS,
    on_point: Callable[[], object] = lambda: None,
) -> Scaling:
    """Measure each size for about ``seconds``, half of it bare and half over HTTP; each is on its axis around `Size`.

    Raises UnavailableError, with the service's reason, where it refuses a machine.
    """
    costs = []
    for axis, values in sweeps.items():
        for value in values:
            costs.append(_cost(service, workers, axis, replace(Size(), **{axis: value}), seconds / 2))
            on_point()
    grown = [_growth(axis, [cost for cost in costs if cost.axis == axis]) for axis in sweeps if len(sweeps[axis]) > 1]
    return Scaling(tuple(costs), tuple(grown))


def made_up_machine(size: Size) -> Machine:
    """A machine with every component type of the catalogue in turn, joined in a ring, sensors dealt out in turn.

    Raises InvalidInputError where it would have no component or no sensor.
    """
    if size.nodes < 1 or size.sensors < 1:
        raise InvalidInputError("a machine needs a component and a sensor", where="size")
    known = catalogue()
    kinds = [known.component_types[k % len(known.component_types)] for k in range(size.nodes)]
    components = tuple(Component(id=f"c{k}_{kind.id}", type=kind.id) for k, kind in enumerate(kinds))
    types = known.connection_type_ids
    ring = tuple(
        Connection(source=one.id, target=components[(k + 1) % size.nodes].id, type=types[k % len(types)])
        for k, one in enumerate(components)
        if size.nodes > 1
    )
    return Machine(
        id=f"made-up-{size.nodes}-{size.sensors}-{size.samples}",
        components=components,
        connections=ring,
        sensors=tuple(_sensor(k, components[k % size.nodes], size) for k in range(size.sensors)),
    )


def made_up_windows(machine: Machine, size: Size) -> tuple[Window, ...]:
    """A minute of every sensor, somewhere in its range; each window is another."""
    rng = np.random.default_rng(size.nodes + size.sensors)
    spans = np.array([(sensor.range.low, sensor.range.high) for sensor in machine.sensors])
    times = _START_S + np.arange(size.samples) * _LENGTH_S / size.samples
    windows = []
    for _ in range(_VARIANTS):
        places = 0.5 + 0.1 * rng.standard_normal((size.sensors, size.samples))  # (S, T) of the range
        values = spans[:, :1] + np.clip(places, 0, 1) * (spans[:, 1:] - spans[:, :1])
        windows.append(Window(machine.sensor_ids, values.astype(np.float32), times, phase_s=None))
    return tuple(windows)


def _sensor(number: int, component: Component, size: Size) -> Sensor:
    known = catalogue()
    usual = known.component_type(component.type).sensors
    turn = number // size.nodes
    quantity = usual[turn % len(usual)].quantity if usual else known.quantity_ids[number % len(known.quantity_ids)]
    sensor = starting_sensor(f"s{number}", component.id, known.quantity(quantity))
    return sensor.model_copy(update={"rate_hz": size.samples / _LENGTH_S})


def _cost(service: Service, workers: Workers, axis: Axis, size: Size, seconds: float) -> Cost:
    machine = made_up_machine(size)
    windows = made_up_windows(machine, size)
    stages = workers.alone(stages_of, machine, windows, size.batch, seconds / 3)
    messages = tuple(diagnose_message(machine, window) for window in windows)
    ask(service.url, "POST", messages[0].path, messages[0].body, messages[0].headers)
    workers.send(service, messages, size.batch, min(_SETTLING_S, seconds))
    tally, usage = workers.send(service, messages, size.batch, seconds)
    cpu = None if usage.cpu_s is None or not tally.answered else 1000 * usage.cpu_s / tally.answered
    return Cost(
        axis=axis,
        size=size,
        stages=stages,
        body_bytes=max(len(message.body) for message in messages),
        callers=size.batch,
        http=Latency.of(tally.latencies_s),
        requests_per_s=tally.answered / tally.elapsed_s,
        cpu_ms_per_request=cpu,
        errors=tally.errors,
    )


def _growth(axis: Axis, costs: Sequence[Cost]) -> Growth:
    sizes = [getattr(cost.size, axis) for cost in costs]
    stages = [cost.stages for cost in costs]
    used = [cost.cpu_ms_per_request for cost in costs if cost.cpu_ms_per_request]
    return Growth(
        axis,
        encode=growth_exponent(sizes, [stage.encode_us for stage in stages]),
        run=growth_exponent(sizes, [stage.run_us for stage in stages]),
        decode=growth_exponent(sizes, [stage.decode_us for stage in stages]),
        request_cpu=growth_exponent(sizes, used) if len(used) == len(sizes) else None,
    )
