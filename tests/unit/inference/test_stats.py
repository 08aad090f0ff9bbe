"""What the engine counts about itself."""

import pytest

from gnn_service.inference.stats import Counters, Ending, HistogramCounter, WorkerState


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.01, 1), (2.0, 1), (5.0, 2)])
def test_a_bucket_includes_its_upper_bound(value, bucket):
    histogram = HistogramCounter((1.0, 2.0))
    histogram.observe(value)
    seen = histogram.snapshot()
    assert seen.counts == tuple(int(n == bucket) for n in range(3))
    assert (seen.count, seen.total, seen.bounds) == (1, value, (1.0, 2.0))


def test_a_snapshot_does_not_change_afterwards():
    counters = Counters()
    fixed = counters.snapshot(
        queue_depth=1,
        in_flight=2,
        worker=WorkerState.READY,
        breaker="closed",
        batch_limit=16,
    )
    counters.ended[Ending.ANSWERED] += 1
    counters.run_s.observe(1)
    assert fixed.ended[Ending.ANSWERED] == fixed.requests == fixed.run_s.count == 0
    assert fixed.ready
    with pytest.raises(TypeError):
        fixed.ended[Ending.ANSWERED] = 5  # type: ignore[index]


def test_every_way_to_end_is_there_from_the_start():
    counters = Counters()
    assert set(counters.ended) == set(Ending)
