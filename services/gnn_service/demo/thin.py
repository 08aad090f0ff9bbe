"""Readings at a lower rate, as a data logger keeps them: the mean of what came in each interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError

Block = NDArray[np.float32]


def interval_steps(rate_hz: float | None, step_s: float) -> int:
    """How many steps of a plant make an interval; InvalidInputError for a rate that steps do not meet."""
    if rate_hz is None:
        return 1
    steps = 1.0 / (rate_hz * step_s) if rate_hz > 0 else 0.0
    if steps < 1 - 1e-9 or abs(steps - round(steps)) > 1e-6:
        raise InvalidInputError(f"{rate_hz:g} Hz does not divide this machine's {1 / step_s:g} Hz", where="rate")
    return round(steps)


class Thinner:
    """Takes the rows of B machines in pieces of any length, and gives a row for each whole interval.

    A reading is the mean of the readings in the interval, NaN where there was none; state, phase and cycle are those
    of its first step. How the rows are divided changes no bit.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._values: list[Block] = []
        self._labels: list[tuple[NDArray[Any], ...]] = []
        self._waiting = 0

    def add(self, values: Block, *labels: NDArray[Any]) -> tuple[Block, tuple[NDArray[Any], ...]]:
        """Values (n, S, B) and labels (n, B) to those of the intervals (m, ...) that are whole now."""
        if self._steps == 1:
            return values, labels
        self._values.append(values)
        self._labels.append(labels)
        self._waiting += len(values)
        whole = self._waiting // self._steps * self._steps
        if not whole:
            return values[:0], tuple(label[:0] for label in labels)
        joined = np.concatenate(self._values)
        marks = tuple(np.concatenate(parts) for parts in zip(*self._labels, strict=True))
        # copies, so that what waits does not keep all that came before it
        self._values, self._labels = [joined[whole:].copy()], [tuple(mark[whole:].copy() for mark in marks)]
        self._waiting -= whole
        return _means(joined[:whole], self._steps), tuple(mark[: whole : self._steps] for mark in marks)


def _means(values: Block, steps: int) -> Block:
    """Mean of what is present in every ``steps`` rows, summed row by row so that the order never changes."""
    parts = values.reshape(-1, steps, *values.shape[1:])
    total = np.zeros((len(parts), *values.shape[1:]), dtype=np.float64)
    count = np.zeros(total.shape, dtype=np.int16)
    for step in range(steps):
        present = np.isfinite(parts[:, step])
        total += np.where(present, parts[:, step], 0.0)
        count += present
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan).astype(np.float32)
