"""From what the sender, the service's processes and the bare model have measured to the figures of one load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.bench.serve_load import Tally
from gnn_service.core.errors import InvalidInputError

CLIENT_LIMIT: Final = 0.85
"""Cores of one sender above which the sender, and not the service, may be what limits."""

_NAN: Final = float("nan")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that callers waited; not a number where nobody was answered."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> Self:
        """Percentiles of waiting times in seconds."""
        if not len(seconds):
            return cls(_NAN, _NAN, _NAN, _NAN)
        return cls(*(float(value) * 1000 for value in np.percentile(seconds, (50, 95, 99, 100))))


@dataclass(frozen=True, slots=True)
class Speed:
    """The bare model in a tight loop: windows a second, and a second of its own CPU time."""

    batch: int
    windows_per_s: float
    windows_per_cpu_s: float


@dataclass(frozen=True, slots=True)
class Bound:
    """The bare model at batch 1 and at the largest batch, and what ran it."""

    one: Speed
    full: Speed
    runtime: str = ""

    @classmethod
    def mean(cls, bounds: Sequence[Self]) -> Self:
        """Of the same thing measured several times, before and after a load."""
        ones, fulls = [bound.one for bound in bounds], [bound.full for bound in bounds]
        return cls(_mean_speed(ones), _mean_speed(fulls), bounds[0].runtime)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the service's processes have used, and what the whole computer has, from begin to end of a load.

    ``rss_mib`` are samples of resident memory in time; ``cpu_s`` is None where the process is not known.
    """

    cpu_s: float | None
    machine_cpu_s: float
    elapsed_s: float
    times_s: tuple[float, ...] = ()
    rss_mib: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the service in MiB. ``growth_mib_per_min`` is the slope of a straight line through it."""

    before_mib: float
    after_mib: float
    peak_mib: float
    growth_mib_per_min: float

    @classmethod
    def of(cls, usage: Usage) -> Self | None:
        """None where the process is not known."""
        if not usage.rss_mib:
            return None
        slope = 0.0
        if len(usage.rss_mib) > 2:
            slope = float(np.polyfit(np.array(usage.times_s) / 60, usage.rss_mib, 1)[0])
        return cls(usage.rss_mib[0], usage.rss_mib[-1], max(usage.rss_mib), slope)


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one target. ``rate_per_s`` None is a closed loop of ``callers``.

    ``cpu_efficiency`` is requests a CPU second of the service over windows a CPU second of the bare model at its
    largest batch: 1 would be a service that costs nothing. ``over_bare`` is requests a second over the bare model's
    windows a second at that batch, in one loop. ``client_limited`` says that the figures are the sender's and not the
    service's.
    """

    target: str
    wire: str
    callers: int
    rate_per_s: float | None
    seconds: float
    requests: int
    requests_per_s: float
    latency: Latency
    errors: int
    endings: Mapping[str, int]
    over_bare: float
    p50_over_bare: float
    cpu_ms_per_request: float | None
    cpu_efficiency: float | None
    service_cores: float | None
    client_cores: float
    other_cores: float | None
    client_limited: bool
    late_p99_ms: float | None
    memory: Memory | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which load it was."""

    target: str
    wire: str
    callers: int
    rate_per_s: float | None
    senders: int


def run_of(asked: Asked, tally: Tally, usage: Usage, bound: Bound) -> Run:
    """The figures of one load."""
    latency = Latency.of(tally.latencies_s)
    per_s = tally.answered / tally.elapsed_s
    client = tally.cpu_s / tally.elapsed_s
    cpu_ms = efficiency = cores = other = None
    if usage.cpu_s is not None:
        cores = usage.cpu_s / usage.elapsed_s
        other = max(0.0, (usage.machine_cpu_s - usage.cpu_s - tally.cpu_s) / usage.elapsed_s)
        if tally.answered and usage.cpu_s:
            cpu_ms = 1000 * usage.cpu_s / tally.answered
            efficiency = tally.answered / usage.cpu_s / bound.full.windows_per_cpu_s
    return Run(
        target=asked.target,
        wire=asked.wire,
        callers=asked.callers,
        rate_per_s=asked.rate_per_s,
        seconds=tally.elapsed_s,
        requests=sum(tally.endings.values()),
        requests_per_s=per_s,
        latency=latency,
        errors=tally.errors,
        endings=tally.endings,
        over_bare=per_s / bound.full.windows_per_s,
        p50_over_bare=latency.p50_ms / 1000 * bound.one.windows_per_s,
        cpu_ms_per_request=cpu_ms,
        cpu_efficiency=efficiency,
        service_cores=cores,
        client_cores=client,
        other_cores=other,
        client_limited=client > CLIENT_LIMIT * asked.senders,
        late_p99_ms=float(np.percentile(tally.late_s, 99)) * 1000 if len(tally.late_s) else None,
        memory=Memory.of(usage),
    )


def growth_exponent(sizes: ArrayLike, costs: ArrayLike) -> float:
    """The k of the power law cost ~ size^k that fits best: 0 does not grow, 1 grows with the size.

    Raises InvalidInputError for fewer than two sizes, or for what is not positive.
    """
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    if len(x) < 2 or x.shape != y.shape or (x <= 0).any() or (y <= 0).any():
        raise InvalidInputError("growth needs two or more positive sizes, each with its positive cost")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _mean_speed(speeds: Sequence[Speed]) -> Speed:
    per_s = float(np.mean([speed.windows_per_s for speed in speeds]))
    return Speed(speeds[0].batch, per_s, float(np.mean([speed.windows_per_cpu_s for speed in speeds])))
