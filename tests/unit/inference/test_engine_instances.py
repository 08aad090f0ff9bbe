"""Several model threads behind one door."""

import asyncio

import pytest

from gnn_service.core.errors import BreakerOpenError, BundleError, EngineFailedError
from tests.support.inference import (
    DEADLY,
    Factory,
    SteppingClock,
    ended,
    engine,
    item,
    model_threads,
    score,
    until,
)


def hold(factory):
    for runtime in factory.built:
        runtime.forget()
        runtime.gate.clear()


def let_go(factory):
    for runtime in factory.built:
        runtime.gate.set()


async def both_busy(factory):
    await asyncio.gather(*(runtime.busy() for runtime in factory.built))


async def test_each_has_a_thread_and_a_runtime_of_its_own_and_both_compute_at_once():
    factory = Factory()
    async with engine(factory, instances=2) as subject:
        assert len(model_threads()) == factory.calls == 2
        hold(factory)
        futures = [subject.submit(item(value)) for value in (1, 2, 3, 4)]
        await both_busy(factory)
        assert sorted(len(runtime.batches[-1]) for runtime in factory.built) == [2, 2]
        let_go(factory)
        assert [score(await future) for future in futures] == [2, 3, 4, 5]
        assert ended(subject) == {"answered": 4}
        assert subject.stats().instances_ready == 2
    assert model_threads() == []


async def test_a_single_request_wakes_one():
    factory = Factory()
    async with engine(factory, instances=3) as subject:
        for runtime in factory.built:
            runtime.forget()
        for value in range(5):
            await subject.infer(item(value + 1))
        assert sum(len(runtime.batches) for runtime in factory.built) == 5


async def test_what_waits_while_all_are_busy_goes_to_whichever_is_free_first():
    factory = Factory()
    async with engine(factory, instances=2) as subject:
        hold(factory)
        first = [subject.submit(item(value)) for value in (1, 2)]
        await both_busy(factory)
        waiting = [subject.submit(item(value)) for value in range(3, 9)]
        quick = factory.built[1]
        quick.gate.set()
        assert [score(await future) for future in waiting] == [4, 5, 6, 7, 8, 9]
        assert quick.batches[-1] == [3, 4, 5, 6, 7, 8]
        let_go(factory)
        assert [score(await future) for future in first] == [2, 3]


async def test_the_loss_of_one_fails_only_what_is_inside_it_and_the_others_serve_on():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, instances=2, clock=clock) as subject:
        clock.let_go.clear()
        hold(factory)
        doomed, other = subject.submit(item(DEADLY)), subject.submit(item(2))
        await both_busy(factory)
        waiting = subject.submit(item(3))
        let_go(factory)
        with pytest.raises(EngineFailedError, match="the device is gone"):
            await doomed
        assert (score(await other), score(await waiting)) == (3, 4)
        health = subject.health()
        assert health.ready
        assert sorted(instance.state for instance in health.instances) == ["ready", "restarting"]
        assert subject.stats().instances_ready == 1
        assert (await subject.check_ready()).ready
        assert score(await subject.infer(item(4))) == 5
        clock.let_go.set()
        await until(lambda: subject.stats().instances_ready == 2)
        assert ended(subject) == {"worker_lost": 1, "answered": 3}


async def test_a_hung_one_is_replaced_while_the_others_serve():
    factory = Factory()
    async with engine(factory, instances=2, heartbeat_timeout_s=0.3) as subject:
        hung = factory.built[0]
        hung.forget()
        with hung.held():
            stuck = subject.submit(item(1))
            await hung.busy()
            assert score(await subject.infer(item(2))) == 3
            with pytest.raises(EngineFailedError, match="no sign of life"):
                await stuck
            assert subject.health().ready
            await until(lambda: subject.stats().instances_ready == 2)
            assert subject.stats().hung == 1
        await until(lambda: hung.closed)


async def test_when_the_last_one_is_lost_those_who_wait_hear_of_it():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, instances=2, clock=clock) as subject:
        clock.let_go.clear()
        hold(factory)
        inside = [subject.submit(item(DEADLY)), subject.submit(item(DEADLY))]
        await both_busy(factory)
        behind = subject.submit(item(1))
        let_go(factory)
        for future in (*inside, behind):
            with pytest.raises(EngineFailedError):
                await future
        assert not subject.health().ready
        with pytest.raises(EngineFailedError, match="being restarted"):
            subject.submit(item(1))
        clock.let_go.set()
        await until(lambda: subject.stats().instances_ready == 2)


async def test_one_that_cannot_start_stops_the_others_and_the_start():
    calls = []

    class Second(Factory):
        def __call__(self):
            calls.append(1)
            if len(calls) == 2:
                raise BundleError("no room for two")
            return super().__call__()

    with pytest.raises(BundleError, match="no room for two"):
        await engine(Second(), instances=2).start()
    assert model_threads() == []


async def test_a_half_open_breaker_lets_through_its_probes_and_no_more_whatever_the_instances():
    """Fifty callers while it is half-open: two probes, one at a time; the others wait for their verdict."""
    factory, clock = Factory(), SteppingClock()
    breaker = {"failure_rate": 0.5, "minimum_calls": 4, "open_s": 10, "half_open_probes": 2}
    async with engine(factory, instances=3, clock=clock, breaker=breaker) as subject:
        for runtime in factory.built:
            runtime.broken = True
        for _ in range(4):
            with pytest.raises(EngineFailedError):
                await subject.infer(item(1))
        await until(lambda: subject.stats().breaker == "open")
        clock.seconds += 10
        hold(factory)
        futures = [subject.submit(item(value)) for value in range(1, 51)]
        await until(lambda: sum(len(runtime.batches) for runtime in factory.built) == 1)
        await asyncio.sleep(0.05)
        assert [batch for runtime in factory.built for batch in runtime.batches] == [[1]], "one probe at a time"
        assert subject.stats().queue_depth == 49
        let_go(factory)
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(answers[0], EngineFailedError)
        assert all(isinstance(answer, BreakerOpenError) for answer in answers[1:])
        clock.seconds += 10
        for runtime in factory.built:
            runtime.broken = False
            runtime.forget()
        again = [subject.submit(item(value)) for value in range(1, 51)]
        assert [score(await future) for future in again] == [value + 1 for value in range(1, 51)]
        batches = [batch for runtime in factory.built for batch in runtime.batches]
        assert sum(len(batch) == 1 for batch in batches) >= 2
        assert subject.stats().breaker == "closed"


async def test_what_is_inside_several_is_finished_before_a_stop():
    factory = Factory()
    subject = engine(factory, instances=2)
    await subject.start()
    hold(factory)
    futures = [subject.submit(item(value)) for value in range(1, 40)]
    await both_busy(factory)
    stopping = asyncio.create_task(subject.stop())
    await until(lambda: subject.health().worker == "stopping")
    let_go(factory)
    assert [score(await future) for future in futures] == [value + 1 for value in range(1, 40)]
    await stopping
    assert model_threads() == []


async def test_a_stop_brings_no_lost_one_back_while_another_finishes():
    factory, clock = Factory(), SteppingClock()
    subject = engine(factory, instances=2, clock=clock)
    await subject.start()
    clock.let_go.clear()
    hold(factory)
    doomed, other = subject.submit(item(DEADLY)), subject.submit(item(2))
    await both_busy(factory)
    lost, working = sorted(factory.built, key=lambda runtime: DEADLY not in runtime.batches[-1])
    lost.gate.set()
    with pytest.raises(EngineFailedError):
        await doomed
    stopping = asyncio.create_task(subject.stop())
    await until(lambda: subject.health().worker == "stopping")
    clock.let_go.set()
    await asyncio.sleep(0.05)
    assert (factory.calls, subject.stats().restarts) == (2, 0)
    working.gate.set()
    assert score(await other) == 3
    await stopping
    assert model_threads() == []
