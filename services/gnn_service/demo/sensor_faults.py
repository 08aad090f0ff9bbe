"""The 13 ways in which sensors fail, apart from the machine that they look at.

Each kind is described with its size at severity 0 and 1, its law, the failure mode identifiers of SAE J1939-73 and
the status signals of NAMUR NE 107 (C function check, F failure, S out of specification). Full scale is the sensor's
range. The sizes are representative of industrial sensors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.streams import Key, Purpose
from gnn_service.domain.machine import Machine, SensorRole

_DRAWN = 2**31

Stage = Literal["before_conversion", "on_the_wire", "after_conversion"]


@dataclass(frozen=True, slots=True)
class SensorFaultKind:
    """One way to fail: ``small`` and ``large`` are its size at severity 0 and 1, in words ``measure``."""

    id: str
    name: str
    looks_like: str
    small: float
    large: float
    measure: str
    law: Literal["step", "linear", "intermittent", "poisson"]
    stage: Stage
    fmi_up: tuple[int, ...]
    fmi_down: tuple[int, ...]
    ne107: tuple[Literal["C", "F", "S"], ...]


_KINDS = (
    SensorFaultKind(
        "bias", "Constant offset", "a small leak, or a changed set pressure",
        0.01, 0.05, "of full scale", "step", "on_the_wire", (13,), (13,), ("C", "S"),
    ),
    SensorFaultKind(
        "drift", "Drift", "slow degradation",
        0.005, 0.03, "of full scale in 1 000 h", "linear", "on_the_wire", (20,), (21,), ("S",),
    ),
    SensorFaultKind(
        "gain", "Wrong gain", "the range of another sensor",
        0.05, 0.2, "of the reading", "step", "on_the_wire", (13,), (13,), ("S",),
    ),
    SensorFaultKind(
        "stuck", "Stuck", "a machine too healthy: nothing moves while phases change",
        0.0, 0.0, "", "step", "after_conversion", (7,), (7,), ("F",),
    ),
    SensorFaultKind(
        "rail", "Open or short circuit", "an extreme",
        1.0, 1.0, "end of the range", "step", "after_conversion", (3,), (4, 5), ("F",),
    ),
    SensorFaultKind(
        "dropout", "Drop-outs", "gaps",
        0.001, 0.05, "of the time", "intermittent", "after_conversion", (9,), (9,), ("F",),
    ),
    SensorFaultKind(
        "spikes", "Spikes", "pressure peaks",
        0.05, 0.3, "of full scale", "poisson", "on_the_wire", (2,), (2,), ("S",),
    ),
    SensorFaultKind(
        "noise", "Growing noise", "a loose plug, a broken shield",
        3.0, 10.0, "times the noise", "linear", "on_the_wire", (2,), (2,), ("S",),
    ),
    SensorFaultKind(
        "lag", "Slow response", "a fouled thermowell, air in the gauge line",
        5.0, 10.0, "times the time constant", "step", "before_conversion", (10,), (10,), ("S",),
    ),
    SensorFaultKind(
        "swap", "Two channels exchanged", "two faulty components",
        0.0, 0.0, "", "step", "after_conversion", (13,), (13,), ("F",),
    ),
    SensorFaultKind(
        "unit", "Wrong unit or scale", "absurd",
        0.0, 0.0, "", "step", "after_conversion", (13,), (13,), ("F",),
    ),
    SensorFaultKind(
        "clock", "Wrong clock", "phases that do not fit each other",
        0.5, 60.0, "s late", "step", "after_conversion", (9, 19), (9, 19), ("S",),
    ),
    SensorFaultKind(
        "coarse", "Coarse steps", "a staircase",
        10.0, 10.0, "times the resolution", "step", "after_conversion", (13,), (13,), ("S",),
    ),
)  # fmt: skip
SENSOR_FAULTS: Mapping[str, SensorFaultKind] = {kind.id: kind for kind in _KINDS}
"""Every kind, by id."""


@dataclass(frozen=True, slots=True)
class SensorFault:
    """A fault of one sensor of one machine.

    Args:
        kind: id of a kind.
        sensor: id of the sensor; ``partner`` that of the one that it is exchanged with.
        severity: 0..1 between the kind's small and large size.
        direction: 1 upwards, -1 downwards, for offset, drift, gain and rail.
        start_s: when it begins, in seconds of the window; minus infinity if it was there before.
        end_s: when it is gone.
        age_h: hours that a drift has gone on when it is first seen: at its start, or at that of the window.
        rate_per_h: spikes an hour.
    """

    kind: str
    sensor: str
    severity: float = 0.5
    direction: int = 1
    partner: str | None = None
    start_s: float = -np.inf
    end_s: float = np.inf
    age_h: float = 0.0
    rate_per_h: float = 5.0

    @property
    def described(self) -> SensorFaultKind:
        """What is known of its kind."""
        return SENSOR_FAULTS[self.kind]

    @property
    def size(self) -> float:
        """Its size in the kind's measure."""
        kind = self.described
        return kind.small + (kind.large - kind.small) * self.severity

    @property
    def fmi(self) -> tuple[int, ...]:
        """Failure mode identifiers of SAE J1939-73 that a good diagnosis would send."""
        return self.described.fmi_up if self.direction > 0 else self.described.fmi_down

    @property
    def ne107(self) -> tuple[str, ...]:
        """Status signals of NAMUR NE 107."""
        return self.described.ne107


def check_sensor_fault(machine: Machine, fault: SensorFault) -> SensorFault:
    """The fault, with a partner where it needs one; InvalidInputError says what does not fit the machine."""
    if fault.kind not in SENSOR_FAULTS:
        raise InvalidInputError(
            f"no sensor fault {fault.kind!r}; there is: {', '.join(SENSOR_FAULTS)}", where="sensor_fault"
        )
    if fault.sensor not in machine.sensor_ids:
        raise InvalidInputError(f"{machine.id} has no sensor {fault.sensor!r}", where="sensor_fault")
    if not 0 <= fault.severity <= 1:
        raise InvalidInputError(f"severity {fault.severity!r} is not within 0 and 1", where="sensor_fault")
    if fault.kind != "swap":
        return fault
    partner = fault.partner or next(iter(partners(machine, fault.sensor)), None)
    if partner not in partners(machine, fault.sensor):
        raise InvalidInputError(
            f"{fault.sensor!r} has no sensor of its kind to be exchanged with", where="sensor_fault"
        )
    return replace(fault, partner=partner)


def partners(machine: Machine, sensor_id: str) -> tuple[str, ...]:
    """Sensors whose plugs would fit: the same quantity, unit and rate."""
    ours = next(sensor for sensor in machine.sensors if sensor.id == sensor_id)
    return tuple(
        s.id
        for s in machine.sensors
        if s.id != sensor_id and (s.quantity, s.unit, s.rate_hz) == (ours.quantity, ours.unit, ours.rate_hz)
    )


def draw_sensor_fault(machine: Machine, key: Key, kinds: Sequence[str] = ()) -> SensorFault:
    """A fault as it might befall this machine: any kind, a sensor that is no command, any severity."""
    stream = key.stream(Purpose.SENSOR_FAULT, _DRAWN)
    kind, which, severity, direction, other, age, rate = stream.random(7)
    names = tuple(kinds) or tuple(SENSOR_FAULTS)
    chosen = names[int(kind * len(names))]
    able = [s.id for s in machine.sensors if s.role is not SensorRole.COMMAND]
    if chosen == "swap":
        able = [sensor for sensor in able if partners(machine, sensor)] or able
        chosen = chosen if partners(machine, able[0]) else "bias"
    sensor = able[int(which * len(able))]
    mates = partners(machine, sensor)
    return SensorFault(
        chosen, sensor, float(severity), 1 if direction < 0.5 else -1,
        mates[int(other * len(mates))] if chosen == "swap" else None,
        age_h=float(2_000.0 * age), rate_per_h=float(0.1 * 50.0**rate),
    )  # fmt: skip
