"""From a continuous estimate to the named levels of a failure mode, and back to a severity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEGREES = 4.0
"""Student-t degrees of freedom: heavy enough that one outlier never gets all the say."""


@dataclass(frozen=True, slots=True)
class LevelScale:
    """Where the levels of one failure mode lie on the scale of its virtual sensor.

    ``severities``, ``centres`` and ``spreads`` have one entry a level, healthy first; centres and spreads in the
    virtual sensor's unit.
    """

    severities: tuple[float, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]

    def commissioned(self, healthy_centre: float | None) -> "LevelScale":
        """The scale with the healthy level moved to where this machine's own healthy cycles lie; nothing else moves."""
        if healthy_centre is None:
            return self
        return LevelScale(self.severities, (healthy_centre, *self.centres[1:]), self.spreads)

    def log_posterior(self, value: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log probability of each level given the estimate, equal priors, Student-t errors: (W,) -> (W, L).

        The scatter is a level's own, or the standard error of the window's estimate where that is larger.
        """
        centres = np.asarray(self.centres)
        spread = np.maximum(np.asarray(self.spreads), error[:, None])
        deviation = (value[:, None] - centres) / spread
        logits = -0.5 * (DEGREES + 1) * np.log1p(deviation**2 / DEGREES)
        beyond = self._beyond(value)
        logits = np.where(beyond == 0, logits, np.where(beyond > 0, _top(logits, -1), _top(logits, 0)))
        top = logits.max(1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True)))

    def _beyond(self, value: NDArray[np.float64]) -> NDArray[np.int_]:
        """+1 where the value lies beyond the worst level, -1 where it is healthier than healthy, else 0; (W, 1)."""
        rising = self.centres[-1] > self.centres[0]
        outer_high, outer_low = (self.centres[-1], self.centres[0]) if rising else (self.centres[0], self.centres[-1])
        above, below = value > outer_high, value < outer_low
        worse = above if rising else below
        better = below if rising else above
        return np.asarray(worse.astype(np.int_) - better.astype(np.int_))[:, None]


def _top(logits: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """The logits with one level raised to no deviation: past the end of the scale there is no further level."""
    raised = logits.copy()
    raised[:, level] = np.maximum(raised[:, level], 0.0)
    return raised


def expected_severity(log_probability: NDArray[np.float64], severities: tuple[float, ...]) -> NDArray[np.float64]:
    """Mean severity under level probabilities, (W, L) -> (W,)."""
    return np.asarray(np.exp(log_probability) @ np.asarray(severities))
