"""Which sensor stands where in a frame, and how frames of different layouts become one. Pure functions of arrays."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import Machine


@dataclass(frozen=True, slots=True)
class Layout:
    """The sensors of a rate group in the order of a frame's values; never changed once it is stored."""

    layout_id: int
    machine_id: int
    rate_group: int
    sensor_ids: tuple[int, ...]


def digest(sensor_ids: Iterable[int]) -> str:
    """SHA-256 of a list of sensors in its order."""
    return hashlib.sha256(",".join(map(str, sensor_ids)).encode()).hexdigest()


def sensors_by_rate(machine: Machine) -> dict[float, tuple[str, ...]]:
    """Tags of the sensors of each rate in Hz, in the order of the description."""
    rates: dict[float, list[str]] = {}
    for sensor in machine.sensors:
        rates.setdefault(sensor.rate_hz, []).append(sensor.id)
    return {rate: tuple(tags) for rate, tags in rates.items()}


def union(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The sensors of both: the first's order, then what only the second has."""
    return tuple(dict.fromkeys((*first, *second)))


def remap(values: NDArray[np.float32], given: Sequence[int], wanted: Sequence[int]) -> NDArray[np.float32]:
    """Values (N, len(given)) moved to the positions of ``wanted``, (N, len(wanted)); NaN where it was not given."""
    if tuple(given) == tuple(wanted):
        return values
    place = {sensor: index for index, sensor in enumerate(given)}
    moved = np.full((len(values), len(wanted)), np.nan, np.float32)
    both = [(place[sensor], index) for index, sensor in enumerate(wanted) if sensor in place]
    if both:
        source, target = map(list, zip(*both, strict=True))
        moved[:, target] = values[:, source]
    return moved


def merge(old: NDArray[np.float32], new: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Frames (N, S) of one layout and tick made one: a new value that is present wins, a missing one leaves the old.

    Returns the merged values and which of the N frames differ from the old ones.
    """
    merged = np.where(np.isnan(new), old, new)
    same = (merged == old) | (np.isnan(merged) & np.isnan(old))
    return merged, ~same.all(axis=1)


def on_one_grid(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32], Sequence[int]]], wanted: Mapping[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Frames of several layouts and rate groups on the union of their ticks.

    Args:
        parts: times (N,), values (N, S) and the S sensors of each stretch.
        wanted: column of each sensor in the answer; other sensors, and ticks that have no sensor in it, are left out.

    Returns times (T,) rising, and values (T, len(wanted)), NaN = missing.
    """
    known = [
        (times, values, columns)
        for times, values, sensors in parts
        if (columns := [(place, wanted[sensor]) for place, sensor in enumerate(sensors) if sensor in wanted])
    ]
    if not known:
        return np.empty(0, np.int64), np.empty((0, len(wanted)), np.float32)
    if len(parts) == 1 and tuple(parts[0][2]) == tuple(wanted):
        return parts[0][0], parts[0][1]
    grid = np.unique(np.concatenate([times for times, _, _ in known]))
    joined = np.full((len(grid), len(wanted)), np.nan, np.float32)
    for times, values, columns in known:
        source, target = map(list, zip(*columns, strict=True))
        joined[np.ix_(np.searchsorted(grid, times), target)] = values[:, source]
    return grid, joined
