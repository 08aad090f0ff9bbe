"""A simulated machine for the demo: healthy cycles to commission from, then cycles in which one fault grows.

The windows are of one machine, days apart, and are simulated side by side: each severity has settled in its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.export import EPOCH_US
from gnn_service.demo.feed import Cycle, TrueState
from gnn_service.demo.fleet import setting_of
from gnn_service.demo.modes import SimulatedMode
from gnn_service.demo.plant import Schedule
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System
from gnn_service.demo.thin import Thinner
from gnn_service.demo.traces import state_that_shows
from gnn_service.demo.window import WindowPlan, Windows, simulate_window
from gnn_service.domain.recording import MICROSECONDS
from gnn_service.domain.window import Window

HEALTHY_CYCLES = 12
SHORT_CYCLE_S = 60.0
GROWTH = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COARSE_GROWTH = (0.0, 0.25, 0.5, 0.75, 1.0)
CYCLES_A_WINDOW = 4
DAY_S = 86_400
ROWS = 240
LEAST_SHARE = 0.8
"""Cycles shorter than this share of the described one are no windows of their own."""
_SLACK = 1.35
"""Cycles take longer than described where people are slow, material is hard or the fault is bad."""


@dataclass(frozen=True, slots=True)
class Showcase:
    """What there is to show: healthy cycles, cycles with the growing fault, and the state in which the machine works.

    ``visible_from`` is the lowest severity shown that perfect sensors could tell from healthy; None for none at all.
    """

    healthy: tuple[Cycle, ...]
    cycles: tuple[Cycle, ...]
    mode: SimulatedMode
    state: str
    visible_from: float | None


def showcase(system: System, fault: str | None = None, *, seed: int = 0) -> Showcase:
    """Simulate it; ``fault`` is a failure mode, by default the first. InvalidInputError lists those that there are."""
    mode = system.modes[0] if fault is None else system.mode(fault)
    state = state_that_shows(system, mode)
    period_s = system.duty_cycle.period_s if system.duty_cycle else SHORT_CYCLE_S
    short = period_s <= SHORT_CYCLE_S
    each = CYCLES_A_WINDOW if short else 1
    commissioned = -(-HEALTHY_CYCLES // each) if short else HEALTHY_CYCLES // 2
    severities = np.array([0.0] * commissioned + list(GROWTH if short else COARSE_GROWTH))
    keys = [Key(seed, 0, window) for window in range(len(severities))]
    schedule = Schedule.constant([system.plant.STATES.index(state)] * len(keys))
    setting = setting_of(system, keys, schedule, hours=[24.0 * window for window in range(len(keys))])
    plan = WindowPlan((each + short) * period_s * _SLACK, run_in_s=0.0)
    windows = simulate_window(system, setting, {mode.id: severities}, plan)
    shown: list[list[Cycle]] = [
        [Cycle(window, _truth(system, mode, float(severity)), stable=True) for window in cut]
        for cut, severity in zip(_cut_all(system, windows, period_s, each), severities, strict=True)
    ]
    seen = windows.outcome.observable[system.modes.index(mode)] & (severities > 0)
    return Showcase(
        tuple(cycle for cut in shown[:commissioned] for cycle in cut)[:HEALTHY_CYCLES],
        tuple(cycle for cut in shown[commissioned:] for cycle in cut),
        mode,
        state,
        float(severities[seen].min()) if seen.any() else None,
    )


def _truth(system: System, mode: SimulatedMode, severity: float) -> dict[str, TrueState]:
    """The true state of every component that has failure modes: all are healthy but the one."""
    truth = {described.component: TrueState(described, 0.0) for described in reversed(system.machine.failure_modes)}
    described = next(one for one in system.machine.failure_modes if one.id == mode.mode)
    return truth | {mode.component: TrueState(described, severity)}


def _cut_all(system: System, windows: Windows, period_s: float, each: int) -> list[list[Window]]:
    found, number = [], 0
    for column in range(windows.values.shape[2]):
        pieces = _pieces(windows.cycle[:, column], windows.times_s, period_s)[:each]
        cut = []
        for first, last in pieces:
            start_us = EPOCH_US + column * DAY_S * MICROSECONDS
            cut.append(_window(system, windows, column, slice(first, last), start_us, number))
            number += 1
        found.append(cut)
    return found


def _pieces(cycle: NDArray[np.int32], times_s: NDArray[np.float64], period_s: float) -> Sequence[tuple[int, int]]:
    """First and last row of each whole cycle but the first, which may have begun anywhere.

    Where work has no cycles, or much shorter ones than described: of each period.
    """
    edges = (np.flatnonzero(np.diff(cycle)) + 1).tolist()
    step_s = float(times_s[1] - times_s[0])
    if len(edges) < 2 or np.median(np.diff(edges)) * step_s < LEAST_SHARE * period_s:
        edges = np.arange(0, len(times_s) + 1, round(period_s / step_s)).tolist()
    return list(pairwise(edges))


def _window(system: System, windows: Windows, column: int, rows: slice, start_us: int, number: int) -> Window:
    """One window, thinned to about `ROWS`: a network that looks at 60 steps needs no more."""
    every = max(1, (rows.stop - rows.start) // ROWS)
    values, _ = Thinner(every).add(windows.values[rows, :, column : column + 1])
    return Window(
        sensors=system.machine.sensor_ids,
        values=np.ascontiguousarray(values[:, :, 0].T),
        times=start_us / MICROSECONDS + windows.times_s[rows][::every][: len(values)],
        phase_s=0.0,
        cycle=number,
        operating_state=system.plant.STATES[int(windows.state[rows.start, column])],
    )
