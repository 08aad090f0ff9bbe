"""Short captures at a high rate: what one circuit of a machine does in a defined manoeuvre, simulated in time.

A capture starts from a moment of the quasi-steady machine: its parameters with the spread of the fleet and the faults
that act then, its site, its temperatures and loads. It stands beside the run, as a test does that someone makes at
that moment: the quasi-steady machine goes on with its own work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Parameters
from gnn_service.demo.sensor_faults import SENSOR_FAULTS, SensorFault
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.streams import Key
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import MICROSECONDS
from gnn_service.recordings.extras import Table

if TYPE_CHECKING:
    from gnn_service.demo.traces import Trace

STATE = "state."
"""Columns of a capture that no sensor measures begin so."""
_CAPTURES = 1 << 30  # windows of a life have smaller numbers: captures have random numbers of their own


@dataclass(frozen=True, slots=True)
class Moment:
    """One machine at a moment of its quasi-steady life.

    ``parameters`` and ``site`` are (1,) in SI, faults included; ``values`` is what perfect sensors show, in their own
    units; ``severity`` is what acts, by short mode id: of an intermittent mode its level while it is on.
    """

    time_s: float
    parameters: Parameters
    site: Mapping[str, Array]
    values: Mapping[str, float]
    severity: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signal:
    """A course (N,) of something that no sensor measures."""

    unit: str
    name: str
    values: Array


@dataclass(frozen=True, slots=True)
class Course:
    """What happened in a manoeuvre: N samples at ``times_s`` (N,) from its begin.

    ``sensors`` holds what perfect sensors would show, (N,) by sensor id in the sensor's own unit; ``states`` what no
    sensor measures, by name; ``start`` what it took over from the quasi-steady machine, as (value, unit) by name.
    """

    times_s: Array
    sensors: Mapping[str, Array]
    states: Mapping[str, Signal]
    start: Mapping[str, tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Beside:
    """Where the quasi-steady machine does the same: ``begin`` finds the step of a trace in ``state`` to start from.

    The capture is there ``lead_s`` after its own begin; the same movement lasts for ``seconds``, and ``shown`` are
    sensors to compare. ``site`` are circumstances other than the usual ones.
    """

    state: str
    begin: "Callable[[Trace], int]"
    shown: tuple[str, ...]
    lead_s: float = 0.0
    seconds: float = np.inf
    site: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CircuitCapture:
    """A circuit that can be captured.

    Args:
        id: begins the names of its files.
        circuit: what is simulated.
        manoeuvre: what it does.
        components: ids of those that take part.
        modes: short ids of the failure modes that change what it shows.
        rate_hz: samples a second; ``step_s`` is the longest step of the integration.
        simulate: the manoeuvre from a moment, with a key for what is random in it.
        beside: where the quasi-steady machine does the same.
        pictured: the failure mode of its picture, if not the first one.
    """

    id: str
    circuit: str
    manoeuvre: str
    components: tuple[str, ...]
    modes: tuple[str, ...]
    rate_hz: float
    step_s: float
    simulate: Callable[[Moment, Key], Course]
    beside: Beside | None = None
    pictured: str = ""


def take_capture(
    machine: Machine,
    kind: CircuitCapture,
    moment: Moment,
    key: Key,
    number: int,
    faults: Sequence[SensorFault] = (),
    *,
    epoch_us: int,
) -> tuple[Table, dict[str, Any]]:
    """Capture a circuit: a table of readings and states, and what ``recording.json`` says of it.

    Args:
        machine: description of its sensors.
        kind: what to capture.
        moment: where it starts.
        key: of the run.
        number: of the capture in its recording; each has noise of its own.
        faults: sensor faults that are there.
        epoch_us: begin of the run, microseconds since 1970 UTC.
    """
    own = Key(key.seed, key.machine, _CAPTURES + number)
    course = kind.simulate(moment, own)
    readings = _measured(machine, kind, course, own, faults)
    start_us = epoch_us + round(moment.time_s * MICROSECONDS)
    times = start_us + np.round(course.times_s * MICROSECONDS).astype(np.int64)
    table = {"ts": times.astype("datetime64[us]"), **readings}
    table |= {f"{STATE}{name}": signal.values.astype(np.float32) for name, signal in course.states.items()}
    units = {sensor.id: sensor.unit for sensor in machine.sensors}
    columns = {name: {"kind": "sensor", "unit": units[name]} for name in readings}
    columns |= {
        f"{STATE}{name}": {"kind": "state", "unit": signal.unit, "name": signal.name}
        for name, signal in course.states.items()
    }
    return table, {
        "circuit": kind.circuit,
        "components": list(kind.components),
        "manoeuvre": kind.manoeuvre,
        "at_s": moment.time_s,
        "severity": dict(moment.severity),
        "shows": list(kind.modes),
        "rate_hz": kind.rate_hz,
        "step_s": kind.step_s,
        "rows": len(times),
        "start": {name: {"value": value, "unit": unit} for name, (value, unit) in course.start.items()},
        "columns": columns,
    }


def _measured(
    machine: Machine, kind: CircuitCapture, course: Course, key: Key, faults: Sequence[SensorFault]
) -> dict[str, NDArray[np.float32]]:
    """The sensors' readings at the capture's rate: with their lag, calibration, noise, resolution and faults."""
    if not course.sensors:
        return {}
    fast = tuple(sensor.model_copy(update={"rate_hz": kind.rate_hz}) for sensor in machine.sensors)
    past = round(SENSOR_FAULTS["clock"].large * kind.rate_hz)
    values = np.full((past + len(course.times_s), len(fast), 1), np.nan, dtype=np.float32)
    rows = {sensor.id: row for row, sensor in enumerate(fast)}
    for name, perfect in course.sensors.items():
        values[past:, rows[name], 0] = perfect
        values[:past, rows[name], 0] = perfect[0]  # at rest before, which a late clock shows
    there = [replace(fault, start_s=-np.inf, end_s=np.inf) for fault in faults]
    bank = SensorBank(
        machine.model_copy(update={"sensors": fast}), (key,), 1.0 / kind.rate_hz,
        start_s=-past / kind.rate_hz, faults=[there],
    )  # fmt: skip
    _, readings = bank.measure(values)
    return {name: readings[past:, rows[name], 0] for name in course.sensors}


def moment_of_trace(trace: "Trace", step: int, machine: int = 0) -> Moment:
    """A machine of a noise-free trace at one of its steps."""
    values = trace.frames.values[step, :, machine]
    return Moment(
        float(trace.time_s[step]),
        {name: array[machine : machine + 1] for name, array in trace.setting.parameters.items()},
        {name: array[machine : machine + 1] for name, array in trace.setting.site.items()},
        dict(zip(trace.system.machine.sensor_ids, values.astype(float).tolist(), strict=True)),
    )
