"""How easy a machine's faults are: which of them a limit on one sensor, looked at once, tells from healthy machines.

A simulated fault that any limit finds while it is small teaches a model nothing. Compared are single samples, as an
alarm limit sees them, of a healthy and a faulty fleet at the same kind of work: every machine has its own parts,
site, people and sensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.fleet import setting_of, shift_schedule
from gnn_service.demo.modes import SimulatedMode
from gnn_service.demo.plant import Array, Schedule
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System
from gnn_service.demo.window import WindowPlan, simulate_window
from gnn_service.domain.machine import SensorRole

EASY_AUC = 0.95
FEWEST_SHARE = 0.25
"""A sensor counts where at least this share of the machines has shown a value: no limit is set on a handful."""
EARLY = (0.05, 0.3)
"""Severities that count as small."""


@dataclass(frozen=True, slots=True)
class Separability:
    """How well a limit on one sensor tells a mode from healthy: the best evidence sensor and its AUC."""

    mode: str
    sensor: str
    auc: float

    @property
    def easy(self) -> bool:
        """Whether a limit on this sensor is all that one needs."""
        return self.auc >= EASY_AUC


def auc(healthy: Array, faulty: Array) -> float:
    """Probability that a faulty sample is above a healthy one, ties half (Mann and Whitney 1947); 0.5 without samples.

    Counted on either side: a limit may be a lower or an upper one.
    """
    if not len(healthy) or not len(faulty):
        return 0.5
    ordered = np.sort(healthy)
    below = np.searchsorted(ordered, faulty, side="left") + np.searchsorted(ordered, faulty, side="right")
    above = float(below.sum()) / (2.0 * len(healthy) * len(faulty))
    return max(above, 1.0 - above)


def separability(
    system: System,
    *,
    modes: Sequence[str] | None = None,
    machines: int = 48,
    seconds: float = 120.0,
    severity: tuple[float, float] = EARLY,
    seed: int = 0,
) -> tuple[Separability, ...]:
    """The best single-sample limit for each mode, over a fleet at severities drawn from this range.

    Samples are one a second of every window. Each mode is looked at in the work that shows it: the operating states
    that it needs, else a usual shift; the healthy fleet does the same work.
    """
    chosen = system.modes if modes is None else tuple(system.mode(mode) for mode in modes)
    low, high = severity
    healthy: dict[tuple[str, ...], NDArray[np.float32]] = {}
    found = []
    for number, mode in enumerate(chosen):
        if mode.needs not in healthy:
            healthy[mode.needs] = _readings(system, mode, [Key(seed, m) for m in range(machines)], None, seconds)
        keys = [Key(seed, (number + 1) * machines + m) for m in range(machines)]
        drawn = np.array([key.stream(Purpose.LIFE).random() for key in keys])
        faulty = _readings(system, mode, keys, low + (high - low) * drawn, seconds)
        found.append(_best(system, mode, healthy[mode.needs], faulty))
    return tuple(found)


def _readings(
    system: System, mode: SimulatedMode, keys: Sequence[Key], severity: Array | None, seconds: float
) -> NDArray[np.float32]:
    """Readings (N, S, B) at one a second, of machines with this mode or healthy ones."""
    schedule = shift_schedule(system, keys, seconds)
    if mode.needs:
        states = [system.plant.STATES.index(state) for state in mode.needs]
        schedule = Schedule.constant([states[index % len(states)] for index in range(len(keys))])
    plan = WindowPlan(seconds, rate_hz=1.0, twin=False)
    severities = {} if severity is None else {mode.id: severity}
    return simulate_window(system, setting_of(system, keys, schedule), severities, plan).values


def _best(
    system: System, mode: SimulatedMode, healthy: NDArray[np.float32], faulty: NDArray[np.float32]
) -> Separability:
    best = Separability(mode.id, "", 0.5)
    for row, sensor in enumerate(system.sensors):
        if sensor.role is not SensorRole.EVIDENCE:
            continue
        present = [np.isfinite(readings[:, row]) for readings in (healthy, faulty)]
        if min(one.any(axis=0).sum() for one in present) < FEWEST_SHARE * healthy.shape[2]:
            continue
        samples = [readings[:, row].astype(np.float64) for readings in (healthy, faulty)]
        reached = auc(*(one[there] for one, there in zip(samples, present, strict=True)))
        if reached > best.auc:
            best = Separability(mode.id, sensor.id, reached)
    return best
