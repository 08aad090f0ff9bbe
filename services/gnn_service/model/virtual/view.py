"""What a virtual sensor looks at: its real sensors in SI over one duty cycle, and where it found them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import DutyCycle, Machine, Phase, Sensor, SensorRole
from gnn_service.domain.units import convert
from gnn_service.domain.virtual import VIRTUAL_SENSORS, VirtualInput, VirtualSensor

SI_UNITS = {"pressure": "Pa", "flow": "m3/s", "temperature": "K"}
HYDRAULIC_LINES = frozenset({"hyd_pressure", "hyd_suction", "hyd_return"})
LEAST_PRESENT = 0.5
"""Share of a phase's samples that must be present for its mean to count."""


@dataclass(frozen=True, slots=True)
class CycleView:
    """Readings of W windows in SI on a grid of T steps; ``values`` maps input names to (W, T), NaN = missing."""

    values: Mapping[str, NDArray[np.float64]]
    step_s: float
    duty: DutyCycle

    def mean(self, name: str, phase: Phase) -> NDArray[np.float64]:
        """Mean of one input over a phase, (W,); NaN where half of it is missing."""
        part = self.values[name][:, self.slice_of(phase)]
        present = np.isfinite(part)
        total = np.where(present, part, 0.0).sum(1)
        count = present.sum(1)
        enough = count >= max(1.0, LEAST_PRESENT * part.shape[1])
        return np.where(enough, total / np.maximum(count, 1), np.nan)

    def plateaus(self, name: str) -> NDArray[np.float64]:
        """Mean of one input on every plateau in order of time, (W, K)."""
        return np.stack([self.mean(name, phase) for phase in self.duty.of_kind("plateau")], axis=1)

    def overall(self, name: str) -> NDArray[np.float64]:
        """Mean of one input over the whole cycle, (W,)."""
        return self.mean(name, Phase(id="cycle", start_s=0.0, end_s=self.duty.period_s))

    def slice_of(self, phase: Phase) -> slice:
        """The steps of a phase; at least one."""
        first = round(phase.start_s / self.step_s)
        return slice(first, max(first + 1, round(phase.end_s / self.step_s)))

    def step_index(self, phase: Phase) -> int:
        """The step in which a phase begins."""
        return round(phase.start_s / self.step_s)


@dataclass(frozen=True, slots=True)
class Binding:
    """A virtual sensor switched on: its component, and for each input the real sensors that can feed it.

    ``rows`` are their indices in the machine, nearest first; ``scales`` the scale and offset to SI of each.
    """

    sensor: VirtualSensor
    component: str
    duty: DutyCycle
    rows: Mapping[str, tuple[int, ...]]
    scales: Mapping[str, tuple[tuple[float, float], ...]]

    @property
    def key(self) -> str:
        """Unique within a machine: `<component>.<virtual sensor>`."""
        return f"{self.component}.{self.sensor.id}"

    def view(self, values: NDArray[np.float32], step_s: float) -> CycleView:
        """The readings it needs, in SI, each of the nearest sensor that reads; ``values`` (W, S, T) in own units."""
        chosen = {}
        for name, rows in self.rows.items():
            readings = [
                values[:, row].astype(np.float64) * scale + offset
                for row, (scale, offset) in zip(rows, self.scales[name], strict=True)
            ]
            chosen[name] = nearest_reading(readings)
        return CycleView(values=chosen, step_s=step_s, duty=self.duty)


def bind(
    machine: Machine,
    pinned: Mapping[str, Mapping[str, str]] | None = None,
    declared: Sequence[VirtualSensor] = VIRTUAL_SENSORS,
) -> tuple[Binding, ...]:
    """Switch on every declared virtual sensor that this machine can feed, in order of its components.

    ``pinned`` names, by key and input, the real sensors that an estimate was calibrated with: it takes no other.
    """
    duty = machine.duty_cycle
    if duty is None:
        return ()
    kinds = [phase.kind for phase in sorted(duty.phases, key=lambda phase: phase.start_s)]
    found = []
    for component in machine.components:
        modes = {mode.mode for mode in machine.modes_of(component.id)}
        for sensor in declared:
            wanted = sensor.component_type == component.type and sensor.mode in modes
            if wanted and _in_order(sensor.phases, kinds):
                pins = (pinned or {}).get(f"{component.id}.{sensor.id}", {})
                rows = {
                    name: _rows(machine, component.id, need, pins.get(name)) for name, need in sensor.inputs.items()
                }
                if all(rows.values()):
                    units = {
                        name: tuple(_si_scale(machine.sensors[row]) for row in each) for name, each in rows.items()
                    }
                    found.append(Binding(sensor, component.id, duty, rows, units))
    return tuple(found)


def _in_order(wanted: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether the wanted kinds of phase come one after the other, with any others between them."""
    left = iter(kinds)
    return all(kind in left for kind in wanted)


def _rows(machine: Machine, component: str, need: VirtualInput, pinned: str | None) -> tuple[int, ...]:
    """The sensors that can feed an input, nearest first."""
    rows = find_sensors(machine, component, need)
    return rows if pinned is None else tuple(row for row in rows if machine.sensors[row].id == pinned)


def _si_scale(sensor: Sensor) -> tuple[float, float]:
    """(scale, offset) such that reading x scale + offset is in SI."""
    zero, one = convert([0.0, 1.0], sensor.unit, SI_UNITS[sensor.quantity])
    return float(one - zero), float(zero)


def find_sensors(machine: Machine, start: str, need: VirtualInput) -> tuple[int, ...]:
    """Indices of the sensors of that quantity, nearest first along the hydraulic lines, equally near ones by id.

    The walk goes through no reservoir: behind it lies another circuit. Derived sensors repeat others and are left out.
    """
    tanks = {component.id for component in machine.components if component.type == "reservoir"} - {start}
    seen, ring, found = {start}, {start}, []
    while ring:
        here = [
            (sensor.id, row)
            for row, sensor in enumerate(machine.sensors)
            if sensor.component in ring and sensor.quantity == need.quantity and sensor.role is not SensorRole.DERIVED
        ]
        found += [row for _, row in sorted(here)]
        if need.place == "own":
            break
        ring = _next_ring(machine, ring - tanks, both_ways=need.place == "nearest") - seen
        seen |= ring
    return tuple(found)


def nearest_reading(readings: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Window by window the first of several sensors that gives any reading, (W, T) each; NaN where none does."""
    chosen = np.full(readings[0].shape, np.nan)
    for reading in reversed(readings):
        chosen = np.where(np.isfinite(reading).any(-1, keepdims=True), reading, chosen)
    return chosen


def _next_ring(machine: Machine, ring: set[str], *, both_ways: bool) -> set[str]:
    """Components one hydraulic line away, downstream or in both directions."""
    lines = [line for line in machine.connections if line.type in HYDRAULIC_LINES]
    downstream = {line.target for line in lines if line.source in ring}
    return downstream | {line.source for line in lines if line.target in ring} if both_ways else downstream
