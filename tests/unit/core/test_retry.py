"""Repetition on a clock that only moves when told."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.core.config_database import RetrySettings
from gnn_service.core.retry import Retry, RetryBudget, pause_s


class Time:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Vain:
    """Fails a number of times, then answers."""

    def __init__(self, failures: float) -> None:
        self.failures = failures
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError(self.calls)
        return "answer"


@pytest.fixture
def time():
    return Time()


async def retried(time: Time, work: Any, *, draw: Callable[[], float] = lambda: 1.0, **options: Any) -> Any:
    deadline_s = options.pop("deadline_s", 1000.0)
    may_repeat = options.pop("may_repeat", lambda error: True)
    retry = Retry(RetrySettings(**options), time, draw=draw)
    return await retry.run(work, may_repeat=may_repeat, deadline_s=time.now + deadline_s)


async def test_what_works_at_once_is_called_once(time):
    work = Vain(0)
    assert await retried(time, work) == "answer"
    assert (work.calls, time.slept) == (1, [])


async def test_pauses_double_up_to_their_maximum(time):
    assert await retried(time, Vain(5), attempts=6, backoff_s=0.1, backoff_max_s=0.5) == "answer"
    assert time.slept == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


async def test_the_last_error_is_raised_after_the_last_attempt(time):
    work = Vain(9)
    with pytest.raises(ConnectionError, match="3"):
        await retried(time, work, attempts=3)
    assert work.calls == 3


async def test_what_must_not_be_repeated_is_not(time):
    work = Vain(1)
    with pytest.raises(ConnectionError):
        await retried(time, work, may_repeat=lambda error: False)
    assert (work.calls, time.slept) == (1, [])


async def test_no_pause_begins_that_would_end_after_the_deadline(time):
    work = Vain(99)
    with pytest.raises(ConnectionError):
        await retried(time, work, attempts=99, backoff_s=1, backoff_max_s=1, deadline_s=3.5)
    assert time.slept == [1, 1, 1]


async def test_a_repetition_is_told_with_its_reason(time):
    told: list[Exception] = []
    retry = Retry(RetrySettings(), time, draw=lambda: 0.0)
    await retry.run(Vain(2), may_repeat=lambda error: True, deadline_s=1000, on_repeat=told.append)
    assert [str(error) for error in told] == ["1", "2"]
    assert retry.repeats_total == 2


@given(failures=st.integers(1, 10_000), draw=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_anywhere_between_nothing_and_its_bound(failures: int, draw: float):
    settings = RetrySettings(backoff_s=0.1, backoff_max_s=5)
    bound = min(5.0, 0.1 * 2.0 ** min(failures - 1, 60))
    assert pause_s(settings, failures, lambda: draw) == draw * bound


def test_pauses_of_many_callers_spread_over_the_whole_range():
    settings = RetrySettings(backoff_s=1, backoff_max_s=5)
    pauses = [pause_s(settings, 3) for _ in range(1000)]
    tenths = [sum(1 for pause in pauses if tenth <= pause / 0.4 < tenth + 1) for tenth in range(10)]
    assert min(tenths) > 40  # 100 expected in each; full jitter leaves no tenth of [0, 4] out


async def test_in_an_outage_the_budget_bounds_the_calls_of_all_callers_together(time):
    settings = RetrySettings(attempts=5, budget_ratio=0.1, budget_burst=10)
    retry = Retry(settings, time, draw=lambda: 0.0)
    works = [Vain(99) for _ in range(500)]
    for work in works:
        with pytest.raises(ConnectionError):
            await retry.run(work, may_repeat=lambda error: True, deadline_s=1e9)
    calls = sum(work.calls for work in works)
    assert 500 < calls <= 500 + 10 + 50  # without a budget it would be 2500
    assert retry.budget.refused_total > 0


@given(
    ratio=st.floats(0, 1),
    burst=st.integers(0, 20),
    events=st.lists(st.booleans(), max_size=200),
)
def test_the_budget_never_gives_more_than_it_was_given(ratio: float, burst: int, events: list[bool]):
    budget = RetryBudget(RetrySettings(budget_ratio=ratio, budget_burst=burst))
    taken = calls = 0
    for is_call in events:
        if is_call:
            budget.call()
            calls += 1
        else:
            taken += budget.take()
        assert taken <= burst + calls * ratio + 1e-9
        assert budget.saved >= 0


def test_repetitions_that_are_saved_up_are_bounded():
    budget = RetryBudget(RetrySettings(budget_ratio=1, budget_burst=3))
    for _ in itertools.repeat(None, 50):
        budget.call()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
