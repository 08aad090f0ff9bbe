"""Every Prometheus metric of the product: names, labels with few values, explicit buckets.

One `Metrics` an application, on a registry of its own. Counting happens where things happen; the engine counts for
itself in plain data classes and is read when Prometheus asks (`EngineNumbers`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gnn_service.observability.database import DatabaseCollector, DatabaseNumbers
from gnn_service.observability.intake import IntakeCollector, IntakeReaders
from gnn_service.observability.tally import RequestTallies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Distribution(Protocol):
    """A histogram as its owner counts it: ``counts[i]`` values in (``bounds[i-1]``, ``bounds[i]``].

    ``counts`` has one entry more than ``bounds``, for the values above the last; ``total`` is the sum of values.
    """

    @property
    def bounds(self) -> tuple[float, ...]: ...  # noqa: D102 - see above

    @property
    def counts(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def total(self) -> float: ...  # noqa: D102


class ShadowNumbers(Protocol):
    """What is exported of `inference.stats.ShadowStats`."""

    @property
    def version(self) -> str | None: ...  # noqa: D102 - see ShadowStats

    @property
    def compared(self) -> int: ...  # noqa: D102

    @property
    def disagreed(self) -> int: ...  # noqa: D102

    @property
    def failed(self) -> int: ...  # noqa: D102

    @property
    def dropped(self) -> int: ...  # noqa: D102

    @property
    def max_abs_difference(self) -> float: ...  # noqa: D102


class EngineNumbers(Protocol):
    """What is exported of `inference.stats.EngineStats`, which this room does not import."""

    @property
    def ready(self) -> bool: ...  # noqa: D102 - see EngineStats

    @property
    def queue_depth(self) -> int: ...  # noqa: D102

    @property
    def in_flight(self) -> int: ...  # noqa: D102

    @property
    def breaker(self) -> str: ...  # noqa: D102

    @property
    def ended(self) -> Mapping[Any, int]: ...  # noqa: D102

    @property
    def runs(self) -> int: ...  # noqa: D102

    @property
    def failed_runs(self) -> int: ...  # noqa: D102

    @property
    def memory_splits(self) -> int: ...  # noqa: D102

    @property
    def memory_peak_bytes(self) -> int | None: ...  # noqa: D102

    @property
    def restarts(self) -> int: ...  # noqa: D102

    @property
    def hung(self) -> int: ...  # noqa: D102

    @property
    def swaps(self) -> int: ...  # noqa: D102

    @property
    def failed_swaps(self) -> int: ...  # noqa: D102

    @property
    def roll_backs(self) -> int: ...  # noqa: D102

    @property
    def instances_ready(self) -> int: ...  # noqa: D102

    @property
    def left_behind(self) -> int: ...  # noqa: D102

    @property
    def version(self) -> str: ...  # noqa: D102

    @property
    def shadow(self) -> ShadowNumbers: ...  # noqa: D102

    @property
    def batch_size(self) -> Distribution: ...  # noqa: D102

    @property
    def queue_s(self) -> Distribution: ...  # noqa: D102

    @property
    def run_s(self) -> Distribution: ...  # noqa: D102

    @property
    def total_s(self) -> Distribution: ...  # noqa: D102


BREAKER_STATES = ("closed", "open", "half_open")


class Metrics:
    """The instruments of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._engines: dict[str, Callable[[], EngineNumbers]] = {}
        self.requests = RequestTallies()
        self.registry.register(self.requests)
        self.problems = Counter(
            "gnn_problems", "Errors answered as problem details, by code.", ("code",), registry=self.registry
        )
        self.diagnoses = Counter("gnn_diagnoses", "Diagnoses answered, by state.", ("state",), registry=self.registry)
        self.commissions = Counter("gnn_commissions", "Baselines made.", registry=self.registry)
        self.build = Info("gnn_build", "Version of the service and of its model bundle.", registry=self.registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def watch_engine(self, read: Callable[[], EngineNumbers], model: str = "bundle") -> None:
        """Report what ``read`` returns, under the name of its model, each time the metrics are asked for."""
        if not self._engines:
            self.registry.register(_EngineCollector(self._engines))
        self._engines[model] = read

    def watch_database(self, read: Callable[[], DatabaseNumbers]) -> None:
        """Report what ``read`` returns each time the metrics are asked for; once for an application."""
        self.registry.register(DatabaseCollector(read))

    def watch_intake(self, readers: IntakeReaders) -> None:
        """Report what readings on their way in have come to, each time the metrics are asked for."""
        self.registry.register(IntakeCollector(readers))

    def exposition(self) -> bytes:
        """The text format of Prometheus, `CONTENT_TYPE`."""
        return generate_latest(self.registry)


def method_label(method: str) -> str:
    """The method if it is a usual one, else ``other``: a caller must not be able to invent labels."""
    return method if method in _METHODS else "other"


class _EngineCollector(Collector):
    def __init__(self, engines: Mapping[str, Callable[[], EngineNumbers]]) -> None:
        self._engines = engines

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        numbers = {model: read() for model, read in self._engines.items()}
        for name, meaning, field in _GAUGES:
            gauge = GaugeMetricFamily(f"gnn_engine_{name}", meaning, labels=["model"])
            for model, each in numbers.items():
                if (value := getattr(each, field)) is not None:
                    gauge.add_metric([model], float(value))
            yield gauge
        breaker = GaugeMetricFamily("gnn_engine_breaker_state", "1 for the breaker's state.", labels=["model", "state"])
        ends = CounterMetricFamily(
            "gnn_engine_windows", "Windows, by how their request ended.", labels=["model", "end"]
        )
        for model, each in numbers.items():
            for state in BREAKER_STATES:
                breaker.add_metric([model, state], float(each.breaker == state))
            for end, count in each.ended.items():
                ends.add_metric([model, str(end)], count)
        yield breaker
        yield ends
        for name, meaning in _COUNTS:
            counter = CounterMetricFamily(f"gnn_engine_{name}", meaning, labels=["model"])
            for model, each in numbers.items():
                counter.add_metric([model], getattr(each, name))
            yield counter
        yield from self._models(numbers)
        for name, meaning, field in _DISTRIBUTIONS:
            histogram = HistogramMetricFamily(f"gnn_engine_{name}", meaning, labels=["model"])
            for model, each in numbers.items():
                distribution = getattr(each, field)
                histogram.add_metric([model], _buckets(distribution), distribution.total)
            yield histogram

    @staticmethod
    def _models(numbers: Mapping[str, EngineNumbers]) -> Iterator[Metric]:
        """Which versions answer and look on, and what the one says of the other."""
        versions = GaugeMetricFamily(
            "gnn_engine_model", "1 for the versions in use, by what they do.", labels=["model", "role", "version"]
        )
        largest = GaugeMetricFamily(
            "gnn_shadow_difference", "Largest difference of the shadow's numbers so far.", labels=["model"]
        )
        for model, each in numbers.items():
            versions.add_metric([model, "current", each.version], 1.0)
            if each.shadow.version is not None:
                versions.add_metric([model, "shadow", each.shadow.version], 1.0)
                largest.add_metric([model], each.shadow.max_abs_difference)
        yield versions
        yield largest
        for name, meaning in _SHADOW_COUNTS:
            counter = CounterMetricFamily(f"gnn_shadow_{name}", meaning, labels=["model"])
            for model, each in numbers.items():
                counter.add_metric([model], getattr(each.shadow, name))
            yield counter


_GAUGES = (
    ("ready", "1 while the engine takes batches.", "ready"),
    ("waiting_windows", "Windows in the queue.", "queue_depth"),
    ("in_flight_windows", "Windows in the model.", "in_flight"),
    ("instances_ready", "Model threads that take batches.", "instances_ready"),
    ("threads_left_behind", "Model threads that were told to leave and have not.", "left_behind"),
    ("memory_peak_bytes", "Most memory that the model used.", "memory_peak_bytes"),
)
_COUNTS = (
    ("runs", "Runs of the model for callers."),
    ("failed_runs", "Runs of the model that raised."),
    ("memory_splits", "Batches halved for want of memory."),
    ("restarts", "Restarts of the model's worker."),
    ("hung", "Model threads that were given up because they hung."),
    ("swaps", "Exchanges of the model for another one, roll-backs included."),
    ("failed_swaps", "Models that could not take over; the one before them serves on."),
    ("roll_backs", "Exchanges that went back to the model before."),
)
_SHADOW_COUNTS = (
    ("compared", "Answers that the shadow model computed too."),
    ("disagreed", "Of these, answers that meant something else."),
    ("failed", "Samples that the shadow model could not compute or that could not be compared."),
    ("dropped", "Samples dropped because the shadow model was behind."),
)
_DISTRIBUTIONS = (
    ("batch_windows", "Windows in a batch.", "batch_size"),
    ("queue_seconds", "Seconds a window waits for its batch.", "queue_s"),
    ("run_seconds", "Seconds a batch takes in the model.", "run_s"),
    ("total_seconds", "Seconds from admission to answer.", "total_s"),
)


def _buckets(distribution: Distribution) -> list[tuple[str, int]]:
    buckets, running = [], 0
    for bound, count in zip((*distribution.bounds, float("inf")), distribution.counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), running))
    return buckets
