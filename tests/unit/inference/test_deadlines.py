"""One timer tells everybody."""

import asyncio

import pytest

from gnn_service.core.errors import DeadlineExceededError
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.deadlines import Deadlines
from tests.support.inference import SteppingClock, item, until


@pytest.fixture
def crowd():
    """A clock, who is live, their deadlines, and a way to let one more in."""
    clock = SteppingClock()
    live: list[Request] = []
    deadlines = Deadlines(clock, lambda: live)

    def arrive(seconds):
        loop = asyncio.get_running_loop()
        request = Request(item(1), ((3, 2),), Priority.NORMAL, clock.seconds, clock.seconds + seconds, loop=loop)
        live.append(request)
        deadlines.watch(request)
        return request

    yield clock, live, deadlines, arrive
    deadlines.close()


async def test_each_is_told_in_its_time_whatever_the_order_of_arrival(crowd):
    clock, _, _, arrive = crowd
    late, soon, later = arrive(0.02), arrive(0.005), arrive(5)
    clock.seconds += 0.01
    await until(soon.done)
    assert not late.done()
    clock.seconds += 0.02
    await until(late.done)
    assert not later.done()
    for request in (soon, late):
        assert isinstance(request.exception(), DeadlineExceededError)


async def test_a_timer_that_rings_before_the_clock_is_due_is_wound_up_again(crowd):
    clock, _, _, arrive = crowd
    request = arrive(0.002)
    await asyncio.sleep(0.02)
    assert not request.done()
    clock.seconds += 1
    await until(request.done)


async def test_those_who_ended_otherwise_are_left_alone_and_nothing_rings_for_nobody(crowd):
    _, live, deadlines, arrive = crowd
    request = arrive(0.002)
    request.resolve({})
    live.clear()
    await until(lambda: deadlines._timer is None)
    assert request.result() == {}


async def test_a_thousand_deadlines_need_one_timer(crowd):
    clock, live, deadlines, arrive = crowd
    timers = set()
    for _ in range(1000):
        arrive(0.01)
        timers.add(id(deadlines._timer))
    assert len(timers) == 1
    clock.seconds += 1
    await until(lambda: all(request.done() for request in live))
    for request in live:
        request.exception()


async def test_nothing_rings_after_the_close(crowd):
    clock, _, deadlines, arrive = crowd
    request = arrive(0.002)
    deadlines.close()
    clock.seconds += 1
    await asyncio.sleep(0.02)
    assert not request.done()


async def test_a_clock_that_jumps_ahead_of_the_timer_leaves_no_new_deadline_unheard(crowd):
    clock, _, _, arrive = crowd
    patient = arrive(30)
    clock.seconds += 40
    hasty = arrive(0.005)
    clock.seconds += 0.01
    await until(hasty.done, 5)
    for request in (patient, hasty):
        assert isinstance(request.exception(), DeadlineExceededError)
