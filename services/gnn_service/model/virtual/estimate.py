"""What every virtual sensor answers, and how its calibration is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import DutyCycle
from gnn_service.model.virtual.view import CycleView

Z90 = 1.645
"""Half-width of a central 90 % interval of a normal distribution, in standard deviations."""

Parameters = Mapping[str, list[float]]
"""Calibration of one virtual sensor on one kind of machine; plain numbers, so that it is JSON."""

Reference = Mapping[str, list[float]]
"""What commissioning learns for one virtual sensor on one machine."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimates of W windows in the virtual sensor's unit: value, standard error and validity, each (W,).

    ``condition`` (W,) is the temperature, K, with which what is left of the law's error drifts; None where none does.
    """

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    valid: NDArray[np.bool_]
    reason: str = ""
    condition: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        value: NDArray[np.float64],
        error: NDArray[np.float64],
        valid: NDArray[np.bool_],
        reason: str,
        condition: NDArray[np.float64] | None = None,
    ) -> "Estimate":
        """Estimates whose invalid or non-finite entries are marked and set to 0."""
        good = valid & np.isfinite(value) & np.isfinite(error)
        return cls(np.where(good, value, 0.0), np.where(good, error, 0.0), good, reason, condition)


class Estimator(Protocol):
    """One physics estimate; pure functions of the view, the calibration and the commissioning reference."""

    id: str

    def defaults(self) -> Parameters:
        """Calibration of a machine of which nothing is known beyond its class."""
        ...

    def measure(self, view: CycleView, parameters: Parameters, reference: Reference | None) -> Estimate:
        """Estimate W windows."""
        ...

    def reference_sizes(self, duty: DutyCycle) -> Mapping[str, int]:
        """How many numbers a reference holds under each name, for this duty cycle."""
        ...

    def reference(self, view: CycleView, parameters: Parameters) -> Reference | None:
        """What W healthy windows say about this machine's own reference; None where they say nothing."""
        ...
