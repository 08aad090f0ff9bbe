"""Noise and resolution of healthy sensors: from the machine's description, else from the catalogue's quantity."""

from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Machine, Sensor, SensorRole
from gnn_service.domain.units import convert

RIPPLE_ON = frozenset({"pump", "servo_pump", "valve_block", "cylinder", "hydraulic_motor"})
HIGH_PRESSURE_BAR = 100.0
RELATIVE_NOISE = {"flow": 0.003, "vibration_velocity": 0.015, "vibration_acceleration": 0.03, "electrical_power": 0.005}
"""Noise as a share of the reading, beside that of the description."""
PRESSURE_RIPPLE = 0.004
"""Ripple of displacement pumps and motors, aliased by sampling, as a share of the pressure."""


def noise_of(machine: Machine, sensor: Sensor) -> tuple[float, float]:
    """Standard deviation of a sensor's noise: the constant part in its unit, and the part relative to its reading."""
    if sensor.role is SensorRole.COMMAND:
        return 0.0, 0.0
    constant = sensor.noise_sd if sensor.noise_sd is not None else typical(sensor, "noise_sd")
    relative = RELATIVE_NOISE.get(sensor.quantity, 0.0) if constant else 0.0
    kind = next(one.type for one in machine.components if one.id == sensor.component)
    if sensor.quantity == "pressure" and kind in RIPPLE_ON and _in_own_unit(sensor) >= HIGH_PRESSURE_BAR:
        relative = PRESSURE_RIPPLE
    return constant, relative


def resolution_of(sensor: Sensor) -> float:
    """Smallest step of a sensor in its unit; 0 where it has none."""
    return sensor.resolution if sensor.resolution is not None else typical(sensor, "resolution")


def _in_own_unit(sensor: Sensor) -> float:
    """The upper end of a pressure sensor's range in bar."""
    return float(convert(sensor.range.high, sensor.unit, quantity=sensor.quantity))


def typical(sensor: Sensor, name: str) -> float:
    """What the catalogue says of such sensors, where the sensor's unit is the quantity's own; else 0."""
    quantity = catalogue().quantity(sensor.quantity)
    if quantity.unit != sensor.unit and name != "time_constant_s":
        return 0.0
    return float(getattr(quantity.sensor, name) or 0.0)
