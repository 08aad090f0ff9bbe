"""The arithmetic of roll-ups: frames to minutes, minutes to hours. Pure functions of arrays.

A bucket of a roll-up holds, for every position of a layout, how many values were present, their mean, the lowest and
the highest; NaN where none was. In NumPy and not in SQL, because there a value costs four times as much.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Rollup:
    """Buckets of one layout, rising.

    Shapes: ``times`` (B,) int64 microseconds since 1970 UTC, where each begins; ``count`` (B, S) int64; ``mean``,
    ``low`` and ``high`` (B, S) float32.
    """

    times: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.times)


def by_minute(times: NDArray[np.int64], values: NDArray[np.float32]) -> Rollup:
    """Frames (N,), (N, S) by minute. ``times`` rise; NaN is a missing value."""
    starts, buckets = _buckets(times, MINUTE_US)
    present = ~np.isnan(values)
    count = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
    mean = _mean(np.where(present, values, 0), count, starts)
    return Rollup(buckets, count, mean, *_extremes(values, values, starts))


def by_hour(minutes: Rollup) -> Rollup:
    """Minutes by hour."""
    starts, buckets = _buckets(minutes.times, HOUR_US)
    count = np.add.reduceat(minutes.count, starts, axis=0, dtype=np.int64)
    mean = _mean(np.where(minutes.count > 0, minutes.mean.astype(np.float64) * minutes.count, 0), count, starts)
    return Rollup(buckets, count, mean, *_extremes(minutes.low, minutes.high, starts))


def _buckets(times: NDArray[np.int64], width_us: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Where each bucket starts in ``times``, and when it begins."""
    if len(times) == 0:
        raise ValueError("there is nothing to roll up")
    bucket = times // width_us * width_us
    starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
    return starts, bucket[starts]


def _mean(totals: NDArray[np.floating], count: NDArray[np.int64], starts: NDArray[np.intp]) -> NDArray[np.float32]:
    """Summed in double precision: in single, a mean of many large values is wrong."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinities that somebody measured
        total = np.add.reduceat(totals, starts, axis=0, dtype=np.float64)
        mean: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return mean.astype(np.float32)


def _extremes(
    low: NDArray[np.float32], high: NDArray[np.float32], starts: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.fmin.reduceat(low, starts, axis=0), np.fmax.reduceat(high, starts, axis=0)
