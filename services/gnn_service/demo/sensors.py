"""Healthy sensors: gain and offset within their accuracy, lag, noise, resolution, range and the odd missing sample.

Noise, resolution, time constant, range and rate come from the machine's description, and where that says nothing from
the catalogue's quantity. Random numbers belong to one machine and window, so that the readings of a machine are the
same to the bit whatever runs beside it. Accuracies and relative noise are representative of industrial sensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.faulty_channels import FaultyChannels
from gnn_service.demo.plant import Array
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.sensors_noise import noise_of, resolution_of, typical
from gnn_service.demo.streams import Key, Purpose
from gnn_service.domain.machine import Machine, Sensor, SensorRole

Block = NDArray[np.float32]

MISSING_SHARE = 2e-5
"""Samples that a healthy bus loses."""
SETTLED = 1e-3
"""A lag that leaves less than this of a step after one sample is none."""
CACHED_NUMBERS = 700_000
"""Readings that are worked on at a time: as many as a processor's cache holds."""
_FLEET_BLOCK = 1
_DROPOUT_BLOCK = 2**31


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far a healthy sensor may be off: ``gain`` relative, ``offset`` in its unit, or as a share of full scale."""

    gain: float = 0.005
    offset: float | None = None
    full_scale: float = 0.0025


EXACT = Accuracy(0.0, 0.0)
ACCURACY = {
    "temperature": Accuracy(0.001, 0.5),
    "temperature_difference": Accuracy(0.005, 0.1),
    "flow": Accuracy(0.01, 0.0),
    "particle_code": Accuracy(0.0, 0.5),
    "rotational_speed": Accuracy(0.0005, 0.0),
    "relative_position": Accuracy(0.002, 0.1),
    "position": Accuracy(0.0005, full_scale=0.0005),
    "angle": Accuracy(0.0, full_scale=0.0002),
    "angular_speed": Accuracy(0.001, 0.0),
    "vibration_velocity": Accuracy(0.05, 0.0),
    "vibration_acceleration": Accuracy(0.05, 0.0),
    "envelope_acceleration": Accuracy(0.05, 0.0),
    "kurtosis": EXACT,
    "crest_factor": EXACT,
    "current": Accuracy(0.01, 0.0),
    "electrical_power": Accuracy(0.01, 0.0),
    "water_saturation": Accuracy(0.0, 2.0),
    "command": EXACT,
    "duration": EXACT,
    "count": EXACT,
    "switch_state": EXACT,
}
"""By quantity; all others are within 0.5 % and a quarter per cent of full scale."""


class SensorBank:
    """The sensors of a batch of machines through one window: takes perfect values, gives readings.

    Values are given in stretches of any length; how a window is divided changes no bit of its readings.

    Args:
        machine: description of all of them.
        keys: one a machine, B of them, each with the number of its window.
        step_s: time between two rows of perfect values.
        stride: every how many rows a reading is taken.
        start_s: time of the first row, in seconds of the window; below 0 in a run-in.
        faults: sensor faults of each machine.
        noise: whether sensors are real; a perfect bank passes values on, and only applies sensor faults.
        remember: keep a minute of readings, which a clock shows that begins to be late on the way.
    """

    def __init__(
        self,
        machine: Machine,
        keys: Sequence[Key],
        step_s: float,
        *,
        stride: int = 1,
        start_s: float = 0.0,
        faults: Sequence[Sequence[SensorFault]] = (),
        noise: bool = True,
        remember: bool = False,
    ) -> None:
        self._sensors, self._step_s, self._stride = machine.sensors, step_s, stride
        self._start, self._row = round(start_s / step_s), 0
        self._real = noise
        self._gain, self._offset = _calibration(machine, keys)
        self._lag = _Lag(machine.sensors, step_s)
        self._noise = [
            _Noise(machine, keys, every, rows) for every, rows in _groups(machine.sensors, step_s * stride).items()
        ]
        self._every = _strides(machine.sensors, step_s * stride)
        self._waiting = _Waiting(self._every * stride, len(keys))
        self._rounding = _Rounding(machine.sensors)
        self._low = np.array([s.range.low for s in machine.sensors], dtype=np.float32)[:, None]
        self._high = np.array([s.range.high for s in machine.sensors], dtype=np.float32)[:, None]
        self._missing = _Missing(keys, len(machine.sensors))
        self._faulty = FaultyChannels(machine, keys, faults, step_s * stride, remember=remember)

    def start(self, machine: int, fault: SensorFault) -> None:
        """Let a sensor of one machine fail; the fault says from when on."""
        self._faulty.start(machine, fault)

    def replace(self, machine: int, sensor_id: str) -> None:
        """Put a sound sensor in place of one of a machine."""
        self._faulty.replace(machine, sensor_id)

    def measure(self, values: Block) -> tuple[Array, Block]:
        """Readings of the next stretch: perfect values (n, S, B) to times (m,) in s and readings (m, S, B)."""
        rows = max(8, CACHED_NUMBERS // (values.shape[1] * values.shape[2])) * self._stride
        parts = [self._measure(values[first : first + rows]) for first in range(0, max(len(values), 1), rows)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _measure(self, values: Block) -> tuple[Array, Block]:
        row, self._row = self._row, self._row + len(values)
        first = -(self._start + row) % self._stride
        taken = np.array(values[first :: self._stride], dtype=np.float32)
        if self._real:
            self._lag.follow(values, first, self._stride, taken)
        self._waiting.report(values, self._start + row, first, self._stride, taken)
        number = (self._start + row + first) // self._stride + np.arange(len(taken))
        times: Array = np.asarray(number * (self._step_s * self._stride), dtype=np.float64)
        if not len(taken):
            return times, taken
        self._faulty.before_conversion(times, taken)
        if self._real:
            taken *= self._gain
            taken += self._offset
            for group in self._noise:
                group.add(number, taken)
            self._faulty.on_the_wire(times, taken)
            self._rounding.apply(taken)
            np.clip(taken, self._low, self._high, out=taken)
        else:
            self._faulty.on_the_wire(times, taken)
        self._faulty.after_conversion(times, taken)
        for sensor in np.flatnonzero(self._every > 1):
            taken[number % self._every[sensor] != 0, sensor] = np.nan
        if self._real:
            self._missing.apply(taken)
        return times, taken


def _calibration(machine: Machine, keys: Sequence[Key]) -> tuple[Block, Block]:
    """Gain and offset (S, B) of each machine's sensors, within twice their sd of accuracy / 2; for all its windows."""
    sensors = machine.sensors
    accuracy = [EXACT if s.role is SensorRole.COMMAND else ACCURACY.get(s.quantity, Accuracy()) for s in sensors]
    offset = [
        a.offset if a.offset is not None else a.full_scale * (s.range.high - s.range.low)
        for a, s in zip(accuracy, sensors, strict=True)
    ]
    drawn = [key.of_machine().stream(Purpose.FLEET, _FLEET_BLOCK).standard_normal((2, len(sensors))) for key in keys]
    spread = np.clip(np.stack(drawn, axis=-1) / 2.0, -1.0, 1.0)  # (2, S, B)
    gain = 1.0 + np.array([a.gain for a in accuracy])[:, None] * spread[0]
    return gain.astype(np.float32), (np.array(offset)[:, None] * spread[1]).astype(np.float32)


def _strides(sensors: Sequence[Sensor], table_s: float) -> NDArray[np.int64]:
    """Every how many rows of the table each sensor has a sample."""
    return np.array([max(1, round(1.0 / (sensor.rate_hz * table_s))) for sensor in sensors], dtype=np.int64)


def _groups(sensors: Sequence[Sensor], table_s: float) -> dict[int, list[int]]:
    """Sensors that are sampled together, by their stride."""
    groups: dict[int, list[int]] = {}
    for row, every in enumerate(_strides(sensors, table_s)):
        groups.setdefault(int(every), []).append(row)
    return groups


class _Lag:
    """First-order lag, exact for values that stay between two rows; starts settled, and anew after a gap."""

    def __init__(self, sensors: Sequence[Sensor], step_s: float) -> None:
        tau = np.array(
            [s.time_constant_s if s.time_constant_s is not None else typical(s, "time_constant_s") for s in sensors]
        )
        tau[[s.role is SensorRole.COMMAND for s in sensors]] = 0.0
        share = 1.0 - np.exp(-step_s / np.maximum(tau, 1e-9))
        self._rows = np.flatnonzero(share < 1.0 - SETTLED)
        self._share = share[self._rows, None].astype(np.float32)
        self._state: Block | None = None

    def follow(self, values: Block, first: int, stride: int, taken: Block) -> None:
        """Follow all values (n, S, B); put every stride-th into ``taken``."""
        if not len(self._rows) or not len(values):
            return
        ours = values[:, self._rows]
        state = ours[0].copy() if self._state is None else self._state
        gaps = bool(np.isnan(ours).any() or np.isnan(state).any())
        for moment in ours:
            if gaps:
                state = np.where(np.isnan(state), moment, state)
            change = moment - state
            change *= self._share
            state = state + change
            moment[...] = state
        taken[:, self._rows] = ours[first::stride]
        self._state = state


class _Waiting:
    """Results that exist for a moment, such as that of a test: a slow sensor reports them with its next sample."""

    def __init__(self, every: NDArray[np.int64], machines: int) -> None:
        self._every = every
        self._result = np.full((len(every), machines), np.nan, dtype=np.float32)

    def report(self, values: Block, number: int, first: int, stride: int, taken: Block) -> None:
        """Put results of values (n, S, B), whose first row has this number, into the samples that lack one."""
        slow = np.flatnonzero((self._every > 1) & np.isnan(values).any(axis=(0, 2)))
        for row in range(len(values) if len(slow) else 0):
            now = values[row, slow]
            result = np.where(np.isnan(now), self._result[slow], now)
            due = (number + row) % self._every[slow] == 0
            if due.any():
                sample = (row - first) // stride
                lacking = due[:, None] & np.isnan(taken[sample, slow])
                taken[sample, slow] = np.where(lacking, result, taken[sample, slow])
                result[due] = np.nan
            self._result[slow] = result


class _Noise:
    """Noise of sensors that are sampled together, from a stream of each machine and window."""

    def __init__(self, machine: Machine, keys: Sequence[Key], every: int, rows: Sequence[int]) -> None:
        levels = np.array([noise_of(machine, machine.sensors[row]) for row in rows])
        noisy = (levels > 0).any(axis=1)
        self._rows, self._every = np.asarray(rows)[noisy], every
        self._constant = levels[noisy, 0][:, None].astype(np.float32)
        self._relative = levels[noisy, 1][:, None].astype(np.float32)
        self._streams = [key.stream(Purpose.NOISE, every) for key in keys] if noisy.any() else []

    def add(self, number: NDArray[np.int64], taken: Block) -> None:
        when = np.flatnonzero(number % self._every == 0)
        if not len(when) or not self._streams:
            return
        drawn = np.empty((len(self._streams), len(when), len(self._rows)), dtype=np.float32)
        for machine, stream in enumerate(self._streams):
            stream.standard_normal(dtype=np.float32, out=drawn[machine])
        where = np.ix_(when, self._rows)
        reading = taken[where]
        level = np.abs(reading)
        level *= self._relative
        level += self._constant
        level *= drawn.transpose(1, 2, 0)
        reading += level
        taken[where] = reading


class _Rounding:
    """Rounds to each sensor's resolution."""

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        steps = np.array([resolution_of(sensor) for sensor in sensors])
        self._rows = np.flatnonzero(steps > 0)
        self._step = steps[self._rows, None].astype(np.float32)

    def apply(self, taken: Block) -> None:
        if len(self._rows):
            counts = taken[:, self._rows]
            counts /= self._step
            np.rint(counts, out=counts)
            counts *= self._step
            taken[:, self._rows] = counts


class _Missing:
    """Single samples that never arrive: a Poisson process over the samples of each machine and window."""

    def __init__(self, keys: Sequence[Key], sensors: int) -> None:
        self._streams = [key.stream(Purpose.NOISE, _DROPOUT_BLOCK) for key in keys]
        self._next = [int(stream.geometric(MISSING_SHARE)) - 1 for stream in self._streams]
        self._seen, self._sensors = 0, sensors

    def apply(self, taken: Block) -> None:
        end = self._seen + len(taken) * self._sensors
        for machine, stream in enumerate(self._streams):
            while self._next[machine] < end:
                row, sensor = divmod(self._next[machine] - self._seen, self._sensors)
                taken[row, sensor, machine] = np.nan
                self._next[machine] += int(stream.geometric(MISSING_SHARE))
        self._seen = end
