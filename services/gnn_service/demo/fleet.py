"""A fleet: parameters, sites, people and work of each machine, drawn by its own key and nothing else."""

from collections.abc import Sequence

import numpy as np

from gnn_service.demo.dedicated_tests import planned_tests, schedule_of, with_tests
from gnn_service.demo.plant import Array, Parameters, Plant, Schedule, Setting, SiteFactor
from gnn_service.demo.spread import spread_of
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System

DAY_H = 24.0
YEAR_H = 8_760.0
CREW = 3
"""Operators that share a machine."""
_SITE_OF_WINDOW, _SITE_OF_MACHINE, _STRETCHES = 1, 2, 3


def fleet_parameters(system: System, keys: Sequence[Key]) -> dict[str, Array]:
    """Healthy parameters (B,) in SI of these machines: the same for all windows of a machine, whatever the batch."""
    names = sorted(system.parameters)
    normal = np.stack([key.of_machine().stream(Purpose.FLEET).standard_normal(len(names)) for key in keys], axis=-1)
    return {
        name: system.parameters[name] * spread_of(name, system.spread).factors(normal[row])
        for row, name in enumerate(names)
    }


def site_factors(
    plant: type[Plant], keys: Sequence[Key], hours: Sequence[float] | Array | None = None
) -> dict[str, Array]:
    """Circumstances (B,) of each machine's window, in SI, within what the plant declares.

    Ambient factors follow a climate of the machine's own with the year and the day, at the window's hour in calendar
    time (at random where ``hours`` is None), and the weather; an operator is one of the machine's crew; work and
    material change from window to window.
    """
    names = sorted(plant.SITE)
    columns = []
    for index, key in enumerate(keys):
        own = key.of_machine().stream(Purpose.SITE, _SITE_OF_MACHINE).random((len(names), CREW))
        now = key.stream(Purpose.SITE, _SITE_OF_WINDOW).random((len(names), 2))
        clock = now[0, 1] * YEAR_H if hours is None else float(hours[index])
        columns.append(
            [_circumstance(name, plant.SITE[name], own[row], now[row], clock) for row, name in enumerate(names)]
        )
    return {name: np.array([column[row] for column in columns]) for row, name in enumerate(names)}


def _circumstance(name: str, factor: SiteFactor, own: Array, now: Array, clock_h: float) -> float:
    if name.startswith("ambient"):
        return _weather(factor, own, float(now[0]), clock_h)
    if name.startswith("operator"):
        return _triangular(factor, float(own[int(now[0] * CREW)]))
    return _triangular(factor, float(now[0]))


def _weather(factor: SiteFactor, own: Array, chance: float, clock_h: float) -> float:
    """A climate in the middle half of the range; a fifth of the range each way with the year, a tenth with the day."""
    span = factor.high - factor.low
    climate = factor.low + span * (0.25 + 0.5 * float(own[0]))
    year = 0.2 * span * np.sin(2.0 * np.pi * (clock_h / YEAR_H + float(own[1])))
    day = 0.1 * span * np.sin(2.0 * np.pi * clock_h / DAY_H)
    weather = 0.1 * span * (2.0 * chance - 1.0)
    return float(np.clip(climate + year + day + weather, factor.low, factor.high))


def _triangular(factor: SiteFactor, chance: float) -> float:
    """The triangular law from low to high with its peak at the default (inverse of its distribution function)."""
    low, peak, high = factor.low, factor.default, factor.high
    if high <= low:
        return peak
    rising = (peak - low) / (high - low)
    if chance < rising:
        return float(low + np.sqrt(chance * (high - low) * (peak - low)))
    return float(high - np.sqrt((1.0 - chance) * (high - low) * (high - peak)))


def usual_site(plant: type[Plant], size: int) -> dict[str, Array]:
    """The default circumstances, for each of B machines."""
    return {name: np.full(size, factor.default) for name, factor in plant.SITE.items()}


def shift_schedule(
    system: System, keys: Sequence[Key], seconds: float, stretch_s: float = 150.0, *, tests: bool = True
) -> Schedule:
    """Stretches of work as a usual shift mixes them: states by their share of time, one draw a stretch.

    A test's stretch is as long as the test; one that would not come to its end is not begun. ``tests`` False leaves
    tests out.
    """
    shift = {state: share for state, share in system.shift.items() if tests or state not in system.tests}
    lengths = np.array([system.tests.get(state, stretch_s) for state in shift])
    weights = np.array(list(shift.values())) / lengths
    edges = (np.cumsum(weights) / np.sum(weights))[:-1]
    number = np.array([system.plant.STATES.index(state) for state in shift])
    is_test = np.array([state in system.tests for state in shift])
    usual = int(np.argmax(np.where(is_test, 0.0, weights)))
    count = max(1, int(np.ceil(seconds / lengths.min())))
    rows = []
    for key in keys:
        drawn = np.searchsorted(edges, key.stream(Purpose.SITE, _STRETCHES).random(count), side="right")
        starts, states, now = [], [], 0.0
        for kind in drawn.tolist():
            fitting = usual if is_test[kind] and now + lengths[kind] > seconds else kind
            starts.append(now)
            states.append(int(number[fitting]))
            now += float(lengths[fitting])
            if now >= seconds:
                break
        rows.append((starts, states))
    return schedule_of(rows)


def lapse_schedule(system: System, keys: Sequence[Key], seconds: float) -> Schedule:
    """Work of windows spread over lives: a usual shift, and in a quarter of each life's windows one whole test.

    Which windows these are hangs on the key alone, and so says nothing of what fails.
    """
    work = shift_schedule(system, keys, seconds, tests=False)
    planned = planned_tests(system.tests, keys, seconds)
    return with_tests(work, planned, system.tests, system.plant.STATES, keys, seconds)


def setting_of(
    system: System, keys: Sequence[Key], schedule: Schedule, *, hours: Sequence[float] | Array | None = None
) -> Setting:
    """Healthy machines of a fleet at work, each with its own parts, site and people."""
    parameters: Parameters = fleet_parameters(system, keys)
    return Setting(tuple(keys), parameters, site_factors(system.plant, keys, hours), schedule)
