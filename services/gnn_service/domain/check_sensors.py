"""Whether one sensor's unit, range, normal span and limits are possible."""

from collections.abc import Iterator
from itertools import pairwise

from gnn_service.core.errors import UnitError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Limits, Sensor
from gnn_service.domain.units import check_unit, convert

RESERVED = ("ts", "phase", "operating_state", "cycle")
LARGEST = 1e30
# The lowest value that physics allows, in the quantity's own unit.
FLOORS = {"temperature": -273.15, "pressure_abs": 0.0, "pressure": -1.1}


def sensor_problems(sensor: Sensor) -> Iterator[tuple[str, str]]:
    """Pairs of field and message. The sensor's quantity must be in the catalogue."""
    if sensor.id in RESERVED:
        yield "id", "this name is a column of every recording; choose another"
    span = sensor.range
    if span.low >= span.high:
        yield "range", f"impossible range {span.low:g} to {span.high:g} {sensor.unit}"
    elif max(-span.low, span.high) > LARGEST:
        yield "range", f"{span.low:g} to {span.high:g} {sensor.unit} is larger than any sensor measures"
    elif sensor.resolution is not None and sensor.resolution >= span.high - span.low:
        yield "resolution", f"{sensor.resolution:g} {sensor.unit} is coarser than the range"
    if sensor.normal is not None:
        if sensor.normal.low > sensor.normal.high:
            yield "normal", f"impossible span {sensor.normal.low:g} to {sensor.normal.high:g} {sensor.unit}"
        elif sensor.normal.low < span.low or sensor.normal.high > span.high:
            yield "normal", f"{sensor.normal.low:g} to {sensor.normal.high:g} {sensor.unit} is outside the range"
    if sensor.limits is not None:
        yield from _limit_problems(sensor.limits)
    yield from _unit_problems(sensor)


def _limit_problems(limits: Limits) -> Iterator[tuple[str, str]]:
    names = ("alarm_low", "warn_low", "warn_high", "alarm_high")
    given = [(name, value) for name in names if (value := getattr(limits, name)) is not None]
    for (lower, low), (upper, high) in pairwise(given):
        if low > high:
            yield "limits", f"{lower} {low:g} is above {upper} {high:g}"


def _unit_problems(sensor: Sensor) -> Iterator[tuple[str, str]]:
    own = catalogue().quantity(sensor.quantity).unit
    lowest = sensor.range.low
    if sensor.unit != own:
        try:
            check_unit(sensor.quantity, sensor.unit)
        except UnitError as error:
            yield "unit", error.detail
            return
        lowest = float(convert(lowest, sensor.unit, quantity=sensor.quantity))
    floor = FLOORS.get(sensor.quantity)
    if floor is not None and lowest < floor - 1e-9:
        yield "range.low", f"{sensor.range.low:g} {sensor.unit} is below what {sensor.quantity} can be"
