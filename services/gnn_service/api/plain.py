"""Readings and their history as bytes: JSON and CSV, without a Python object a value."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from gnn_service.db.history import History
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.recordings.uploads import columns_csv, readings_csv

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_STATISTICS: Final = ("count", "low", "mean", "high")


def of_sensors(readings: Readings, wanted: Sequence[str]) -> Readings:
    """The readings of these sensors, in this order, at the ticks at which one of them shows something."""
    place = {sensor: column for column, sensor in enumerate(readings.sensors)}
    values = readings.values[:, [place[sensor] for sensor in wanted]]
    present = ~np.isnan(values).all(axis=1)
    return Readings(readings.times[present], tuple(wanted), values[present])


def json_head(machine: Machine, wanted: Sequence[str]) -> bytes:
    """`schemas.readings.ReadingsAnswer` up to its first part; the last is followed by ``]}``."""
    head = {
        "block": "data_acquisition",
        "machine": machine.id,
        "sensors": list(wanted),
        "units": _units(machine, wanted),
        "parts": [],
    }
    return orjson.dumps(head)[:-2]


def json_part(readings: Readings) -> bytes:
    """`schemas.readings.ReadingsPart`."""
    columns = {
        sensor: np.ascontiguousarray(readings.values[:, column]) for column, sensor in enumerate(readings.sensors)
    }
    return orjson.dumps({"times": _instants(readings.times), "readings": columns}, option=_OPTIONS)


def csv_head(wanted: Sequence[str]) -> bytes:
    """The line of names."""
    return readings_csv(_nothing(wanted), header=True)


def csv_part(readings: Readings) -> bytes:
    """Lines of readings."""
    return readings_csv(readings, header=False)


def history(machine: Machine, found: History, *, as_csv: bool) -> bytes:
    """`schemas.readings.HistoryAnswer`, or a CSV with four columns a sensor: ``PS1.count``, ``PS1.low`` ..."""
    if as_csv:
        columns: dict[str, NDArray[Any]] = {}
        for place, sensor in enumerate(found.sensors):
            for name in _STATISTICS:
                columns[f"{sensor}.{name}"] = np.ascontiguousarray(getattr(found, name)[:, place])
        return columns_csv(found.times, columns)
    answer = {
        "block": "data_manipulation",
        "machine": machine.id,
        "every_s": found.every_us / 1e6,
        "source": found.source.value,
        "units": _units(machine, found.sensors),
        "times": _instants(found.times),
        "buckets": {
            sensor: {name: np.ascontiguousarray(getattr(found, name)[:, place]) for name in _STATISTICS}
            for place, sensor in enumerate(found.sensors)
        },
    }
    return orjson.dumps(answer, option=_OPTIONS)


def _instants(microseconds: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return microseconds.astype("datetime64[us]")


def _units(machine: Machine, wanted: Sequence[str]) -> dict[str, str]:
    chosen = set(wanted)
    return {sensor.id: sensor.unit for sensor in machine.sensors if sensor.id in chosen}


def _nothing(wanted: Sequence[str]) -> Readings:
    return Readings(np.empty(0, np.int64), tuple(wanted), np.empty((0, len(wanted)), np.float32))
