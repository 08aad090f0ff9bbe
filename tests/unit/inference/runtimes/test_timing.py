"""What a graph costs, in turns."""

from gnn_service.inference.runtimes.timing import interleaved
from tests.support.inference import FakeRuntime, item


def test_every_runtime_has_its_turn_at_every_size():
    runtimes = {"a": FakeRuntime(), "b": FakeRuntime()}
    costs = interleaved(runtimes, item(1), (1, 16), 0.0)
    assert {name: [cost.batch for cost in each] for name, each in costs.items()} == {"a": [1, 16], "b": [1, 16]}
    assert all(cost.wall_us > 0 and cost.cpu_us >= 0 for each in costs.values() for cost in each)
    a, b = ([len(batch) for batch in runtime.batches] for runtime in runtimes.values())
    assert a == b
    assert {1, 16} == set(a)


def test_one_size_is_timed_once():
    costs = interleaved({"a": FakeRuntime()}, item(1), (1, 1), 0.0)
    assert [cost.batch for cost in costs["a"]] == [1]


def test_nothing_to_time_costs_nothing():
    assert interleaved({}, item(1), (1, 16), 60.0) == {}
