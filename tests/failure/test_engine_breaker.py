"""A model that keeps failing is left alone for a while; callers who fail or leave do not open the breaker."""

import asyncio
import threading
from contextlib import suppress

import pytest

from gnn_service.core.errors import BreakerOpenError, EngineFailedError, ModelRefusesError
from tests.support.inference import (
    DEADLY,
    NOT_FINITE,
    POISON,
    Factory,
    SteppingClock,
    ended,
    engine,
    item,
    score,
    until,
)

BREAKER = {"failure_rate": 0.5, "window_s": 30, "minimum_calls": 4, "open_s": 10, "half_open_probes": 2}


class Turnstile:
    """Stands in for the gate of models: lets through as many runs as it is told."""

    def __init__(self) -> None:
        self._left = threading.Semaphore(0)

    def wait(self, seconds: float) -> bool:
        return self._left.acquire(timeout=seconds)

    def let(self, runs: int) -> None:
        self._left.release(runs)


class CreepingClock(SteppingClock):
    """Moves on by ``step`` with every look at it."""

    step = 0.0

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


async def opened(subject, factory):
    factory.now.broken = True
    for _ in range(4):
        with pytest.raises(EngineFailedError):
            await subject.infer(item(1))
    await until(lambda: subject.stats().breaker == "open")
    factory.now.forget()


async def test_an_open_breaker_refuses_at_the_door_and_runs_nothing():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        clock.seconds += 3
        with pytest.raises(BreakerOpenError) as refused:
            await subject.infer(item(1))
        assert refused.value.retry_after_s == pytest.approx(7)
        assert factory.now.batches == []
        assert not subject.health().ready
        readiness = await subject.check_ready()
        assert not readiness.ready
        assert "paused" in (readiness.reason or "")
        assert ended(subject) == {"model_failed": 4, "breaker_open": 1}


async def test_an_open_breaker_is_what_callers_hear_of_however_many_they_are():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER, queue_max=16) as subject:
        await opened(subject, factory)
        answers = await asyncio.gather(*(subject.infer(item(1)) for _ in range(40)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {BreakerOpenError}


async def test_a_worker_that_keeps_crashing_opens_it():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        for _ in range(4):
            with pytest.raises(EngineFailedError):
                await subject.infer(item(DEADLY))
            await until(lambda: subject.health().worker == "ready")
        assert subject.stats().breaker == "open"
        assert not subject.health().ready


async def test_probes_that_succeed_close_it():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        factory.now.broken = False
        clock.seconds += 10
        assert score(await subject.infer(item(1))) == 2
        assert subject.stats().breaker == "half_open"
        assert score(await subject.infer(item(2))) == 3
        assert subject.stats().breaker == "closed"


@pytest.mark.parametrize("looks", range(1, 8))
async def test_a_pause_that_ends_while_a_caller_is_being_refused_costs_no_probe(looks):
    factory, clock = Factory(), CreepingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        factory.now.broken = False
        clock.step = 0.01
        clock.seconds += 10 - (looks + 0.5) * clock.step
        with suppress(BreakerOpenError):
            await subject.infer(item(1))
        clock.step = 0.0
        clock.seconds += 1
        for value in (1, 2):
            assert score(await subject.infer(item(value))) == value + 1
        assert subject.stats().breaker == "closed"


async def test_half_open_tries_single_items_and_then_goes_on_in_batches():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        factory.now.broken = False
        clock.seconds += 10
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(value))) for value in range(1, 9)]
            await factory.now.busy()
        await asyncio.gather(*tasks)
        assert [len(batch) for batch in factory.now.batches] == [1, 1, 6]


async def test_an_instance_that_waited_for_the_probes_verdict_works_once_it_is_closed():
    factory, clock, turnstile = Factory(), SteppingClock(), Turnstile()
    one = {"minimum_calls": 1, "open_s": 10, "half_open_probes": 1}
    async with engine(factory, clock=clock, instances=2, batch_max=1, breaker=one) as subject:
        with pytest.raises(EngineFailedError):
            await subject.infer(item(DEADLY))
        await until(lambda: all(instance.free for instance in subject._now.instances))
        assert subject.stats().breaker == "open"
        clock.seconds += 10
        for runtime in factory.built:
            runtime.gate = turnstile  # type: ignore[assignment]
        tasks = [asyncio.create_task(subject.infer(item(value))) for value in range(1, 7)]
        await until(lambda: subject.stats().in_flight == 1)
        turnstile.let(1)
        await until(lambda: subject.stats().breaker == "closed")
        await until(lambda: subject.stats().in_flight == 2, seconds=5)
        turnstile.let(len(tasks))
        assert [score(answer) for answer in await asyncio.gather(*tasks)] == [2, 3, 4, 5, 6, 7]


async def test_a_probe_that_fails_opens_it_again_and_refuses_those_behind():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        clock.seconds += 10
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(value))) for value in range(1, 9)]
            await factory.now.busy()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [EngineFailedError] + [BreakerOpenError] * 7
        assert len({id(answer) for answer in answers}) == 8, "an exception belongs to one caller"


async def test_readiness_alone_brings_an_engine_back_that_nobody_is_sent_to():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        await opened(subject, factory)
        factory.now.broken = False
        assert not (await subject.check_ready()).ready
        clock.seconds += 10
        for _ in range(2):
            assert (await subject.check_ready()).ready
        assert subject.stats().breaker == "closed"


@pytest.mark.parametrize("bad", [POISON, NOT_FINITE])
async def test_a_caller_who_keeps_sending_poison_does_not_take_the_model_from_the_others(bad):
    factory = Factory()
    async with engine(factory, breaker=BREAKER) as subject:
        for _ in range(10):
            with pytest.raises(ModelRefusesError):
                await subject.infer(item(bad))
        assert subject.stats().breaker == "closed"
        assert score(await subject.infer(item(1))) == 2


async def test_a_storm_of_cancellations_does_not_open_it():
    factory = Factory()
    async with engine(factory, breaker=BREAKER) as subject:
        for _ in range(10):
            factory.now.forget()
            with factory.now.held():
                task = asyncio.create_task(subject.infer(item(1)))
                await factory.now.busy()
                task.cancel()
                await asyncio.wait({task})
        assert subject.stats().breaker == "closed"
        assert score(await subject.infer(item(2))) == 3


async def test_a_model_whose_answers_are_all_not_finite_opens_it():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, breaker=BREAKER) as subject:
        original = factory.now.run
        factory.now.run = lambda batch: {name: array * float("nan") for name, array in original(batch).items()}  # type: ignore[method-assign]
        for _ in range(4):
            with pytest.raises(EngineFailedError, match="not finite"):
                await subject.infer(item(1))
        await until(lambda: subject.stats().breaker == "open")
