"""Short noise-free runs of one kind of machine, healthy and with a fault, for plots and pages.

All machines of a run share one key: they meet the same operator, material and weather, and differ in the fault alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.modes import Sign, SimulatedMode, degrade
from gnn_service.demo.parameters import alike
from gnn_service.demo.plant import Array, Frames, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System

LONGEST_S = 1500.0
SHOWN_S = 60.0
LONGEST_SIGNATURE_S = 300.0
SEVERITIES = tuple(round(0.1 * k, 1) for k in range(11))


@dataclass(frozen=True, slots=True)
class Trace:
    """Frames of B machines of a system that worked in one operating state, ``time_s`` (N,) from the start."""

    system: System
    state: str
    time_s: Array
    frames: Frames
    setting: Setting

    def values(self, sensor: str) -> NDArray[np.float32]:
        """What a sensor would show, (N, B)."""
        return self.frames.values[:, self.system.machine.sensor_ids.index(sensor)]

    def statistic(self, sign: Sign) -> Array:
        """What a sign looks at, (B,): mean, least, greatest or spread; NaN where the quantity never existed."""
        values = self.values(sign.sensor).astype(np.float64)
        present = np.isfinite(values)
        if sign.phase:
            present &= self.frames.phase == self.system.plant.PHASES.index(sign.phase)
        with np.errstate(invalid="ignore", divide="ignore"):
            if sign.statistic == "mean":
                found = np.where(present, values, 0.0).sum(axis=0) / present.sum(axis=0)
            else:
                low = np.where(present, values, np.inf).min(axis=0)
                high = np.where(present, values, -np.inf).max(axis=0)
                found = {"minimum": low, "maximum": high, "spread": high - low}[sign.statistic]
        return np.asarray(np.where(present.any(axis=0), found, np.nan))


def main_state(system: System) -> str:
    """The operating state that has most of a shift."""
    return max(system.shift, key=lambda state: system.shift[state])


def state_of(system: System, mode: SimulatedMode, sign: Sign) -> str:
    """The operating state in which a sign of a mode shows: its own, else the first that the mode needs or the usual."""
    return sign.state or (mode.needs[0] if mode.needs else main_state(system))


def state_that_shows(system: System, mode: SimulatedMode) -> str:
    """An operating state in which a mode can be seen: the first that it needs, else the usual one, if a sign shows."""
    states = [state_of(system, mode, sign) for sign in mode.signs]
    usual = mode.needs[0] if mode.needs else main_state(system)
    return states[0] if states and usual not in states else usual


def trace(
    system: System,
    severities: Sequence[Mapping[str, float]],
    *,
    seconds: float,
    state: str | None = None,
    site: Mapping[str, float] | None = None,
    seed: int = 1,
) -> Trace:
    """Run one machine for each set of severities, after it has settled with them.

    Args:
        system: the kind of machine.
        severities: short mode ids to severity, one mapping a machine; an empty one is healthy.
        seconds: how long.
        state: operating state, by default the usual one.
        site: circumstances other than the defaults, SI.
        seed: of the random numbers that all machines share.

    Raises:
        InvalidInputError: a state or circumstance that the machine does not have, or a time that is too long.
    """
    if not 0 < seconds <= LONGEST_S:
        raise InvalidInputError(f"must be above 0 and at most {LONGEST_S:g} s, not {seconds:g}", where="seconds")
    state = state or main_state(system)
    kind, size = system.plant, len(severities)
    if state not in kind.STATES:
        raise InvalidInputError(
            f"{system.name} has no state {state!r}; it has: {', '.join(kind.STATES)}", where="state"
        )
    grown = {mode.id: np.array([given.get(mode.id, 0.0) for given in severities]) for mode in system.modes}
    setting = Setting(
        keys=(Key(seed, 0),) * size,
        parameters=degrade(alike(system.parameters, size), system.modes, grown),
        site={name: np.full(size, (site or {}).get(name, factor.default)) for name, factor in kind.SITE.items()},
        schedule=Schedule.constant([kind.STATES.index(state)] * size),
    )
    plant = kind(setting)
    plant.settle()
    steps = round(seconds / kind.STEP_S)
    frames = plant.advance(steps, ledger=True)
    return Trace(system, state, np.arange(steps, dtype=np.float64) * kind.STEP_S, frames, setting)


def signature(system: System, mode: SimulatedMode, *, seed: int = 1) -> Trace:
    """Eleven machines, of severity 0 to 1, side by side in a state that shows the mode, for a cycle if it is short."""
    period = system.duty_cycle.period_s if system.duty_cycle else 0.0
    seconds = min(max(SHOWN_S, period), LONGEST_SIGNATURE_S)
    grown = [{mode.id: severity} for severity in SEVERITIES]
    return trace(system, grown, seconds=seconds, state=state_that_shows(system, mode), seed=seed)
