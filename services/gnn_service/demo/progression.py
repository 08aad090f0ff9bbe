"""How failure modes begin and grow: progression laws, onset, length of life, and the hours that wear counts.

Progress tau is the share of the way from onset (0) to functional failure (1) in weighted hours; severity is a
function of it, exactly 0 before the onset and exactly 1 from tau = 1 on. All functions take arrays of any shape.
Weibull onset and log-normal lengths: IEC 61649:2008; wear with the cube of load, doubling every 15 K and a quarter
more for each class of contamination are representative of hydraulic components, and can be set.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.demo.modes import Life
from gnn_service.demo.plant import Array

LENGTH_SIGMA = 0.4
CRACK_EXPONENT = 1.5
INITIAL_DEFECT = 0.02
SEASONAL_AMPLITUDE = 0.15
ON_MOST = 0.8
ON_LEVEL = 0.5
WEAR = ("power", "exponential", "load_driven")
"""Progressions whose hours count by load, temperature and contamination."""


def linear(tau: ArrayLike) -> Array:
    """Severity tau: fouling, abrasion at constant duty, permeation."""
    return np.clip(tau, 0.0, 1.0)


def power(tau: ArrayLike, exponent: float) -> Array:
    """Severity tau^n: erosion and seals with n of 1.5 to 3, running-in with n of 0.5."""
    return np.asarray(linear(tau) ** exponent)


def exponential(tau: ArrayLike, rate: float) -> Array:
    """Severity (e^(k tau) - 1) / (e^k - 1), k > 0: wear that feeds on its own debris, spalls, cracks."""
    return np.asarray(np.expm1(rate * linear(tau)) / np.expm1(rate))


def load_driven(tau: ArrayLike, crack_exponent: float = CRACK_EXPONENT, initial: float = INITIAL_DEFECT) -> Array:
    """Severity that grows as ds/dw = c s^m over load-weighted hours w, from an initial defect (Paris and Erdogan 1963).

    Solved in closed form for m > 1: s^(1-m) falls linearly with progress, from that of the defect to 1.
    """
    progress = np.asarray(tau, dtype=np.float64)
    start = initial ** (1.0 - crack_exponent)
    grown = (start + (1.0 - start) * linear(progress)) ** (1.0 / (1.0 - crack_exponent))
    return np.where(progress < 0, 0.0, np.minimum(grown, 1.0))


def step(tau: ArrayLike, size: float) -> Array:
    """Severity ``size`` from the onset on: a burst hose, a burnt-out heater, a wrong setting after service."""
    return np.where(np.asarray(tau) >= 0, size, 0.0)


def seasonal(tau: ArrayLike, season: ArrayLike, amplitude: float = SEASONAL_AMPLITUDE) -> Array:
    """Linear growth with a swing of the season: s + 4 A s (1 - s) sin(season), season in rad.

    The swing vanishes where the part is new and where it has failed, so that severity stays within 0 and 1.
    """
    base = linear(tau)
    return np.asarray(base + 4.0 * amplitude * base * (1.0 - base) * np.sin(season))


def severity(life: Life, tau: ArrayLike, season: ArrayLike = 0.0) -> Array:
    """Severity of a mode at this progress; of an intermittent one the hidden severity behind its episodes."""
    if life.progression == "power":
        return power(tau, life.exponent)
    if life.progression == "exponential":
        return exponential(tau, life.exponent)
    if life.progression == "load_driven":
        return load_driven(tau)
    if life.progression == "step":
        return step(tau, life.step)
    if life.progression == "seasonal":
        return seasonal(tau, season)
    return linear(tau)


def intermittent_level(hidden: ArrayLike) -> Array:
    """Severity while an intermittent fault is on: at least half as bad as it can be; 0 where nothing is wrong."""
    behind = np.asarray(hidden, dtype=np.float64)
    return np.where(behind > 0, ON_LEVEL + (1.0 - ON_LEVEL) * behind, 0.0)


def intermittent_states(draws: Array, hidden: ArrayLike, leave: float = 0.25) -> NDArray[np.bool_]:
    """On and off of an intermittent fault as a Markov chain of two states.

    Args:
        draws: uniform numbers in [0, 1), (T, B): one for each slot of time and machine.
        hidden: hidden severity, (B,) or (T, B); the chain is on for this share of time, at most 0.8 of it.
        leave: probability of going off from one slot to the next; its inverse is the mean stay in slots.

    Returns:
        on, (T, B).
    """
    share = np.broadcast_to(np.minimum(hidden, ON_MOST), draws.shape)
    enter = leave * share / (1.0 - share)
    on = np.empty(draws.shape, dtype=bool)
    on[0] = draws[0] < share[0]
    for slot in range(1, len(draws)):
        on[slot] = np.where(on[slot - 1], (draws[slot] >= leave) & (share[slot] > 0), draws[slot] < enter[slot])
    return on


def weibull_onset(uniform: ArrayLike, shape: float, scale_h: float, age_h: ArrayLike = 0.0) -> Array:
    """Hours until the onset of a part that has run ``age_h`` hours without it (Weibull, conditional on survival)."""
    age = np.asarray(age_h, dtype=np.float64)
    survived = (age / scale_h) ** shape - np.log1p(-np.asarray(uniform, dtype=np.float64))
    return np.asarray(scale_h * survived ** (1.0 / shape) - age)


def length_of_life(normal: ArrayLike, span_h: tuple[float, float]) -> Array:
    """Hours from onset to failure: log-normal around the middle of the span of medians, sigma of the log 0.4."""
    median = np.sqrt(span_h[0] * span_h[1])
    return np.asarray(median * np.exp(LENGTH_SIGMA * np.asarray(normal, dtype=np.float64)))


@dataclass(frozen=True, slots=True)
class LifeClock:
    """How fast wear's clock runs: (load)^q * 2^((T - T_ref) / doubling) * base^(code - code_ref)."""

    load_exponent: float = 3.0
    reference_k: float = 343.15
    doubling_k: float = 15.0
    reference_code: float = 18.0
    code_base: float = 1.25

    def rate(
        self, load: ArrayLike, temperature_k: ArrayLike, code: ArrayLike, load_exponent: float | None = None
    ) -> Array:
        """Weighted hours an hour: ``load`` over its reference, oil temperature in K, ISO 4406 code of 6 um."""
        exponent = self.load_exponent if load_exponent is None else load_exponent
        warm = 2.0 ** ((np.asarray(temperature_k) - self.reference_k) / self.doubling_k)
        dirty = self.code_base ** (np.asarray(code) - self.reference_code)
        return np.asarray(np.asarray(load, dtype=np.float64) ** exponent * warm * dirty)
