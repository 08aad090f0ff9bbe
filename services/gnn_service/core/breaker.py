"""Circuit breaker: pauses calls to something that keeps failing, and lets a few probes decide when to go on.

Closed, open, half-open after M. Nygard, "Release It!", 2nd ed. (2018), 5.2; failure rate over a sliding time window
with a minimum count as in resilience4j. Belongs to one event loop: it takes no locks.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gnn_service.core.clock import Clock
from gnn_service.core.config import BreakerSettings
from gnn_service.core.errors import BreakerOpenError, InvalidInputError

SLICES: Final = 10  # the window forgets a tenth of itself at a time, so memory does not grow with traffic
_PROBING_RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)


class BreakerState(StrEnum):
    """What the breaker does with a call: admit it, refuse it, or admit it as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, for listeners. `at_s` is on the breaker's clock."""

    old: BreakerState
    new: BreakerState
    at_s: float


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """What the breaker has seen: calls and failures in the present window or round of probes, totals since start."""

    state: BreakerState
    calls: int
    failures: int
    refused_total: int
    opened_total: int


class Permit:
    """Leave to make one call. Settle it once, by `success`, `failure` or `release`; later settling does nothing."""

    __slots__ = ("_breaker", "_generation", "_settled")

    def __init__(self, breaker: "CircuitBreaker", generation: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._settled = False

    def success(self) -> None:
        """The call worked."""
        self._settle(failed=False)

    def failure(self) -> None:
        """The call failed."""
        self._settle(failed=True)

    def release(self) -> None:
        """The call says nothing (cancelled, expired before it ran, bad input); a probe's slot is free again."""
        self._settle(failed=None)

    def _settle(self, *, failed: bool | None) -> None:
        if not self._settled:
            self._settled = True
            self._breaker._settle(self._generation, failed)  # noqa: SLF001 - two halves of one thing


class CircuitBreaker:
    """Admits calls through `acquire` or `guard`, or refuses them with `BreakerOpenError`.

    Args:
        settings: rates, times and counts.
        clock: monotonic seconds.
        name: what is called, for messages.
        listeners: told of every change of state, after it; one that raises is logged and hurts nobody.
        neutral: errors under `guard` that say nothing about what is called.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Clock,
        *,
        name: str = "model",
        listeners: Sequence[Callable[[Transition], None]] = (),
        neutral: tuple[type[Exception], ...] = (InvalidInputError,),
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._name = name
        self._listeners = tuple(listeners)
        self._neutral = neutral
        self._state = BreakerState.CLOSED
        self._generation = 0  # of the state: a permit of an older one no longer counts
        self._opened_at = 0.0
        self._window: deque[list[int]] = deque()  # [slice number, calls, failures], oldest first
        self._calls = self._failures = 0  # in the window
        self._in_flight = self._completed = self._failed = 0  # of this round of probes
        self._refused_total = self._opened_total = 0

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker is half-open once its pause has passed."""
        if self._state is BreakerState.OPEN and self._pause_left() <= 0:
            self._change(BreakerState.HALF_OPEN)
        return self._state

    @property
    def full(self) -> bool:
        """Whether it is half-open with as many probes out as may be: the next call has to wait for their verdict."""
        if self.state is not BreakerState.HALF_OPEN:
            return False
        probes = self._completed + self._in_flight
        return self._in_flight >= self._settings.half_open_concurrent or probes >= self._settings.half_open_probes

    def stats(self) -> BreakerStats:
        """A snapshot for health and metrics."""
        state = self.state
        probing = state is BreakerState.HALF_OPEN
        calls, failures = (self._completed, self._failed) if probing else self._counts()
        return BreakerStats(state, calls, failures, self._refused_total, self._opened_total)

    def acquire(self) -> Permit:
        """Leave to make one call.

        Raises:
            BreakerOpenError: the breaker is open, or half-open with all its probes out; `retry_after_s` says when to
                come back.
        """
        state = self.state
        if state is BreakerState.OPEN:
            self._refuse(self._pause_left())
        if state is BreakerState.HALF_OPEN:
            if self.full:
                self._refuse(min(_PROBING_RETRY_S, self._settings.open_s))
            self._in_flight += 1
        return Permit(self, self._generation)

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Admit the body as one call: an exception is a failure, cancellation and `neutral` errors are not.

        Put a timeout that shall count as a failure inside: one around it arrives here as a cancellation.
        """
        permit = self.acquire()
        try:
            yield
        except self._neutral:
            permit.release()
            raise
        except Exception:
            permit.failure()
            raise
        except BaseException:
            permit.release()
            raise
        permit.success()

    def reset(self) -> None:
        """Close it: another look found that what is called works. Calls that began before count for nothing."""
        if self._state is BreakerState.CLOSED:
            self._forget()  # or the next success would complete the count that opens it
        else:
            self._change(BreakerState.CLOSED)

    def _settle(self, generation: int, failed: bool | None) -> None:  # noqa: FBT001 - three outcomes
        if generation != self._generation:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._settle_probe(failed)
        elif failed is not None:
            self._count(failed=failed)
            calls, failures = self._counts()
            if calls >= self._settings.minimum_calls and failures / calls >= self._settings.failure_rate:
                self._change(BreakerState.OPEN)

    def _settle_probe(self, failed: bool | None) -> None:  # noqa: FBT001 - three outcomes
        self._in_flight -= 1
        if failed is None:
            return
        self._completed += 1
        self._failed += failed
        if self._failed / self._settings.half_open_probes >= self._settings.failure_rate:
            self._change(BreakerState.OPEN)  # the probes still out cannot change the verdict
        elif self._completed == self._settings.half_open_probes:
            self._change(BreakerState.CLOSED)

    def _forget(self) -> None:
        self._generation += 1
        self._window.clear()
        self._calls = self._failures = 0
        self._in_flight = self._completed = self._failed = 0

    def _change(self, new: BreakerState) -> None:
        now = self._clock.monotonic()
        change = Transition(self._state, new, now)
        self._state = new
        self._forget()
        if new is BreakerState.OPEN:
            self._opened_at = now
            self._opened_total += 1
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - metrics must not fail a call
                _log.exception("a listener of the %s breaker failed", self._name)

    def _pause_left(self) -> float:
        left = self._opened_at + self._settings.open_s - self._clock.monotonic()
        return min(left, self._settings.open_s)  # rounding: never longer than the whole pause

    def _refuse(self, retry_after_s: float) -> None:
        self._refused_total += 1
        msg = f"calls to the {self._name} are paused after failures; try again in {retry_after_s:.1f} s"
        raise BreakerOpenError(msg, retry_after_s=retry_after_s)

    def _count(self, *, failed: bool) -> None:
        now = self._slice()
        if not self._window or self._window[-1][0] != now:
            self._window.append([now, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += failed
        self._calls += 1
        self._failures += failed

    def _counts(self) -> tuple[int, int]:
        """Calls and failures in the window, after forgetting what has left it."""
        oldest = self._slice() - SLICES + 1
        while self._window and self._window[0][0] < oldest:
            _, calls, failures = self._window.popleft()
            self._calls -= calls
            self._failures -= failures
        return self._calls, self._failures

    def _slice(self) -> int:
        return int(self._clock.monotonic() * SLICES / self._settings.window_s)
