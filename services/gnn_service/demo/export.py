"""Simulated machines as recordings: description of the instance, readings, truth, events, cycles and captures.

Simulated clocks start at the beginning of 2026 (UTC), and an operating hour is an hour of that clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service import __version__
from gnn_service.demo.capture import take_capture
from gnn_service.demo.live import EPOCH_S
from gnn_service.demo.maintenance import Event
from gnn_service.demo.plant import Array
from gnn_service.demo.run import Run, RunPlan
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System
from gnn_service.domain.machine import Machine, SensorRole
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording, Truth
from gnn_service.recordings.extras import Extras, Table

EPOCH_US = round(EPOCH_S) * MICROSECONDS
LICENCE = "CC0-1.0"
COLUMNS = {
    "root_cause": "component where it began",
    "rul_h": "operating hours to severity 1 if nobody intervenes and the fault goes on growing as it does (in a run:"
    " evenly); missing below severity 0.15, and where unknown: of a severity that stays or falls",
    "observable": "whether the noise-free difference from the healthy twin, averaged over the row's time, exceeds three"
    " standard deviations of the noise in an evidence sensor; true in healthy rows",
    "active": "share of the row's time in which the fault was there",
    "mode": "short id of the failure mode",
    "strongest": "evidence sensor that is farthest off",
    "sigmas": "how far, in standard deviations of its noise",
    "hour": "operating hour of the machine",
    "sensor_faults": "kind:sensor of the sensors that fail in the row's time",
}
"""Columns of the truth beside those of every recording."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is true between two moments (microseconds since 1970 UTC) of one machine.

    ``severity``, ``active``, ``observable``, ``remaining_h`` are (M,) in the order of the system's modes, ``strength``
    (M, S). ``roots`` are the components in which each mode's trouble began, empty where that is each one's own.
    """

    start_us: int
    end_us: int
    hour: float
    severity: Array
    active: Array
    observable: NDArray[np.bool_]
    strength: NDArray[np.floating[Any]]
    remaining_h: Array
    sensor_faults: tuple[SensorFault, ...] = ()
    roots: tuple[str, ...] = ()


def instance(machine: Machine, machine_id: str, rate_hz: float) -> Machine:
    """The description of one machine of a kind: its own id, and no sensor faster than its table."""
    sensors = tuple(sensor.model_copy(update={"rate_hz": min(sensor.rate_hz, rate_hz)}) for sensor in machine.sensors)
    return machine.model_copy(update={"id": machine_id, "sensors": sensors})


def truth_of(system: System, spans: Sequence[Span], group: str) -> Truth:
    """A row for each fault of each span, and one for each component that could have one and has not."""
    rows: list[dict[str, Any]] = []
    kinds = dict.fromkeys(mode.component for mode in system.modes)
    evidence = np.array([sensor.role is SensorRole.EVIDENCE for sensor in system.sensors])
    for span in spans:
        common = {
            "start": span.start_us, "end": span.end_us, "hour": span.hour,
            "sensor_faults": ";".join(f"{fault.kind}:{fault.sensor}" for fault in span.sensor_faults),
        }  # fmt: skip
        for component in kinds:
            present = [i for i, m in enumerate(system.modes) if m.component == component and span.severity[i] > 0]
            rows += [common | _faulty(system, span, index, evidence) for index in present]
            if not present:
                rows.append(common | _healthy(component))
    return _truth(rows, group)


def _healthy(component: str) -> dict[str, Any]:
    return {
        "component": component, "fault": "", "severity": 0.0, "root_cause": "", "rul_h": np.nan, "observable": True,
        "active": 0.0, "mode": "", "strongest": "", "sigmas": 0.0,
    }  # fmt: skip


def _faulty(system: System, span: Span, index: int, evidence: NDArray[np.bool_]) -> dict[str, Any]:
    mode = system.modes[index]
    off = np.where(evidence, np.abs(span.strength[index]), 0.0)
    strongest = int(off.argmax())
    return {
        "component": mode.component,
        "fault": mode.mode,
        "severity": span.severity[index],
        "root_cause": span.roots[index] if span.roots else mode.component,
        "rul_h": span.remaining_h[index],
        "observable": bool(span.observable[index]),
        "active": span.active[index],
        "mode": mode.id,
        "strongest": system.machine.sensor_ids[strongest] if off[strongest] > 0 else "",
        "sigmas": span.strength[index][strongest],
    }


def _truth(rows: Sequence[Mapping[str, Any]], group: str) -> Truth:
    def column(name: str, kind: Any) -> NDArray[Any]:
        return np.array([row[name] for row in rows], dtype=kind)

    types = {
        "root_cause": np.str_, "rul_h": np.float64, "observable": np.bool_, "active": np.float64, "mode": np.str_,
        "strongest": np.str_, "sigmas": np.float32, "hour": np.float64, "sensor_faults": np.str_,
    }  # fmt: skip
    return Truth(
        start=column("start", np.int64),
        end=column("end", np.int64),
        component=column("component", np.str_),
        fault=column("fault", np.str_),
        severity=column("severity", np.float32),
        group=np.full(len(rows), group),
        extra={name: column(name, kind) for name, kind in types.items()},
    )


def events_table(events: Sequence[Event]) -> Table | None:
    """What happened and what people did, in order of time; None where nothing did."""
    if not events:
        return None
    return {
        "ts": np.array([moment_us(event.hour) for event in events]).astype("datetime64[us]"),
        "kind": np.array([event.kind for event in events], dtype=np.str_),
        "mode": np.array([event.mode for event in events], dtype=np.str_),
        "component": np.array([event.component for event in events], dtype=np.str_),
        "action": np.array([event.action for event in events], dtype=np.str_),
        "before": np.array([event.before for event in events]),
        "after": np.array([event.after for event in events]),
        "hour": np.array([event.hour for event in events]),
    }


def moment_us(hour: float) -> int:
    """An operating hour as microseconds since 1970 UTC, to the full second."""
    return EPOCH_US + round(hour * 3600) * MICROSECONDS


def info_of(system: System, machine: Machine, key: Key, rate_hz: float, how: Mapping[str, Any]) -> dict[str, Any]:
    """What `recording.json` says of a simulated recording; ``how`` is what was asked for."""
    return {
        "source": f"simulated by gnn-service {__version__}",
        "licence": LICENCE,
        "machine": system.name,
        "seed": key.seed,
        "instance": key.machine,
        "versions": {"gnn-service": __version__, "numpy": np.__version__},
        "description_sha256": system.machine.fingerprint,
        "time": "simulated: an operating hour is an hour after 2026-01-01T00:00:00Z",
        "group": "all that is recorded of one machine's life",
        "sampling": {"rate_hz": rate_hz, "step_s": system.plant.STEP_S, "how": "mean of the steps of each interval"},
        "units": {sensor.id: sensor.unit for sensor in machine.sensors},
        "cycles": "seconds, phase means in the sensors' units, energies in J",
        "truth": COLUMNS,
        "simulation": dict(how),
    }


def run_recording(system: System, key: Key, plan: RunPlan, run: Run, *, machine_id: str) -> tuple[Recording, Extras]:
    """A run as a recording of its own group."""
    step_s = system.plant.STEP_S
    rate_hz = plan.rate_hz or 1.0 / step_s
    machine = instance(system.machine, machine_id, rate_hz)
    spans = [
        Span(
            EPOCH_US + round(section.start_s * MICROSECONDS),
            EPOCH_US + round(section.end_s * MICROSECONDS),
            section.start_s / 3600,
            section.severity,
            section.active,
            section.observable,
            section.strength,
            section.remaining_h,
            tuple(f for f in plan.sensor_faults if f.start_s < section.end_s and f.end_s > section.start_s),
        )
        for section in run.sections
    ]
    readings = Readings(
        times=EPOCH_US + np.round(run.times_s * MICROSECONDS).astype(np.int64),
        sensors=machine.sensor_ids,
        values=run.values,
        phase=run.phase,
        operating_state=run.state,
        cycle=run.cycle,
    )
    how = {
        "kind": "run",
        "hours": plan.seconds / 3600,
        "severity": {name: list(ends) for name, ends in plan.ramps.items()},
        "state": plan.state,
        "sensor_faults": [f"{f.kind}:{f.sensor}:{f.severity:g}" for f in plan.sensor_faults],
        "site": dict(run.site),
    }
    info = info_of(system, machine, key, rate_hz, how)
    captures, told = _captures(system, key, plan, run)
    if told:
        info["captures"] = told
    extras = Extras(run.cycles.columns(0, EPOCH_US), events_table(_beginnings(system, plan)), captures)
    return Recording(machine, readings, truth_of(system, spans, machine_id), info), extras


def _captures(system: System, key: Key, plan: RunPlan, run: Run) -> tuple[dict[str, Table], dict[str, Any]]:
    """Tables of a run's captures by name, and what is told of each."""
    tables, told = {}, {}
    for number, moment in enumerate(run.moments):
        failing = [f for f in plan.sensor_faults if f.start_s <= moment.time_s < f.end_s]
        for place, kind in enumerate(system.captures):
            name, own = f"{kind.id}_{number:02d}", number * len(system.captures) + place
            tables[name], told[name] = take_capture(
                system.machine, kind, moment, key, own, failing, epoch_us=EPOCH_US
            )  # fmt: skip
    return tables, told


def _beginnings(system: System, plan: RunPlan) -> list[Event]:
    modes = [(system.mode(name), ends) for name, ends in plan.ramps.items()]
    return [
        Event(0.0, "onset", mode.id, mode.component, "", before=0.0, after=start)
        for mode, (start, end) in modes
        if start > 0 or end > 0
    ]
