"""The declared instruments."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gnn_service.inference.stats import Counters, EngineStats, WorkerState
from gnn_service.observability.metrics import Metrics, method_label


def engine_stats() -> EngineStats:
    counters = Counters()
    counters.run_s.observe(0.02)
    return counters.snapshot(queue_depth=0, in_flight=0, worker=WorkerState.RESTARTING, breaker="open", batch_limit=16)


def test_every_metric_is_named_after_the_product_and_explained():
    metrics = Metrics()
    metrics.watch_engine(engine_stats)
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    own = [family for family in families if not family.name.startswith(("process_", "python_"))]
    assert len(own) > 15
    for family in own:
        assert re.fullmatch(r"gnn_[a-z0-9_]+", family.name)
        assert family.documentation


def test_the_engine_is_read_when_prometheus_asks_and_not_before():
    asked = []

    def read() -> EngineStats:
        asked.append(1)
        return engine_stats()

    metrics = Metrics()
    metrics.watch_engine(read)
    assert asked == []
    text = metrics.exposition().decode()
    assert len(asked) == 1
    assert 'gnn_engine_ready{model="bundle"} 0.0' in text
    assert 'gnn_engine_breaker_state{model="bundle",state="open"} 1.0' in text
    assert 'gnn_engine_breaker_state{model="bundle",state="closed"} 0.0' in text
    assert 'gnn_engine_run_seconds_count{model="bundle"} 1.0' in text


def test_buckets_of_the_engine_are_cumulative():
    metrics = Metrics()
    metrics.watch_engine(engine_stats)
    family = next(
        f for f in text_string_to_metric_families(metrics.exposition().decode()) if f.name == "gnn_engine_run_seconds"
    )
    counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == 1


def test_every_engine_counts_under_the_name_of_its_model():
    metrics = Metrics()
    metrics.watch_engine(engine_stats)
    metrics.watch_engine(engine_stats, "mine")
    text = metrics.exposition().decode()
    assert text.count("# TYPE gnn_engine_ready gauge") == 1
    for model in ("bundle", "mine"):
        assert f'gnn_engine_run_seconds_count{{model="{model}"}} 1.0' in text


def test_two_applications_count_for_themselves():
    first, second = Metrics(), Metrics()
    first.commissions.inc()
    assert "gnn_commissions_total 1.0" in first.exposition().decode()
    assert "gnn_commissions_total 0.0" in second.exposition().decode()


@pytest.mark.parametrize("method, label", [("GET", "GET"), ("BREW", "other"), ("get", "other")])
def test_a_caller_cannot_invent_labels(method: str, label: str):
    assert method_label(method) == label
