"""Sensor faults at work: what each kind does to a column of readings, and to the blocks of a batch.

Columns are (n,) float32 with their times in s. What a fault remembers (the value that it is stuck at, a lag, a late
clock, when the next spike comes) goes from stretch to stretch, so that how time is cut changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.demo.plant import Array
from gnn_service.demo.sensor_faults import SENSOR_FAULTS, SensorFault, Stage, check_sensor_fault
from gnn_service.demo.sensors_noise import noise_of, resolution_of
from gnn_service.demo.sensors_random import Bursts, Spikes
from gnn_service.demo.streams import Key, Purpose
from gnn_service.domain.machine import Machine, Sensor

Column = NDArray[np.float32]

SLOWEST_LAG_S = 0.2
"""A clogged gauge line makes even a fast pressure sensor at least this slow, before its factor."""
PSI_PER_BAR = 14.503774
KELVIN_AT_ZERO_CELSIUS = 273.15
_HELD = 2**30  # a block of random numbers that no number of faults reaches


def offset(column: Column, shift: ArrayLike) -> Column:
    """A constant offset, or one for each moment as drift has."""
    return np.asarray(column + np.asarray(shift), dtype=np.float32)


def drifted(column: Column, times: Array, per_1000_h: float, age_h: float) -> Column:
    """An offset that grows by ``per_1000_h`` in 1 000 hours and has grown for ``age_h`` at time 0."""
    return offset(column, per_1000_h * np.maximum(age_h + times / 3600.0, 0.0) / 1000.0)


def mixed_up(column: Column, sensor: Sensor) -> Column:
    """Psi read as bar, kelvin read as degrees Celsius, and ten times too much of anything else."""
    if sensor.unit == "Cel":
        return offset(column, KELVIN_AT_ZERO_CELSIUS)
    return np.asarray(column * (PSI_PER_BAR if sensor.unit == "bar" else 10.0), dtype=np.float32)


def coarse(column: Column, step: float) -> Column:
    """Readings in steps of this size."""
    return np.asarray(np.rint(column / step) * step, dtype=np.float32)


def full_scale(sensor: Sensor) -> float:
    """Width of a sensor's range, in its unit."""
    return sensor.range.high - sensor.range.low


def _step_of(sensor: Sensor) -> float:
    """A sensor's resolution, or a thousandth of its range where it has none."""
    return resolution_of(sensor) or full_scale(sensor) / 1000.0


def held_since_before(sensor: Sensor, key: Key, row: int) -> np.float32:
    """What a sensor that stuck before a window shows in this and every other one of the machine's life.

    A reading within its normal range, else within its whole range; ``row`` is its place among the machine's sensors.
    """
    span = sensor.normal or sensor.range
    share = key.of_machine().stream(Purpose.SENSOR_FAULT, _HELD + row).random()
    reading = np.rint((span.low + (span.high - span.low) * share) / _step_of(sensor)) * _step_of(sensor)
    return np.float32(np.clip(reading, sensor.range.low, sensor.range.high))


class _Channel:
    """One fault at work on one column, with what it has to remember from stretch to stretch."""

    def __init__(
        self, fault: SensorFault, machine: Machine, row: int, key: Key, number: int, interval_s: float
    ) -> None:
        """The fault with this number of the machine with this key, on the sensor in this row."""
        sensor = machine.sensors[row]
        self.fault, self._sensor, self._interval_s = fault, sensor, interval_s
        self._stream = key.stream(Purpose.SENSOR_FAULT, number)
        self._noise = noise_of(machine, sensor)
        before = fault.kind == "stuck" and np.isneginf(fault.start_s)
        self._held = held_since_before(sensor, key, row) if before else None
        tau = max(sensor.time_constant_s or 0.0, SLOWEST_LAG_S)
        self._share = np.float32(1.0 - np.exp(-interval_s / (tau * max(fault.size - 1.0, 1e-6))))
        late = round(fault.size / interval_s) if fault.kind == "clock" else 0
        self._late = np.full(late, np.nan, dtype=np.float32)
        self._random: Bursts | Spikes | None = None

    @property
    def late(self) -> int:
        """By how many rows its clock is late."""
        return len(self._late)

    def recall(self, past: Column) -> None:
        """Know the readings (late,) before the fault began."""
        self._late = past

    def apply(self, times: Array, column: Column) -> Column:
        """The column with the fault where it is active, and as it was elsewhere."""
        kind = _EFFECTS[self.fault.kind]
        active = (times >= self.fault.start_s) & (times < self.fault.end_s)
        if not active.any() and self.fault.kind not in ("clock", "lag"):
            return column
        return np.where(active, kind(self, times, column, active), column)

    def bias(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        return offset(column, self.fault.direction * self.fault.size * full_scale(self._sensor))

    def drift(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        first = max(self.fault.start_s, 0.0)
        slope = self.fault.direction * self.fault.size * full_scale(self._sensor)
        return drifted(column, times - first, slope, self.fault.age_h)

    def gain(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        return np.asarray(column * (1.0 + self.fault.direction * self.fault.size), dtype=np.float32)

    def stuck(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        seen = column[active & ~np.isnan(column)]
        if self._held is None and len(seen):
            self._held = seen[0]
        return np.full_like(column, np.nan if self._held is None else self._held)

    def rail(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        span = self._sensor.range
        return np.full_like(column, span.high if self.fault.direction > 0 else span.low)

    def dropout(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        if not isinstance(self._random, Bursts):
            self._random = Bursts(self._stream, self.fault.size, float(times[active][0]))
        return np.where(self._random.at(times), np.float32(np.nan), column)

    def spikes(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        if not isinstance(self._random, Spikes):
            self._random = Spikes(self._stream, self.fault.rate_per_h, float(times[active][0]))
        height = self._random.at(times, self._interval_s)
        return offset(column, height * self.fault.size * full_scale(self._sensor))

    def noise(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        constant, relative = self._noise
        own = constant + relative * np.abs(column) if constant or relative else _step_of(self._sensor)
        added = own * np.sqrt(self.fault.size**2 - 1.0)
        drawn = np.zeros_like(column)
        drawn[active] = self._stream.standard_normal(int(active.sum()), dtype=np.float32)
        return offset(column, added * drawn)

    def lag(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        """A second first-order lag behind the sensor's own; it follows also before the fault begins."""
        slow = np.empty_like(column)
        state = self._held
        for index, value in enumerate(column):
            if state is None or np.isnan(state) or not active[index]:
                state = value
            state += self._share * (value - state)
            slow[index] = state
        self._held = state
        return slow

    def unit(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        return mixed_up(column, self._sensor)

    def clock(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        line = np.concatenate([self._late, column])
        self._late = line[len(column) :]
        return np.asarray(line[: len(column)])

    def coarse(self, times: Array, column: Column, active: NDArray[np.bool_]) -> Column:
        return coarse(column, self.fault.size * _step_of(self._sensor))


_Effect = Callable[[_Channel, Array, Column, NDArray[np.bool_]], Column]
_EFFECTS: Mapping[str, _Effect] = {
    "bias": _Channel.bias, "drift": _Channel.drift, "gain": _Channel.gain, "stuck": _Channel.stuck,
    "rail": _Channel.rail, "dropout": _Channel.dropout, "spikes": _Channel.spikes, "noise": _Channel.noise,
    "lag": _Channel.lag, "unit": _Channel.unit, "clock": _Channel.clock, "coarse": _Channel.coarse,
}  # fmt: skip


class _Past:
    """The latest readings of every channel, as long as the latest clock is late: (rows, S, B), oldest first."""

    def __init__(self, interval_s: float, sensors: int, machines: int) -> None:
        rows = round(SENSOR_FAULTS["clock"].large / interval_s)
        self._rows = np.full((rows, sensors, machines), np.nan, dtype=np.float32)

    def keep(self, block: Column) -> None:
        """Take over a block (n, S, B), and forget as many rows."""
        self._rows = np.concatenate([self._rows[len(block) :], block[-len(self._rows) :]])

    def of(self, row: int, machine: int, rows: int) -> Column:
        """The newest readings of one channel, (rows,)."""
        return np.asarray(self._rows[len(self._rows) - rows :, row, machine].copy())


class FaultyChannels:
    """All sensor faults of a batch, applied in place to blocks (n, S, B) at the three places where they arise.

    ``remember`` keeps the past that a clock shows which begins to be late on the way; without it, a late clock must
    be there from the first block on.
    """

    def __init__(
        self,
        machine: Machine,
        keys: Sequence[Key],
        faults: Sequence[Sequence[SensorFault]],
        interval_s: float,
        *,
        remember: bool = False,
    ) -> None:
        self._machine, self._keys, self._interval_s = machine, keys, interval_s
        self._row = {sensor.id: row for row, sensor in enumerate(machine.sensors)}
        self._channels: list[tuple[int, int, _Channel]] = []
        self._swaps: list[tuple[int, SensorFault]] = []
        self._started = [0] * len(keys)
        self._past = _Past(interval_s, len(machine.sensors), len(keys)) if remember else None
        for index, own in enumerate(faults):
            for fault in own:
                self.start(index, fault)

    def start(self, machine: int, given: SensorFault) -> None:
        """Add a fault of one machine; InvalidInputError if it does not fit."""
        fault = check_sensor_fault(self._machine, given)
        number, self._started[machine] = self._started[machine], self._started[machine] + 1
        if fault.kind == "swap":
            self._swaps.append((machine, fault))
            return
        row = self._row[fault.sensor]
        channel = _Channel(fault, self._machine, row, self._keys[machine], number, self._interval_s)
        if self._past is not None:
            channel.recall(self._past.of(row, machine, channel.late))
        self._channels.append((machine, row, channel))

    def replace(self, machine: int, sensor_id: str) -> None:
        """Remove every fault of a sensor of one machine."""
        row = self._row[sensor_id]
        self._channels = [one for one in self._channels if one[:2] != (machine, row)]
        self._swaps = [
            (index, fault)
            for index, fault in self._swaps
            if index != machine or sensor_id not in (fault.sensor, fault.partner)
        ]

    def before_conversion(self, times: Array, block: Column) -> None:
        """What happens between the machine and the element: lag."""
        self._apply("before_conversion", times, block)

    def on_the_wire(self, times: Array, block: Column) -> None:
        """What happens to the signal before it becomes a number: offset, gain, noise."""
        self._apply("on_the_wire", times, block)

    def after_conversion(self, times: Array, block: Column) -> None:
        """What happens to the number: stuck, lost, exchanged, misread, late."""
        self._apply("after_conversion", times, block)
        if self._past is not None:
            self._past.keep(block)
        for machine, fault in self._swaps:
            active = np.flatnonzero((times >= fault.start_s) & (times < fault.end_s))
            one, other = self._row[fault.sensor], self._row[fault.partner or fault.sensor]
            plugged = block[active, one, machine]
            block[active, one, machine] = block[active, other, machine]
            block[active, other, machine] = plugged

    def _apply(self, stage: Stage, times: Array, block: Column) -> None:
        for machine, row, channel in self._channels:
            if channel.fault.described.stage == stage:
                block[:, row, machine] = channel.apply(times, block[:, row, machine])
