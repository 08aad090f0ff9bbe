import asyncio
import random
from collections.abc import Callable

import pytest
from interlock import Config, Outcome, State
from interlock._state_machine import StateMachine
from interlock.window import WindowType

from gnn_service.core.breaker import SLICES, BreakerState, CircuitBreaker, Permit, Transition
from gnn_service.core.config import BreakerSettings
from gnn_service.core.errors import BreakerOpenError, InvalidInputError

SETTINGS = BreakerSettings(
    failure_rate=0.5, window_s=10, minimum_calls=4, open_s=5, half_open_probes=3, half_open_concurrent=2
)


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(SETTINGS, clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.acquire().failure()


@pytest.fixture
def half_open(breaker, clock):
    fail(breaker, 4)
    clock.advance(5)
    assert breaker.state is BreakerState.HALF_OPEN
    return breaker


def test_too_few_calls_open_nothing(breaker):
    fail(breaker, 3)
    assert breaker.state is BreakerState.CLOSED


def test_it_opens_when_the_failure_rate_is_reached(breaker):
    for _ in range(2):
        breaker.acquire().success()
    fail(breaker, 1)
    assert breaker.stats().state is BreakerState.CLOSED
    fail(breaker, 1)
    assert breaker.stats().state is BreakerState.OPEN


def test_a_rate_below_the_limit_keeps_it_closed(breaker):
    for _ in range(50):
        breaker.acquire().success()
        breaker.acquire().success()
        breaker.acquire().failure()
    assert breaker.state is BreakerState.CLOSED


def test_failures_that_left_the_window_do_not_count(breaker, clock):
    fail(breaker, 3)
    clock.advance(10)
    fail(breaker, 3)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.stats().failures == 3


def test_a_window_slides_by_its_slices(breaker, clock):
    fail(breaker, 2)
    clock.advance(SETTINGS.window_s - SETTINGS.window_s / SLICES)
    fail(breaker, 2)
    assert breaker.state is BreakerState.OPEN


def test_memory_does_not_grow_with_traffic(breaker, clock):
    for _ in range(2000):
        breaker.acquire().success()
        clock.advance(0.03)
    assert len(breaker._window) <= SLICES + 1


def test_open_refuses_at_once_and_says_when_to_come_back(breaker, clock):
    fail(breaker, 4)
    clock.advance(2)
    with pytest.raises(BreakerOpenError, match=r"try again in 3\.0 s") as caught:
        breaker.acquire()
    assert caught.value.retry_after_s == pytest.approx(3)
    assert breaker.stats().refused_total == 1


def test_half_open_bounds_probes_at_once_and_in_all(half_open):
    first, second = half_open.acquire(), half_open.acquire()
    with pytest.raises(BreakerOpenError) as caught:
        half_open.acquire()  # two are out
    assert caught.value.retry_after_s
    first.success()
    second.success()
    half_open.acquire()
    with pytest.raises(BreakerOpenError):
        half_open.acquire()  # one is out, and it is the last of three


def test_it_closes_when_all_probes_worked_and_starts_with_an_empty_window(half_open):
    for _ in range(3):
        half_open.acquire().success()
    assert half_open.state is BreakerState.CLOSED
    assert (half_open.stats().calls, half_open.stats().failures) == (0, 0)
    fail(half_open, 3)
    assert half_open.state is BreakerState.CLOSED


def test_a_minority_of_failed_probes_does_not_keep_it_from_closing(half_open):
    half_open.acquire().failure()
    half_open.acquire().success()
    half_open.acquire().success()
    assert half_open.state is BreakerState.CLOSED


def test_it_opens_again_as_soon_as_the_probes_cannot_close_it(half_open, clock):
    half_open.acquire().failure()
    half_open.acquire().failure()
    assert half_open.state is BreakerState.OPEN
    clock.advance(4.9)
    with pytest.raises(BreakerOpenError):
        half_open.acquire()
    clock.advance(0.2)
    half_open.acquire()


def test_a_released_probe_gives_its_slot_back(half_open):
    for _ in range(10):
        half_open.acquire().release()
    for _ in range(3):
        half_open.acquire().success()
    assert half_open.state is BreakerState.CLOSED


def test_a_result_from_before_opening_is_no_probe(breaker, clock):
    late = [breaker.acquire() for _ in range(6)]
    fail(breaker, 4)
    clock.advance(5)
    probe = breaker.acquire()
    for permit in late[:3]:
        permit.success()
    assert breaker.state is BreakerState.HALF_OPEN
    for permit in late[3:]:
        permit.failure()
    assert breaker.state is BreakerState.HALF_OPEN
    probe.success()
    assert breaker.stats().calls == 1


def test_a_probe_of_an_earlier_round_says_nothing_about_this_one(half_open, clock):
    slow = half_open.acquire()
    half_open.acquire().failure()
    half_open.acquire().failure()
    clock.advance(5)
    assert half_open.state is BreakerState.HALF_OPEN
    slow.failure()
    assert (half_open.stats().calls, half_open.stats().failures) == (0, 0)


@pytest.mark.parametrize("again", [Permit.success, Permit.failure, Permit.release])
def test_settling_twice_counts_once(half_open, again: Callable[[Permit], None]):
    permit = half_open.acquire()
    permit.success()
    again(permit)
    assert (half_open.stats().calls, half_open.stats().failures) == (1, 0)
    assert half_open.acquire()
    assert half_open.acquire()


def test_listeners_hear_every_change_in_order(clock):
    heard: list[Transition] = []
    breaker = CircuitBreaker(SETTINGS, clock, listeners=[heard.append])
    fail(breaker, 4)
    clock.advance(5)
    for _ in range(3):
        breaker.acquire().success()
    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert heard == [
        Transition(closed, opened, 1000.0),
        Transition(opened, half, 1005.0),
        Transition(half, closed, 1005.0),
    ]
    assert breaker.stats().opened_total == 1


def test_a_listener_that_raises_is_logged_and_hurts_nobody(clock, caplog):
    heard: list[Transition] = []

    def broken(_: Transition) -> None:
        raise RuntimeError("no metrics today")

    breaker = CircuitBreaker(SETTINGS, clock, name="pump", listeners=[broken, heard.append])
    fail(breaker, 4)
    assert breaker.state is BreakerState.OPEN
    assert len(heard) == 1
    assert "a listener of the pump breaker failed" in caplog.text


async def test_guard_counts_success_and_failure(breaker):
    async with breaker.guard():
        pass
    with pytest.raises(RuntimeError, match="the model"):
        async with breaker.guard():
            raise RuntimeError("the model")
    assert (breaker.stats().calls, breaker.stats().failures) == (2, 1)


async def test_bad_input_says_nothing_about_the_model(breaker):
    for _ in range(10):
        with pytest.raises(InvalidInputError):
            async with breaker.guard():
                raise InvalidInputError("no such sensor")
    assert (breaker.stats().calls, breaker.state) == (0, BreakerState.CLOSED)


async def cancelled_call(breaker: CircuitBreaker) -> None:
    async def call() -> None:
        async with breaker.guard():
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_callers_never_open_it(breaker):
    for _ in range(10):
        await cancelled_call(breaker)
    assert (breaker.stats().calls, breaker.state) == (0, BreakerState.CLOSED)


async def test_a_cancelled_probe_gives_its_slot_back(half_open):
    for _ in range(10):
        await cancelled_call(half_open)
    assert half_open.stats().calls == 0
    assert half_open.acquire()
    assert half_open.acquire()


async def test_a_refused_guard_does_not_run_its_body(breaker):
    fail(breaker, 4)
    with pytest.raises(BreakerOpenError):
        async with breaker.guard():
            pytest.fail("the body ran")


async def test_of_fifty_concurrent_calls_half_open_admits_no_more_than_its_probes(half_open):
    gate = asyncio.Event()
    admitted = 0

    async def call() -> None:
        nonlocal admitted
        async with half_open.guard():
            admitted += 1
            await gate.wait()

    tasks = [asyncio.create_task(call()) for _ in range(50)]
    await asyncio.sleep(0)
    assert half_open.full
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert admitted == SETTINGS.half_open_concurrent
    assert sum(isinstance(result, BreakerOpenError) for result in results) == 48


_NAMES = {BreakerState.CLOSED: State.CLOSED, BreakerState.OPEN: State.OPEN, BreakerState.HALF_OPEN: State.HALF_OPEN}


@pytest.mark.parametrize("rate, probes, concurrent", [(0.5, 1, 1), (0.3, 1, 1), (1.0, 4, 2)])
@pytest.mark.parametrize("seed", range(8))
def test_it_does_what_interlock_does(rate, probes, concurrent, seed, clock):
    """Against interlock-cb, with one-second slices like its own and probes that both judge at the same moment."""
    ours = CircuitBreaker(
        BreakerSettings(
            failure_rate=rate,
            window_s=SLICES,
            minimum_calls=3,
            open_s=4,
            half_open_probes=probes,
            half_open_concurrent=concurrent,
        ),
        clock,
    )
    theirs = StateMachine(
        config=Config(
            failure_rate_threshold=rate,
            minimum_number_of_calls=3,
            permitted_calls_in_half_open=probes,
            max_concurrent_probes=concurrent,
            wait_duration_in_open=4.0,
            window_type=WindowType.TIME_BASED,
            window_size=SLICES,
        ),
        clock=clock,
    )
    draw, out, seen = random.Random(seed), [], set()
    for _ in range(2000):
        theirs.attempt_auto_transition()
        action = draw.choice(["call", "call", "settle", "settle", "wait"])
        if action == "wait":
            clock.advance(draw.choice([0.25, 1.0, 2.5]))
        elif action == "call":
            admitted = theirs.acquire()
            try:
                out.append((ours.acquire(), theirs.generation))
            except BreakerOpenError:
                assert not admitted
            else:
                assert admitted
        elif out:
            permit, generation = out.pop(draw.randrange(len(out)))
            ending = draw.choice(["success", "failure", "failure", "release"])
            getattr(permit, ending)()
            if ending == "release":
                theirs.release_probe(generation=generation)
            else:
                theirs.record(Outcome[ending.upper()], generation=generation)
        theirs.attempt_auto_transition()
        assert _NAMES[ours.state] == theirs.state
        seen.add(ours.state)
    assert seen == set(BreakerState)


def test_another_look_that_finds_all_well_closes_it_at_once(breaker):
    fail(breaker, 4)
    assert breaker.state is BreakerState.OPEN
    breaker.reset()
    breaker.acquire().success()
    assert breaker.stats().calls == 1


def test_calls_from_before_a_reset_count_for_nothing(half_open):
    probe = half_open.acquire()
    half_open.reset()
    probe.failure()
    assert half_open.stats().calls == 0
    fail(half_open, 3)
    assert half_open.state is BreakerState.CLOSED


def test_failures_from_before_a_reset_do_not_open_a_closed_one(breaker):
    early = breaker.acquire()
    fail(breaker, 3)
    breaker.reset()
    early.failure()
    breaker.acquire().success()
    assert breaker.state is BreakerState.CLOSED
    assert (breaker.stats().calls, breaker.stats().failures) == (1, 0)
