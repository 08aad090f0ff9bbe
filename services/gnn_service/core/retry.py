"""Repeating what failed: exponential back-off with full jitter, a deadline, and a budget that all callers share.

Full jitter after M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog (2015): the pause before attempt
n + 1 is uniform in [0, min(cap, base * 2**(n - 1))]. The budget is a token bucket fed by calls, as in gRPC's retry
throttling (gRFC A6) and Finagle's RetryBudget: in an outage the load grows by its ratio, not by the number of attempts.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gnn_service.core.clock import Clock
from gnn_service.core.config_database import RetrySettings

T = TypeVar("T")


class RetryBudget:
    """How many repetitions all callers together may still make. Starts full; belongs to one event loop."""

    __slots__ = ("_burst", "_ratio", "_saved", "refused_total")

    def __init__(self, settings: RetrySettings) -> None:
        self._ratio = settings.budget_ratio
        self._burst = float(settings.budget_burst)
        self._saved = self._burst
        self.refused_total = 0
        """Repetitions that were wanted and not made."""

    @property
    def saved(self) -> float:
        """Repetitions that may be made now."""
        return self._saved

    def call(self) -> None:
        """A first attempt was made: save its share of a repetition."""
        self._saved = min(self._burst, self._saved + self._ratio)

    def take(self) -> bool:
        """Leave for one repetition, if there is one."""
        if self._saved < 1.0:
            self.refused_total += 1
            return False
        self._saved -= 1.0
        return True


def pause_s(settings: RetrySettings, failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after the ``failures``-th failure (from 1); ``draw`` gives a number in [0, 1)."""
    doublings = min(failures - 1, 60)  # beyond, the power alone would overflow
    return draw() * min(settings.backoff_max_s, settings.backoff_s * 2.0**doublings)


class Retry:
    """Repeats calls under one budget.

    Args:
        settings: attempts, pauses and budget.
        clock: monotonic seconds and the pauses.
        draw: a number in [0, 1) for the jitter.
    """

    def __init__(self, settings: RetrySettings, clock: Clock, *, draw: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._clock = clock
        self._draw = draw
        self.budget = RetryBudget(settings)
        self.repeats_total = 0
        """Repetitions made."""

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        may_repeat: Callable[[Exception], bool],
        deadline_s: float,
        on_repeat: Callable[[Exception], None] | None = None,
    ) -> T:
        """The result of the first attempt that works.

        Args:
            attempt: makes one attempt; it bounds itself.
            may_repeat: whether another attempt makes sense and does no harm after this error.
            deadline_s: on the clock; no pause begins that would end after it.
            on_repeat: told of the error before each repetition.

        Raises:
            Exception: what the last attempt raised.
        """
        self.budget.call()
        failures = 0
        while True:
            try:
                return await attempt()
            except Exception as error:
                failures += 1
                pause = pause_s(self._settings, failures, self._draw)
                in_time = self._clock.monotonic() + pause < deadline_s
                if failures >= self._settings.attempts or not in_time or not may_repeat(error):
                    raise
                if not self.budget.take():
                    raise
                self.repeats_total += 1
                if on_repeat is not None:
                    on_repeat(error)
            await self._clock.sleep(pause)
