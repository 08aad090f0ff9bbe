"""Whatever comes in whatever order: the batcher loses nobody, doubles nobody and keeps its limits."""

import asyncio

import numpy as np
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gnn_service.inference.batcher import Batcher, Priority, Request

BATCH_MAX, WAIT_S, QUEUE_MAX = 3, 5.0, 8


class AnyTraffic(RuleBasedStateMachine):
    """The batcher beside a plain list of those who wait."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.batcher = Batcher(BATCH_MAX, WAIT_S, QUEUE_MAX)
        self.waiting: list[Request] = []
        self.now = 0.0

    def teardown(self) -> None:
        self.loop.close()

    @rule(nodes=st.integers(1, 3), priority=st.sampled_from(Priority))
    def arrive(self, nodes: int, priority: Priority) -> None:
        self.now += 1
        array = np.zeros((nodes, 1), np.float32)
        request = Request({"x": array}, (array.shape,), priority, self.now, self.now + 9, loop=self.loop)
        bounded = sum(other.priority is not Priority.PROBE for other in self.waiting)
        admitted = self.batcher.put(request)
        assert admitted == (priority is Priority.PROBE or bounded < QUEUE_MAX)
        if admitted:
            self.waiting.append(request)

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(request)
        self.batcher.discard(request)

    @rule(priority=st.sampled_from(Priority))
    def give_way(self, priority: Priority) -> None:
        lower = [request for request in self.waiting if request.priority < priority]
        leaving = self.batcher.give_way(priority)
        if not lower:
            assert leaving is None
            return
        lowest = min(request.priority for request in lower)
        assert leaving is [request for request in lower if request.priority == lowest][-1]
        self.waiting.remove(leaving)

    @rule(limit=st.none() | st.integers(1, 5))
    def take(self, limit: int | None) -> None:
        batch = self.batcher.take(self.now, limit)
        assert bool(batch) == bool(self.waiting)
        if not batch:
            return
        size = min(limit or BATCH_MAX, BATCH_MAX)
        same = [request for request in self.waiting if request.signature == batch[0].signature]
        assert batch == sorted(same, key=lambda request: (-request.priority, request.arrived_at))[:size]
        highest = max(request.priority for request in self.waiting)
        urgent = [request for request in self.waiting if request.priority is highest]
        assert batch[0].priority is highest
        if self.now - urgent[0].arrived_at >= WAIT_S:
            assert batch[0] is urgent[0], "held open for its limit, it goes next"
        for request in batch:
            self.waiting.remove(request)

    @invariant()
    def everybody_is_there(self) -> None:
        assert len(self.batcher) == len(self.waiting)


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
