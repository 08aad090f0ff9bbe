"""Which requests make the next batch."""

import asyncio

import pytest

from gnn_service.inference.batcher import Batcher, Priority, Request
from tests.support.inference import item


@pytest.fixture
def make():
    loop = asyncio.new_event_loop()

    def request(at: float, nodes: int = 3, priority: Priority = Priority.NORMAL) -> Request:
        graph = item(at, nodes)
        signature = tuple(array.shape for array in graph.values())
        return Request(graph, signature, priority, at, at + 30, loop=loop)

    yield request
    loop.close()


def arrivals(requests):
    return [request.arrived_at for request in requests]


def test_an_empty_line_makes_no_batch():
    assert Batcher(16, 0.05, 256).take(0) == []


def test_a_batch_is_in_order_of_arrival_and_at_most_the_maximum(make):
    batcher = Batcher(4, 0.05, 256)
    for at in range(6):
        assert batcher.put(make(at))
    assert arrivals(batcher.take(6)) == [0, 1, 2, 3]
    assert arrivals(batcher.take(6, limit=1)) == [4]
    assert arrivals(batcher.take(6, limit=99)) == [5]
    assert len(batcher) == 0


def test_the_fullest_group_goes_first_while_nobody_has_waited_too_long(make):
    batcher = Batcher(4, 0.05, 256)
    batcher.put(make(0.00, nodes=5))
    for at in (0.01, 0.02, 0.03):
        batcher.put(make(at, nodes=3))
    assert arrivals(batcher.take(0.04)) == [0.01, 0.02, 0.03]
    assert arrivals(batcher.take(0.04)) == [0.00]


def test_a_batch_that_was_held_open_for_its_limit_goes_before_fuller_ones(make):
    batcher = Batcher(4, 0.05, 256)
    batcher.put(make(0.00, nodes=5))
    for at in (0.01, 0.02, 0.03):
        batcher.put(make(at, nodes=3))
    assert arrivals(batcher.take(0.05)) == [0.00]


def test_groups_that_would_fill_a_batch_alike_go_in_order_of_arrival(make):
    batcher = Batcher(2, 10, 256)
    for at, nodes in ((0, 5), (1, 3), (2, 3), (3, 3), (4, 5)):
        batcher.put(make(at, nodes))
    assert arrivals(batcher.take(5)) == [0, 4]


def test_priority_comes_before_fullness_and_fills_up_with_the_rest_of_its_group(make):
    batcher = Batcher(3, 0.05, 256)
    for at in (0, 1, 2, 3):
        batcher.put(make(at, 3, Priority.BACKGROUND))
    batcher.put(make(4, 5, Priority.BACKGROUND))
    batcher.put(make(5, 5))
    assert arrivals(batcher.take(5)) == [5, 4]
    assert arrivals(batcher.take(5)) == [0, 1, 2]


def test_a_full_line_takes_nobody_but_a_probe(make):
    batcher = Batcher(2, 0.05, 2)
    assert batcher.put(make(0))
    assert batcher.put(make(1, 3, Priority.BACKGROUND))
    assert not batcher.put(make(2))
    assert batcher.put(make(3, 3, Priority.PROBE))
    assert arrivals(batcher.take(3)) == [3, 0]


def test_the_latest_of_the_least_urgent_gives_way(make):
    batcher = Batcher(2, 0.05, 4)
    for at, nodes in ((0, 3), (1, 5), (2, 3)):
        batcher.put(make(at, nodes, Priority.BACKGROUND))
    batcher.put(make(3))
    assert batcher.give_way(Priority.BACKGROUND) is None
    leaving = batcher.give_way(Priority.NORMAL)
    assert leaving is not None
    assert leaving.arrived_at == 2
    assert len(batcher) == 3


def test_an_empty_line_has_nobody_to_give_way():
    assert Batcher(2, 0.05, 4).give_way(Priority.NORMAL) is None


def test_a_request_can_be_forgotten_once_and_twice(make):
    batcher = Batcher(2, 0.05, 4)
    stays, leaves = make(0), make(1)
    batcher.put(stays)
    batcher.put(leaves)
    batcher.discard(leaves)
    batcher.discard(leaves)
    assert len(batcher) == 1
    assert batcher.take(1) == [stays]
    batcher.discard(stays)
    assert len(batcher) == 0


def test_draining_returns_everybody_in_order_of_arrival(make):
    batcher = Batcher(2, 0.05, 8)
    for at, nodes in ((2, 3), (0, 5), (1, 3)):
        batcher.put(make(at, nodes))
    assert arrivals(batcher.drain()) == [0, 1, 2]
    assert len(batcher) == 0
    assert batcher.take(9) == []
