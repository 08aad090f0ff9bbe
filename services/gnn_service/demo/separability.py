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
    machines: int = 128,
    seconds: float = 120.0,
    severity: tuple[float, float] = EARLY,
    seed: int = 0,
) -> tuple[Separability, ...]:
    """The best single-sample limit for each mode, over a fleet at severities drawn from this range.

    Samples are one a second of every window; with 128 machines chance moves an AUC near 0.95 by about 0.01. Each mode
    is looked at in the work that shows it: the operating states that it needs, else a usual shift; the healthy fleet
    does the same work.
    """
    chosen = system.modes if modes is None else tuple(system.mode(mode) for mode in modes)
    work = sorted({mode.needs for mode in chosen})
    fleets: list[tuple[SimulatedMode | None, tuple[str, ...]]] = [(None, needs) for needs in work]
    fleets += [(mode, mode.needs) for mode in chosen]
    keys = [Key(seed, number) for number in range(len(fleets) * machines)]
    severities = {mode.id: np.zeros(len(keys)) for mode in chosen}
    for number, (mode, _) in enumerate(fleets):
        if mode is not None:
            ours = slice(number * machines, (number + 1) * machines)
            drawn = np.array([key.stream(Purpose.LIFE).random() for key in keys[ours]])
            severities[mode.id][ours] = severity[0] + (severity[1] - severity[0]) * drawn
    schedule = _work(system, keys, [needs for _, needs in fleets for _ in range(machines)], seconds)
    plan = WindowPlan(seconds, rate_hz=1.0, run_in_s=10.0, twin=False)
    values = simulate_window(system, setting_of(system, keys, schedule), severities, plan).values
    readings = [values[:, :, number * machines : (number + 1) * machines] for number in range(len(fleets))]
    healthy = dict(zip(work, readings, strict=False))
    return tuple(
        _best(system, mode, healthy[needs], readings[number])
        for number, (mode, needs) in enumerate(fleets)
        if mode is not None
    )


def _work(system: System, keys: Sequence[Key], needs: Sequence[tuple[str, ...]], seconds: float) -> Schedule:
    """A usual shift, or for machines that need certain states one of these throughout, in turn."""
    usual = shift_schedule(system, keys, seconds)
    states = usual.states.copy()
    for machine, wanted in enumerate(needs):
        if wanted:
            states[machine] = system.plant.STATES.index(wanted[machine % len(wanted)])
    return Schedule(usual.starts_s, states)


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
