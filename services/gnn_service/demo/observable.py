"""Whether a window can show a fault at all: what perfect sensors see of it, measured in their own noise.

A mode is observable in a window where the difference from the healthy twin of the same seed, averaged over the window,
exceeds three standard deviations of the noise in at least one evidence sensor. Averages are matched by operating state
and phase and weighted with the twin's time in each: a machine that merely runs a step ahead differs in nothing.
"""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Frames
from gnn_service.demo.sensors import noise_of, resolution_of
from gnn_service.domain.machine import Machine, SensorRole

SIGMAS = 3.0
NEGLIGIBLE = 1e-6
"""Share of full scale below which no difference counts, however quiet a sensor is."""


class PhaseMeans:
    """Means of perfect values by operating state and phase, for C machines, gathered step by step."""

    def __init__(self, states: int, phases: int, sensors: int, machines: int) -> None:
        self._phases, self._machines = phases, machines
        rows = states * phases * machines
        self._sum = np.zeros((rows, sensors))
        self._count = np.zeros(rows, dtype=np.int64)
        self._absent = np.zeros((rows, sensors), dtype=np.int64)
        self._each = np.arange(machines)

    def add(self, frames: Frames) -> None:
        """Take over a stretch."""
        groups = frames.state.astype(np.int64) * self._phases + frames.phase
        for step, group in enumerate(groups):
            rows = group * self._machines + self._each
            seen = frames.values[step].T
            absent = np.isnan(seen)
            if absent.any():
                seen = np.where(absent, np.float32(0), seen)
                self._absent[rows] += absent
            self._sum[rows] += seen
            self._count[rows] += 1

    def of(self, machine: int) -> tuple[Array, NDArray[np.int64]]:
        """Means (G, S) by state and phase of one machine, NaN where it was never seen, and how often it was."""
        rows = slice(machine, None, self._machines)
        count = self._count[rows, None] - self._absent[rows]
        return np.where(count > 0, self._sum[rows] / np.maximum(count, 1), np.nan), count


def noise_level(machine: Machine, reading: Array) -> Array:
    """Standard deviation (S,) of each sensor's noise with its resolution, at mean readings (S,)."""
    levels = np.array([noise_of(machine, sensor) for sensor in machine.sensors])
    steps = np.array([resolution_of(sensor) for sensor in machine.sensors])
    floor = np.array([NEGLIGIBLE * (sensor.range.high - sensor.range.low) for sensor in machine.sensors])
    noise = levels[:, 0] + levels[:, 1] * np.nan_to_num(np.abs(reading))
    return np.asarray(np.maximum(np.sqrt(noise**2 + steps**2 / 12.0), floor))


def strengths(machine: Machine, means: PhaseMeans, faulty: int, healthy: int) -> Array:
    """How far each sensor (S,) of one machine is from its healthy twin, in standard deviations of its noise.

    Signed; 0 where nothing can be compared.
    """
    ours, ours_seen = means.of(faulty)
    twin, twin_seen = means.of(healthy)
    weight = np.where((ours_seen > 0) & (twin_seen > 0), twin_seen, 0)
    total = weight.sum(axis=0)
    share = weight / np.maximum(total, 1)
    difference = (share * np.where(weight > 0, ours - twin, 0.0)).sum(axis=0)
    reading = (share * np.where(weight > 0, twin, 0.0)).sum(axis=0)
    return np.where(total > 0, difference / noise_level(machine, reading), 0.0)


def is_observable(machine: Machine, strength: Array) -> bool:
    """Whether any evidence sensor is more than three standard deviations off."""
    evidence = [sensor.role is SensorRole.EVIDENCE for sensor in machine.sensors]
    return bool((np.abs(strength[evidence]) > SIGMAS).any())
