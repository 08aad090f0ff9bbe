"""What the database manager counts about itself: plain data, read by whoever exports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gnn_service.core.breaker import BreakerStats
from gnn_service.observability.tally import Spread

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class DatabaseState(StrEnum):
    """How the database does, after the last checks."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """A check failed; work is still tried."""
    DOWN = "down"
    """Several checks in a row failed; work is refused at once until one succeeds."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """``counts[i]`` values in (``bounds[i-1]``, ``bounds[i]``], the last above all bounds; ``total`` is their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """Values seen."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class OperationStats:
    """One kind of work by its name. ``seconds`` of every one that ended, with waiting and repetitions.

    ``failures`` by the code of the error; ``repeats`` are attempts after the first, ``slow`` those that took longer
    than `database.slow_query_s`.
    """

    seconds: Distribution
    failures: Mapping[str, int]
    repeats: int
    slow: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The pool now, and since the manager was made.

    ``size`` connections are open, ``idle`` of them free; ``waiters`` callers wait for one, and ``acquire_s`` is how
    long those waited that got one. ``timeouts`` got none in time, ``refused`` found too many waiting. ``opened``
    connections were made, ``aborted`` cut off because they were lost or did not answer; ``leaks`` were held longer
    than `database.connection.leak_after_s`; ``swaps`` are pools that took the place of another.
    """

    size: int
    idle: int
    minimum: int
    maximum: int
    waiters: int
    timeouts: int
    refused: int
    opened: int
    aborted: int
    leaks: int
    swaps: int
    acquire_s: Distribution


@dataclass(frozen=True, slots=True)
class DatabaseStats:
    """A snapshot; counts since the manager was made, times in seconds.

    ``checks`` and ``failed_checks`` are those of health; ``repeats_refused`` the repetitions that the budget did not
    allow; ``last_error`` is what the last failed check or attempt to connect found, None while healthy.
    """

    state: DatabaseState
    pool: PoolStats
    breaker: BreakerStats
    operations: Mapping[str, OperationStats]
    repeats_refused: int
    checks: int
    failed_checks: int
    last_error: str | None


class Operation:
    """Running counts of one kind of work."""

    __slots__ = ("failures", "repeats", "seconds", "slow")

    def __init__(self) -> None:
        self.seconds = Spread(SECONDS)
        self.failures: dict[str, int] = {}
        self.repeats = self.slow = 0

    def ended(self, seconds: float, code: str | None) -> None:
        """Count one; ``code`` is that of the error it ended with, None for a success."""
        self.seconds.observe(seconds)
        if code is not None:
            self.failures[code] = self.failures.get(code, 0) + 1

    def snapshot(self) -> OperationStats:
        """The counts so far."""
        failures = MappingProxyType(dict(self.failures))
        return OperationStats(distribution(self.seconds), failures, self.repeats, self.slow)


class Counters:
    """The running counts of a manager and of its pools, one after the other; belongs to the event loop."""

    def __init__(self) -> None:
        self.waiters = 0
        self.timeouts = self.refused = self.opened = self.aborted = self.leaks = self.swaps = 0
        self.checks = self.failed_checks = 0
        self.acquire_s = Spread(SECONDS)
        self.operations: dict[str, Operation] = {}

    def operation(self, name: str) -> Operation:
        """The counts of work of this name; always the same one."""
        found = self.operations.get(name)
        if found is None:
            found = self.operations[name] = Operation()
        return found

    def pool(self, *, size: int, idle: int, minimum: int, maximum: int) -> PoolStats:
        """The counts so far with what is true now."""
        return PoolStats(
            size=size,
            idle=idle,
            minimum=minimum,
            maximum=maximum,
            waiters=self.waiters,
            timeouts=self.timeouts,
            refused=self.refused,
            opened=self.opened,
            aborted=self.aborted,
            leaks=self.leaks,
            swaps=self.swaps,
            acquire_s=distribution(self.acquire_s),
        )


def distribution(spread: Spread) -> Distribution:
    """A frozen copy."""
    return Distribution(spread.bounds, tuple(spread.counts), spread.total)
