"""The database's numbers as Prometheus metrics and OpenTelemetry instruments; read from its manager when asked for.

Prometheus names are the product's own. OpenTelemetry's follow its semantic conventions 1.44 for database clients, and
go to whatever meter provider the process was started with, which is none by default.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from opentelemetry import metrics as otel
from opentelemetry.metrics import CallbackOptions, Observation
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SCOPE: Final = "gnn_service"
_POOL: Final = {"db.client.connection.pool.name": "gnn-service"}
_STATES: Final = ("healthy", "degraded", "down")
_BREAKER_STATES: Final = ("closed", "open", "half_open")


class Distribution(Protocol):
    """A histogram as its owner counts it, see `observability.metrics.Distribution`."""

    @property
    def bounds(self) -> tuple[float, ...]: ...  # noqa: D102 - see above

    @property
    def counts(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def total(self) -> float: ...  # noqa: D102


class OperationNumbers(Protocol):
    """What is exported of `db.stats.OperationStats`."""

    @property
    def seconds(self) -> Distribution: ...  # noqa: D102 - see OperationStats

    @property
    def failures(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def repeats(self) -> int: ...  # noqa: D102

    @property
    def slow(self) -> int: ...  # noqa: D102


class DatabaseNumbers(Protocol):
    """What is exported of `db.stats.DatabaseStats`, which this room does not import."""

    @property
    def state(self) -> str: ...  # noqa: D102 - see DatabaseStats

    @property
    def pool(self) -> Any: ...  # noqa: D102

    @property
    def breaker(self) -> Any: ...  # noqa: D102

    @property
    def operations(self) -> Mapping[str, OperationNumbers]: ...  # noqa: D102

    @property
    def repeats_refused(self) -> int: ...  # noqa: D102

    @property
    def checks(self) -> int: ...  # noqa: D102

    @property
    def failed_checks(self) -> int: ...  # noqa: D102


Read = Callable[[], DatabaseNumbers]

_POOL_GAUGES: Final = (
    ("connections", "Open database connections.", "size"),
    ("idle_connections", "Open database connections that nobody uses.", "idle"),
    ("connections_min", "Database connections that are kept open.", "minimum"),
    ("connections_max", "Database connections, at most.", "maximum"),
    ("waiters", "Callers that wait for a database connection.", "waiters"),
)
_POOL_COUNTS: Final = (
    ("acquire_timeouts", "Callers that got no connection in time.", "timeouts"),
    ("acquire_refused", "Callers that were refused because too many waited.", "refused"),
    ("connections_opened", "Connections made.", "opened"),
    ("connections_aborted", "Connections cut off because they were lost or did not answer.", "aborted"),
    ("connection_leaks", "Connections held for too long.", "leaks"),
    ("pool_swaps", "Pools that took the place of another.", "swaps"),
)


class DatabaseCollector(Collector):
    """The Prometheus side: `Metrics.watch_database` registers it."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing beforehand: there is nothing else of these names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        numbers = self._read()
        yield from _states(numbers)
        for name, meaning, field in _POOL_GAUGES:
            yield GaugeMetricFamily(f"gnn_database_{name}", meaning, value=getattr(numbers.pool, field))
        for name, meaning, field in _POOL_COUNTS:
            yield CounterMetricFamily(f"gnn_database_{name}", meaning, value=getattr(numbers.pool, field))
        for name, meaning, value in (
            ("checks", "Health checks.", numbers.checks),
            ("failed_checks", "Health checks that failed.", numbers.failed_checks),
            ("breaker_opened", "Times that the breaker opened.", numbers.breaker.opened_total),
            ("breaker_refused", "Calls that the breaker refused.", numbers.breaker.refused_total),
            ("retries_refused", "Repetitions that the budget did not allow.", numbers.repeats_refused),
        ):
            yield CounterMetricFamily(f"gnn_database_{name}", meaning, value=value)
        acquire = HistogramMetricFamily("gnn_database_acquire_seconds", "Seconds that a caller waits for a connection.")
        acquire.add_metric([], _buckets(numbers.pool.acquire_s), numbers.pool.acquire_s.total)
        yield acquire
        yield from _operations(numbers.operations)


def _states(numbers: DatabaseNumbers) -> Iterator[Metric]:
    state = GaugeMetricFamily("gnn_database_state", "1 for the database's state.", labels=["state"])
    breaker = GaugeMetricFamily("gnn_database_breaker_state", "1 for the breaker's state.", labels=["state"])
    for name in _STATES:
        state.add_metric([name], float(numbers.state == name))
    for name in _BREAKER_STATES:
        breaker.add_metric([name], float(numbers.breaker.state == name))
    yield state
    yield breaker


def _operations(operations: Mapping[str, OperationNumbers]) -> Iterator[Metric]:
    labels = ["operation"]
    seconds = HistogramMetricFamily(
        "gnn_database_operation_seconds",
        "Seconds of work on the database, with waiting and repetitions.",
        labels=labels,
    )
    failures = CounterMetricFamily(
        "gnn_database_operation_failures", "Work on the database that failed, by code.", labels=[*labels, "code"]
    )
    retries = CounterMetricFamily("gnn_database_retries", "Repetitions of work on the database.", labels=labels)
    slow = CounterMetricFamily("gnn_database_slow_operations", "Work on the database that was slow.", labels=labels)
    for name, each in operations.items():
        seconds.add_metric([name], _buckets(each.seconds), each.seconds.total)
        retries.add_metric([name], each.repeats)
        slow.add_metric([name], each.slow)
        for code, count in each.failures.items():
            failures.add_metric([name, code], count)
    yield from (seconds, failures, retries, slow)


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    running = 0
    for bound, count in zip((*distribution.bounds, float("inf")), distribution.counts, strict=True):
        running += count
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), running))
    return buckets


_DURATION: Final = otel.get_meter(SCOPE).create_histogram("db.client.operation.duration", "s")


def operation_ended(operation: str, seconds: float, error: str | None) -> None:
    """Count work on the database for OpenTelemetry; ``error`` is the code of what it failed with."""
    attributes = {"db.system.name": "postgresql", "db.operation.name": operation}
    if error is not None:
        attributes["error.type"] = error
    _DURATION.record(seconds, attributes)


_reported: Final[list[Read]] = []
"""What the process reports, if anything: instruments are never forgotten, so they are made once and read this."""


def _latest() -> DatabaseNumbers:
    return _reported[-1]()


def watch_with_opentelemetry(read: Read, provider: otel.MeterProvider | None = None) -> None:
    """Report the pool of what ``read`` returns through OpenTelemetry, each time its reader asks.

    ``provider`` None takes that of the process, which reports one database: that of the latest call.
    """
    if provider is not None:
        _report(read, provider)
        return
    first = not _reported
    _reported[:] = [read]
    if first:
        _report(_latest, otel.get_meter_provider())


def _report(read: Read, provider: otel.MeterProvider) -> None:
    meter = provider.get_meter(SCOPE)

    def by_use(_: CallbackOptions) -> Iterable[Observation]:
        pool = read().pool
        for state, count in (("idle", pool.idle), ("used", pool.size - pool.idle)):
            yield Observation(count, {**_POOL, "db.client.connection.state": state})

    def of(find: Callable[[Any], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(find(read().pool), _POOL)]

    count = meter.create_observable_up_down_counter
    count("db.client.connection.count", [by_use], "{connection}")
    count("db.client.connection.idle.min", [of(lambda pool: pool.minimum)], "{connection}")
    count("db.client.connection.max", [of(lambda pool: pool.maximum)], "{connection}")
    count("db.client.connection.pending_requests", [of(lambda pool: pool.waiters)], "{request}")
    meter.create_observable_counter("db.client.connection.timeouts", [of(lambda pool: pool.timeouts)], "{timeout}")
