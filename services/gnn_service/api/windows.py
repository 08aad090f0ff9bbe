"""From the window that a caller sent to the window of a machine: names, lengths, order, units."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnn_service.api.schemas.window import WindowBody
from gnn_service.core.errors import InvalidWindowError, UnitError
from gnn_service.domain.check import MOST_UNITS
from gnn_service.domain.machine import Machine, Sensor
from gnn_service.domain.units import convert
from gnn_service.domain.window import Window

_LATEST = 7_258_118_400.0  # 2200-01-01, seconds since 1970 UTC
_SHOWN_SENSORS = 24


def check_units(windows: Mapping[str, WindowBody]) -> None:
    """InvalidWindowError where the windows of a request, by their place, name more different units than are read."""
    units: set[str] = set()
    for where, window in windows.items():
        units.update(window.units.values())
        if len(units) > MOST_UNITS:
            raise InvalidWindowError(
                f"over {MOST_UNITS} different units in one request; send readings in the units of the description",
                where=_at(where, "units"),
            )


def to_window(body: WindowBody, machine: Machine, where: str) -> Window:
    """The window in the machine's units, samples as float32, missing ones NaN.

    ``where`` is the window's place in the request, empty where it is the whole of it. Raises InvalidWindowError for
    readings that do not fit the machine or each other, UnitError for a unit that does not measure the quantity.
    """
    sensors = _sensors_of(body, machine, where)
    samples = _common_length(body, where)
    rows = [_row(sensor, body, where) for sensor in sensors]
    return Window(
        sensors=tuple(sensor.id for sensor in sensors),
        values=np.stack(rows),  # (S, T)
        times=_times(body, samples, where),
        phase_s=body.phase_s,
        cycle=body.cycle,
        operating_state=body.operating_state,
    )


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _sensors_of(body: WindowBody, machine: Machine, where: str) -> list[Sensor]:
    known = {sensor.id: sensor for sensor in machine.sensors}
    for field, names in (("readings", body.readings), ("units", body.units)):
        for name in names:
            if name not in known:
                listed = ", ".join(machine.sensor_ids[:_SHOWN_SENSORS])
                more = ", ..." if len(machine.sensor_ids) > _SHOWN_SENSORS else ""
                raise InvalidWindowError(
                    f"machine {machine.id} has no sensor {name}; it has: {listed or 'none'}{more}",
                    where=_at(where, f"{field}.{name}"),
                )
    return [known[name] for name in body.readings]


def _common_length(body: WindowBody, where: str) -> int:
    lengths = {name: len(values) for name, values in body.readings.items()}
    first, samples = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != samples:
            raise InvalidWindowError(
                f"{name} has {length} samples, {first} has {samples}; send one for each time, null where missing",
                where=_at(where, f"readings.{name}"),
            )
    if samples == 0:
        raise InvalidWindowError("there are no samples; send at least one", where=_at(where, "readings"))
    return samples


def _row(sensor: Sensor, body: WindowBody, where: str) -> NDArray[np.float32]:
    values = np.array(body.readings[sensor.id], dtype=np.float64)  # None becomes NaN
    unit = body.units.get(sensor.id, sensor.unit)
    if unit != sensor.unit:
        try:
            values = convert(values, unit, sensor.unit, quantity=sensor.quantity)
        except UnitError as error:
            raise UnitError(error.detail, where=_at(where, f"units.{sensor.id}")) from error
    beyond = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)
    if beyond.size:
        index = int(beyond[0])
        raise InvalidWindowError(
            f"{values[index]:g} is no measurement", where=_at(where, f"readings.{sensor.id}[{index}]")
        )
    return values.astype(np.float32)


def _times(body: WindowBody, samples: int, where: str) -> NDArray[np.float64]:
    start = 0.0 if body.start is None else body.start.timestamp()
    if body.times is None:
        if body.start is None or body.rate_hz is None:
            raise InvalidWindowError(
                "say when the samples were taken: `start` and `rate_hz`, or `times`", where=where or None
            )
        times = start + np.arange(samples) / body.rate_hz
    else:
        times = _listed_times(body, samples, start, where)
    if times[0] < 0 or times[-1] > _LATEST:
        raise InvalidWindowError("times must lie between 1970 and 2200; are they in another unit?", where=where or None)
    return times


def _listed_times(body: WindowBody, samples: int, start: float, where: str) -> NDArray[np.float64]:
    assert body.times is not None  # noqa: S101 - the caller has looked
    if body.rate_hz is not None:
        raise InvalidWindowError("send `rate_hz` or `times`, not both", where=_at(where, "rate_hz"))
    if len(body.times) != samples:
        raise InvalidWindowError(f"there are {len(body.times)} times for {samples} samples", where=_at(where, "times"))
    instants = [start + time if isinstance(time, float) else time.timestamp() for time in body.times]
    if body.start is not None and not isinstance(body.times[0], float):
        raise InvalidWindowError("ISO times need no `start`; leave it out", where=_at(where, "start"))
    times = np.array(instants)
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        index = int(back[0]) + 1
        what = "is the same as the one before" if times[index] == times[index - 1] else "goes backwards"
        raise InvalidWindowError(f"time {what}; times must rise", where=_at(where, f"times[{index}]"))
    return times
