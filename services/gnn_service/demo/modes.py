"""Failure modes of the simulated machines: which physical parameters change, how far and how fast.

Severity is 0 for a new part and 1 at the functional failure. Leakages, resistances and frictions change
geometrically, theta0 (theta1 / theta0)^s; set pressures, efficiencies and offsets linearly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gnn_service.demo.plant import Array, Parameters

Statistic = Literal["mean", "minimum", "maximum", "spread"]
Progression = Literal["linear", "power", "exponential", "load_driven", "step", "intermittent", "seasonal"]


@dataclass(frozen=True, slots=True)
class Change:
    """One physical parameter of one failure mode: ``value`` is what it is at severity 1, SI."""

    parameter: str
    law: Literal["geometric", "linear"]
    value: float
    relative: bool = False

    def apply(self, healthy: Array, severity: Array) -> Array:
        """The parameter at severity (B,), given its healthy value (B,); exactly the healthy value at 0."""
        end = healthy * self.value if self.relative else np.full_like(healthy, self.value)
        if self.law == "geometric":
            changed = healthy * (end / healthy) ** severity
        else:
            changed = healthy + (end - healthy) * severity
        return np.where(severity > 0, changed, healthy)


def times(parameter: str, factor: float) -> Change:
    """A parameter that grows or shrinks geometrically to ``factor`` times its healthy value."""
    return Change(parameter, "geometric", factor, relative=True)


def geometric(parameter: str, value: float) -> Change:
    """A parameter that reaches ``value`` (SI) geometrically; healthy value and ``value`` must be positive."""
    return Change(parameter, "geometric", value)


def linear(parameter: str, value: float) -> Change:
    """A parameter that reaches ``value`` (SI) linearly."""
    return Change(parameter, "linear", value)


@dataclass(frozen=True, slots=True)
class Life:
    """How a mode comes and grows: onset by a Weibull law, then a progression over a log-normal length.

    ``onset_shape`` and ``onset_scale_h`` are Weibull's beta and eta (operating hours); ``length_h`` is the span of the
    median life from onset to severity 1; ``exponent`` is n of the power law, k of the exponential one, or the load's
    exponent where it is driven by load; ``step`` is the severity that a step goes to.
    """

    progression: Progression
    onset_shape: float
    onset_scale_h: float
    length_h: tuple[float, float]
    exponent: float = 1.0
    step: float = 1.0


@dataclass(frozen=True, slots=True)
class Sign:
    """What an engineer sees of a failure mode: a statistic of one sensor that moves with severity.

    ``direction`` is 1 where it rises and -1 where it falls; ``statistic`` is of the sensor's readings over some cycles
    of work, ``spread`` from the lowest to the highest; only of those in ``phase`` and in operating state ``state``
    where these are named, else in every phase of the work that shows the mode.
    """

    sensor: str
    direction: Literal[-1, 1]
    statistic: Statistic = "mean"
    phase: str = ""
    state: str = ""


def rises(sensor: str, statistic: Statistic = "mean", *, phase: str = "", state: str = "") -> Sign:
    """The sign of a statistic that grows with severity."""
    return Sign(sensor, 1, statistic, phase, state)


def falls(sensor: str, statistic: Statistic = "mean", *, phase: str = "", state: str = "") -> Sign:
    """The sign of a statistic that shrinks with severity."""
    return Sign(sensor, -1, statistic, phase, state)


@dataclass(frozen=True, slots=True)
class SimulatedMode:
    """A failure mode of a simulated machine.

    Args:
        id: short name, such as E1; ``mode`` is the failure-mode id of the machine's description.
        component: the root component's id.
        mode: id in the machine's ``failure_modes``.
        changes: what it does to physical parameters.
        life: how it comes and grows.
        detect_severity: where a dedicated test first sees it.
        service_severity: the maker's service limit, or the alarm limit.
        needs: operating states without which no window can show it; empty where every one does.
        signs: what shows it, the best first; each holds far into the fault, not always from its beginning.
        repair: the right maintenance action; ``residual`` is the severity that it leaves.
        given_away: why a limit on one sensor finds it while it is small; empty where no such limit does.
    """

    id: str
    component: str
    mode: str
    name: str
    changes: tuple[Change, ...]
    life: Life
    detect_severity: float
    service_severity: float
    signs: tuple[Sign, ...]
    repair: str
    residual: float = 0.02
    needs: tuple[str, ...] = ()
    given_away: str = ""


def degrade(healthy: Parameters, modes: Sequence[SimulatedMode], severity: Mapping[str, Array]) -> dict[str, Array]:
    """Parameters (B,) of machines with these severities (B,) by mode id; several modes may touch one parameter."""
    parameters = dict(healthy)
    for mode in modes:
        if mode.id in severity and (severity[mode.id] > 0).any():
            for change in mode.changes:
                parameters[change.parameter] = change.apply(parameters[change.parameter], severity[mode.id])
    return parameters
