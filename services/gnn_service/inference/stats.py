"""What the engine counts about itself: plain data, read by whoever exports it."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

BATCH_BUCKETS: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)
SECONDS_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class Ending(StrEnum):
    """Every way a request can end. Each request ends in exactly one."""

    ANSWERED = "answered"
    CANCELLED = "cancelled"
    """The caller went away."""
    EXPIRED = "expired"
    """Its deadline passed, waiting or in the model."""
    INVALID = "invalid"
    """Its arrays do not fit the model, or a model that is well raised on it or answered what is not finite."""
    OVERLOADED = "overloaded"
    """The line was full, or it gave way to a more urgent request."""
    OUT_OF_MEMORY = "out_of_memory"
    """Even alone it did not fit into memory."""
    BREAKER_OPEN = "breaker_open"
    """The model has been failing; it was not tried."""
    MODEL_FAILED = "model_failed"
    """The model is not well: it raised on it, or answered numbers that are not finite, and failed on its canary too."""
    WORKER_LOST = "worker_lost"
    """The worker crashed or hung, or was being restarted."""
    STOPPED = "stopped"
    """The engine was not started yet, or was stopping."""


class WorkerState(StrEnum):
    """Where the engine and its worker are."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` values in (``bounds[i-1]``, ``bounds[i]``], the last above all bounds; ``total`` is their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """Values seen."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class ShadowStats:
    """What the shadow model made of a sample of the answered requests; counts go on from shadow to shadow.

    ``compared`` were computed by both, ``disagreed`` of these meant something else; ``failed`` could not be computed
    or compared, ``dropped`` came while enough samples waited. ``max_abs_difference`` between the numbers of two
    answers, and ``waiting`` samples, are those of the shadow that is there now; ``version`` is None where none is.
    """

    version: str | None
    compared: int
    disagreed: int
    failed: int
    dropped: int
    waiting: int
    max_abs_difference: float


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot; counts since the engine was made, times in seconds.

    ``ended`` has a count for every `Ending`; probes of readiness are left out of it and of ``total_s``, which is from
    arrival to the answer of those that were answered. ``queue_s`` is from arrival to the model, ``run_s`` one run of
    a batch. ``runs`` counts runs of the model for callers, halves included, ``failed_runs`` those that raised, and
    ``memory_splits`` those that found no memory; after these ``batch_limit`` is below the maximum for a while.
    ``hung`` counts model threads that were given up in service or while they started; ``left_behind`` is how many have
    not left now, those included that outstayed a swap or a failed start: at ``hung_max`` the process ends. ``swaps``
    counts exchanges of the model, of which ``roll_backs`` went back; ``failed_swaps`` left the old model serving.
    ``version`` is that of the model that answers now.
    """

    ended: Mapping[Ending, int]
    queue_depth: int
    in_flight: int
    batches: int
    runs: int
    failed_runs: int
    memory_splits: int
    restarts: int
    hung: int
    swaps: int
    failed_swaps: int
    roll_backs: int
    worker: WorkerState
    instances_ready: int
    version: str
    breaker: str
    batch_limit: int
    memory_peak_bytes: int | None
    batch_size: Histogram
    queue_s: Histogram
    run_s: Histogram
    total_s: Histogram
    shadow: ShadowStats
    left_behind: int = 0

    @property
    def ready(self) -> bool:
        """Whether the worker takes batches."""
        return self.worker is WorkerState.READY

    @property
    def requests(self) -> int:
        """Requests that have ended, however they did."""
        return sum(self.ended.values())


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """One model thread: what it computes with, and how long the present run has taken, in seconds."""

    state: WorkerState
    runtime: str | None
    device: str | None
    busy_s: float
    batch_limit: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """What a health page shows; asking for it costs nothing and runs nothing.

    ``busy_s`` is how long the present run has taken, 0.0 while the model is free; ``last_error`` is why the worker
    was last lost or could not start, or what readiness last found wrong. One of ``instances`` that serves is enough
    to be ready. ``version`` answers, ``previous`` is what a roll-back goes back to, ``shadow`` looks on.
    """

    ready: bool
    worker: WorkerState
    breaker: str
    queue_depth: int
    in_flight: int
    busy_s: float
    restarts: int
    runtime: str | None
    device: str | None
    last_error: str | None
    instances: tuple[InstanceHealth, ...] = ()
    model: str = "model"
    version: str = ""
    previous: str | None = None
    shadow: str | None = None
    swapping: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the canary graph went through the whole path and came back right; ``reason`` says why not."""

    ready: bool
    reason: str | None
    seconds: float


class HistogramCounter:
    """Counts values into fixed buckets."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many values."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self._total += value

    def snapshot(self) -> Histogram:
        """What was counted so far."""
        return Histogram(self._bounds, tuple(self._counts), self._total)


@dataclass(slots=True)
class ShadowCounts:
    """Running counts of an engine's shadows."""

    compared: int = 0
    disagreed: int = 0
    failed: int = 0
    dropped: int = 0

    def snapshot(self, *, version: str | None = None, largest: float = 0.0, waiting: int = 0) -> ShadowStats:
        """The counts so far with what is true now."""
        return ShadowStats(
            version=version,
            compared=self.compared,
            disagreed=self.disagreed,
            failed=self.failed,
            dropped=self.dropped,
            waiting=waiting,
            max_abs_difference=largest,
        )


class Counters:
    """The engine's running counts; belongs to its event loop."""

    def __init__(self) -> None:
        self.ended = dict.fromkeys(Ending, 0)
        self.batches = self.runs = self.failed_runs = self.memory_splits = self.restarts = 0
        self.hung = self.swaps = self.failed_swaps = self.roll_backs = 0
        self.shadow = ShadowCounts()
        self.memory_peak_bytes: int | None = None
        self.batch_size = HistogramCounter(BATCH_BUCKETS)
        self.queue_s = HistogramCounter(SECONDS_BUCKETS)
        self.run_s = HistogramCounter(SECONDS_BUCKETS)
        self.total_s = HistogramCounter(SECONDS_BUCKETS)

    def snapshot(
        self,
        *,
        queue_depth: int,
        in_flight: int,
        worker: WorkerState,
        breaker: str,
        batch_limit: int,
        instances_ready: int = 1,
        version: str = "",
        shadow: ShadowStats | None = None,
    ) -> EngineStats:
        """The counts so far with what is true now."""
        return EngineStats(
            ended=MappingProxyType(dict(self.ended)),
            queue_depth=queue_depth,
            in_flight=in_flight,
            batches=self.batches,
            runs=self.runs,
            failed_runs=self.failed_runs,
            memory_splits=self.memory_splits,
            restarts=self.restarts,
            hung=self.hung,
            swaps=self.swaps,
            failed_swaps=self.failed_swaps,
            roll_backs=self.roll_backs,
            worker=worker,
            instances_ready=instances_ready,
            version=version,
            breaker=breaker,
            batch_limit=batch_limit,
            memory_peak_bytes=self.memory_peak_bytes,
            batch_size=self.batch_size.snapshot(),
            queue_s=self.queue_s.snapshot(),
            run_s=self.run_s.snapshot(),
            total_s=self.total_s.snapshot(),
            shadow=shadow or self.shadow.snapshot(),
        )
