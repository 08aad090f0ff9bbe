"""The database's numbers, as Prometheus and OpenTelemetry read them."""

from dataclasses import replace

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from gnn_service.core.breaker import BreakerState, BreakerStats
from gnn_service.db.stats import Counters, DatabaseState, DatabaseStats
from gnn_service.observability.database import watch_with_opentelemetry
from gnn_service.observability.metrics import Metrics


def numbers() -> DatabaseStats:
    counters = Counters()
    counters.waiters, counters.timeouts, counters.leaks = 3, 2, 1
    counters.acquire_s.observe(0.02)
    write = counters.operation("write_frames")
    write.ended(0.3, None)
    write.ended(1.5, "query-timeout")
    write.repeats, write.slow = 4, 1
    return DatabaseStats(
        state=DatabaseState.DEGRADED,
        pool=counters.pool(size=5, idle=2, minimum=2, maximum=10),
        breaker=BreakerStats(BreakerState.OPEN, 5, 5, 7, 1),
        operations={name: each.snapshot() for name, each in counters.operations.items()},
        repeats_refused=6,
        checks=9,
        failed_checks=8,
        last_error="gone",
    )


def test_prometheus_sees_pool_state_breaker_and_every_operation():
    metrics = Metrics()
    metrics.watch_database(numbers)
    text = metrics.exposition().decode()
    for line in (
        "gnn_database_connections 5.0",
        "gnn_database_idle_connections 2.0",
        "gnn_database_waiters 3.0",
        "gnn_database_acquire_timeouts_total 2.0",
        "gnn_database_connection_leaks_total 1.0",
        "gnn_database_retries_refused_total 6.0",
        "gnn_database_failed_checks_total 8.0",
        'gnn_database_state{state="degraded"} 1.0',
        'gnn_database_state{state="down"} 0.0',
        'gnn_database_breaker_state{state="open"} 1.0',
        'gnn_database_operation_seconds_count{operation="write_frames"} 2.0',
        'gnn_database_operation_failures_total{code="query-timeout",operation="write_frames"} 1.0',
        'gnn_database_retries_total{operation="write_frames"} 4.0',
        'gnn_database_slow_operations_total{operation="write_frames"} 1.0',
        "gnn_database_acquire_seconds_count 1.0",
    ):
        assert line in text.splitlines()


def test_every_metric_of_the_database_is_explained():
    metrics = Metrics()
    metrics.watch_database(numbers)
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    own = [family for family in families if family.name.startswith("gnn_database_")]
    assert len(own) > 20
    assert all(family.documentation for family in own)


def points(reader: InMemoryMetricReader) -> dict[tuple[str, object], float]:
    return {
        (metric.name, point.attributes.get("db.client.connection.state")): point.value
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if metric.name.startswith("db.client.connection")
    }


def test_opentelemetry_sees_the_pool_under_its_own_names():
    reader = InMemoryMetricReader()
    watch_with_opentelemetry(numbers, MeterProvider([reader]))
    assert points(reader) == {
        ("db.client.connection.count", "idle"): 2,
        ("db.client.connection.count", "used"): 3,
        ("db.client.connection.idle.min", None): 2,
        ("db.client.connection.max", None): 10,
        ("db.client.connection.pending_requests", None): 3,
        ("db.client.connection.timeouts", None): 2,
    }


def test_a_process_reports_the_database_of_its_latest_service(monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)
    monkeypatch.setattr("gnn_service.observability.database._reported", [])
    watch_with_opentelemetry(lambda: replace(numbers(), pool=replace(numbers().pool, waiters=99)))
    watch_with_opentelemetry(numbers)
    assert points(reader)["db.client.connection.pending_requests", None] == 3
