"""Whether a window can show a fault at all: what perfect sensors see of it, measured in their own noise.

A mode is observable in a window where the distance from the healthy twin of the same seed exceeds three standard
deviations of the noise in at least one evidence sensor. The distance is the mean, over operating states and phases and
weighted with the twin's time in each, of how far the averages in them are apart: what is too high in one phase and too
low in another does not cancel. Averages are taken over the cycles that both completed: a machine that merely runs a
step ahead, or is interrupted by the window's end in another cycle, differs in nothing. Of what swings around zero,
such as a motor's current, the average magnitude counts as well.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Frames
from gnn_service.demo.sensors_noise import noise_of, resolution_of
from gnn_service.domain.machine import Machine, SensorRole

SIGMAS = 3.0
NEGLIGIBLE = 1e-6
"""Share of full scale below which no difference counts, however quiet a sensor is."""

Sums = tuple[Array, NDArray[np.int64]]
"""Sums (G, V) of values by operating state and phase, and how many there were."""


class PhaseMeans:
    """Sums of perfect values by operating state and phase, for C machines, gathered step by step.

    Args:
        states, phases: how many there are.
        machine: whose sensors they are; the magnitudes of those that may be negative follow the values.
        machines: C.
        pairs: columns of faulty machines and of their healthy twins.
    """

    def __init__(
        self, states: int, phases: int, machine: Machine, machines: int, pairs: Iterable[tuple[int, int]]
    ) -> None:
        self._phases, self._groups = phases, states * phases
        self._swinging = np.flatnonzero([sensor.range.low < 0 for sensor in machine.sensors])
        width = len(machine.sensors) + len(self._swinging)
        self._sum = np.zeros((machines * self._groups, width))
        self._steps = np.zeros(machines * self._groups, dtype=np.int64)
        self._absent = np.zeros((machines * self._groups, width), dtype=np.int64)
        # where each machine is now, (V, C): put away when it goes on to another state or phase
        self._group = np.zeros(machines, dtype=np.int64)
        self._sum_now, self._absent_now = np.zeros((width, machines)), np.zeros((width, machines), dtype=np.int64)
        self._first_row = np.arange(machines) * self._groups
        self._cycle: NDArray[np.int32] | None = None
        self._starts: list[dict[int, Sums]] = [{} for _ in range(machines)]
        self._partners: list[list[int]] = [[] for _ in range(machines)]
        for faulty, healthy in pairs:
            self._partners[faulty].append(healthy)
            self._partners[healthy].append(faulty)

    def add(self, frames: Frames) -> None:
        """Take over a stretch."""
        groups = frames.state.astype(np.int64) * self._phases + frames.phase
        gaps = np.flatnonzero(np.isnan(frames.values).any(axis=(0, 2)))
        sensors = frames.values.shape[1]
        swings = np.flatnonzero(np.isin(self._swinging, gaps))
        swinging_gaps = np.searchsorted(gaps, self._swinging[swings])
        for step, group in enumerate(groups):
            cycle = frames.cycle[step]
            if self._cycle is not None:
                for column in np.flatnonzero(cycle != self._cycle):
                    self._note_start(int(column), int(cycle[column]))
            self._cycle = cycle
            self._go_on(group)
            seen = frames.values[step]
            if len(gaps):
                absent = np.isnan(seen[gaps])
                seen = seen.copy()
                seen[gaps] = np.where(absent, np.float32(0.0), seen[gaps])
                self._absent_now[gaps] += absent
                self._absent_now[sensors + swings] += absent[swinging_gaps]
            self._sum_now[:sensors] += seen
            self._sum_now[sensors:] += np.abs(seen[self._swinging])
            self._steps[group + self._first_row] += 1

    def _go_on(self, group: NDArray[np.int64]) -> None:
        """Put away the sums of machines that leave their state or phase, and take up those of the new one."""
        moved = np.flatnonzero(group != self._group)
        if len(moved):
            left, entered = (self._first_row[moved] + numbers[moved] for numbers in (self._group, group))
            self._sum[left], self._absent[left] = self._sum_now[:, moved].T, self._absent_now[:, moved].T
            self._sum_now[:, moved], self._absent_now[:, moved] = self._sum[entered].T, self._absent[entered].T
            self._group = group

    def between(self, faulty: int, healthy: int) -> tuple[Sums, Sums]:
        """Sums of both over the cycles that both completed; over the whole window where there is none."""
        common = self._starts[faulty].keys() & self._starts[healthy].keys()
        if len(common) < 2:
            return self._of(faulty), self._of(healthy)
        first, last = min(common), max(common)
        ours, twin = (self._since(self._starts[column], first, last) for column in (faulty, healthy))
        return ours, twin

    @staticmethod
    def _since(starts: dict[int, Sums], first: int, last: int) -> Sums:
        return starts[last][0] - starts[first][0], starts[last][1] - starts[first][1]

    def _of(self, column: int) -> Sums:
        rows = slice(column * self._groups, (column + 1) * self._groups)
        sums, absent, now = self._sum[rows].copy(), self._absent[rows].copy(), self._group[column]
        sums[now], absent[now] = self._sum_now[:, column], self._absent_now[:, column]
        return sums, self._steps[rows, None] - absent

    def _note_start(self, column: int, cycle: int) -> None:
        """Remember the sums at the start of a cycle, and forget those that no pair needs any more."""
        if not self._partners[column]:
            return
        self._starts[column][cycle] = self._of(column)
        for near in (column, *self._partners[column]):
            kept, latest = set(), []
            for other in self._partners[near]:
                common = self._starts[near].keys() & self._starts[other].keys()
                kept |= {min(common), max(common)} if common else set()
                latest.append(max(common, default=-1))
            for old in [number for number in self._starts[near] if number < min(latest) and number not in kept]:
                del self._starts[near][old]


def noise_level(machine: Machine, reading: Array) -> Array:
    """Standard deviation (S,) of each sensor's noise with its resolution, at mean readings (S,)."""
    levels = np.array([noise_of(machine, sensor) for sensor in machine.sensors])
    steps = np.array([resolution_of(sensor) for sensor in machine.sensors])
    floor = np.array([NEGLIGIBLE * (sensor.range.high - sensor.range.low) for sensor in machine.sensors])
    noise = levels[:, 0] + levels[:, 1] * np.abs(reading)
    return np.asarray(np.maximum(np.sqrt(noise**2 + steps**2 / 12.0), floor))


def strengths(machine: Machine, means: PhaseMeans, faulty: int, healthy: int) -> Array:
    """How far each sensor (S,) of one machine is from its healthy twin, in standard deviations of its noise.

    The weighted mean of |difference of the averages| over operating states and phases, with the sign of the difference
    on the whole; of the value or of its magnitude, whichever differs more; 0 where nothing can be compared.
    """
    (ours, ours_seen), (twin, twin_seen) = means.between(faulty, healthy)
    weight = np.where((ours_seen > 0) & (twin_seen > 0), twin_seen, 0)
    share = weight / np.maximum(weight.sum(axis=0), 1)
    expected = twin / np.maximum(twin_seen, 1)
    apart = share * (ours / np.maximum(ours_seen, 1) - expected)
    difference = np.copysign(np.abs(apart).sum(axis=0), apart.sum(axis=0))
    reading = (share * expected).sum(axis=0)
    sensors = len(machine.sensors)
    swinging = np.flatnonzero([sensor.range.low < 0 for sensor in machine.sensors])
    farthest, level = difference[:sensors].copy(), np.abs(reading[:sensors])
    level[swinging] = reading[sensors:]
    louder = np.abs(difference[sensors:]) > np.abs(farthest[swinging])
    farthest[swinging[louder]] = difference[sensors:][louder]
    return np.asarray(farthest / noise_level(machine, level))


def is_observable(machine: Machine, strength: Array) -> bool:
    """Whether any evidence sensor is more than three standard deviations off."""
    evidence = [sensor.role is SensorRole.EVIDENCE for sensor in machine.sensors]
    return bool((np.abs(strength[evidence]) > SIGMAS).any())
