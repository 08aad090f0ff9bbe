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
    virtual sensor's unit. An imperfect law leaves the centres drifting with the operating condition (a temperature in
    K): they lie at ``centres`` at the lower end of ``span``, at ``far_centres`` at its upper end, on a line between,
    and no further outside. Without ``far_centres`` they do not drift.
    """

    severities: tuple[float, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    far_centres: tuple[float, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)

    def centres_at(self, condition: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centres of the levels under each window's condition, (W,) -> (W, L)."""
        near = np.asarray(self.centres)
        if not self.far_centres:
            return np.tile(near, (len(condition), 1))
        low, high = self.span
        share = np.clip((np.nan_to_num(condition, nan=(low + high) / 2) - low) / (high - low), 0.0, 1.0)
        return np.asarray(near + share[:, None] * (np.asarray(self.far_centres) - near))

    def commissioned(self, healthy_centre: float | None, condition: float = 0.0) -> "LevelScale":
        """The scale with the healthy level moved to where this machine's own healthy cycles lie; nothing else moves.

        ``condition`` is the one that those cycles ran under.
        """
        if healthy_centre is None:
            return self
        shift = healthy_centre - float(self.centres_at(np.array([condition]))[0, 0])
        moved = [(centres[0] + shift, *centres[1:]) if centres else () for centres in (self.centres, self.far_centres)]
        return LevelScale(self.severities, moved[0], self.spreads, moved[1], self.span)

    def log_posterior(
        self, value: NDArray[np.float64], error: NDArray[np.float64], condition: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Log probability of each level given the estimate, equal priors, Student-t errors: (W,) -> (W, L).

        The scatter is a level's own, or the standard error of the window's estimate where that is larger.
        """
        centres = self.centres_at(np.zeros(len(value)) if condition is None else condition)
        spread = np.maximum(np.asarray(self.spreads), error[:, None])
        deviation = (value[:, None] - centres) / spread
        logits = -0.5 * (DEGREES + 1) * np.log1p(deviation**2 / DEGREES)
        beyond = _beyond(value, centres)
        logits = np.where(beyond == 0, logits, np.where(beyond > 0, _top(logits, -1), _top(logits, 0)))
        top = logits.max(1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True)))


def _beyond(value: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int_]:
    """+1 where the value lies beyond the worst level, -1 where it is healthier than healthy, else 0; (W, 1)."""
    healthy, worst = centres[:, 0], centres[:, -1]
    direction = np.sign(worst - healthy)
    worse = (value - worst) * direction > 0
    better = (value - healthy) * direction < 0
    return np.asarray(worse.astype(np.int_) - better.astype(np.int_))[:, None]


def _top(logits: NDArray[np.float64], level: int) -> NDArray[np.float64]:
    """The logits with one level raised to no deviation: past the end of the scale there is no further level."""
    raised = logits.copy()
    raised[:, level] = np.maximum(raised[:, level], 0.0)
    return raised


def expected_severity(log_probability: NDArray[np.float64], severities: tuple[float, ...]) -> NDArray[np.float64]:
    """Mean severity under level probabilities, (W, L) -> (W,)."""
    return np.asarray(np.exp(log_probability) @ np.asarray(severities))
