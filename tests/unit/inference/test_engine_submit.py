"""Asking without a task: the future of the answer ends as `infer` does."""

import asyncio
import gc

import pytest

from gnn_service.core.errors import (
    DeadlineExceededError,
    EngineFailedError,
    EngineStoppedError,
    InvalidInputError,
    ModelRefusesError,
    OverloadedError,
)
from gnn_service.inference.batcher import Priority
from tests.support.inference import DEADLY, POISON, Factory, ended, engine, item, score


async def filled(subject, factory, **terms):
    """A request in the model, and as many as may wait."""
    factory.now.forget()
    first = subject.submit(item(1))
    await factory.now.busy()
    return first, [subject.submit(item(2), **terms) for _ in range(16)]


async def test_the_futures_result_is_the_answer():
    async with engine(Factory()) as subject:
        futures = [subject.submit(item(value)) for value in (1, 2, 3)]
        assert [score(await future) for future in futures] == [2, 3, 4]
        assert ended(subject) == {"answered": 3}
        assert subject.stats().total_s.count == 3


async def test_callbacks_are_told_without_any_task():
    async with engine(Factory()) as subject:
        told = asyncio.Event()
        future = subject.submit(item(1))
        future.add_done_callback(lambda _: told.set())
        async with asyncio.timeout(10):
            await told.wait()
        assert score(future.result()) == 2


async def test_what_is_refused_at_the_door_raises_at_once_and_is_counted_once():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        with pytest.raises(InvalidInputError):
            subject.submit({})
        with pytest.raises(DeadlineExceededError):
            subject.submit(item(1), timeout_s=0)
        with factory.now.held():
            first, rest = await filled(subject, factory)
            with pytest.raises(OverloadedError):
                subject.submit(item(3))
        await asyncio.gather(first, *rest)
        assert ended(subject) == {"invalid": 1, "expired": 1, "overloaded": 1, "answered": 17}
    with pytest.raises(EngineStoppedError):
        subject.submit(item(1))


async def test_the_door_closes_in_the_instant_of_a_stop():
    async with engine(Factory()) as subject:
        stopping = asyncio.create_task(subject.stop())
        await asyncio.sleep(0)
        with pytest.raises(EngineStoppedError):
            subject.submit(item(1))
        await stopping


async def test_what_goes_wrong_later_is_the_futures_exception():
    factory = Factory()
    async with engine(factory) as subject:
        with pytest.raises(ModelRefusesError, match="cannot digest"):
            await subject.submit(item(POISON))
        with pytest.raises(EngineFailedError, match="the device is gone"):
            await subject.submit(item(DEADLY))
        assert ended(subject) == {"invalid": 1, "worker_lost": 1}


async def test_a_future_that_is_cancelled_while_it_waits_leaves_the_line_in_that_instant():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        with factory.now.held():
            first, rest = await filled(subject, factory)
            assert rest[3].cancel()
            assert not rest[3].cancel()
            assert (subject.stats().queue_depth, ended(subject)) == (15, {"cancelled": 1})
            last = subject.submit(item(5))
        assert score(await last) == 6
        await asyncio.gather(first, *rest[:3], *rest[4:])
        assert rest[3].cancelled()
        assert len(factory.now.computed()) == 17
        assert ended(subject) == {"cancelled": 1, "answered": 17}


async def test_a_future_that_is_cancelled_in_the_model_leaves_its_neighbours_alone():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            futures = [subject.submit(item(value)) for value in (1, 2, 3)]
            await factory.now.busy()
            futures[1].cancel()
            assert subject.stats().in_flight == 2
        assert [score(await futures[n]) for n in (0, 2)] == [2, 4]
        assert ended(subject) == {"cancelled": 1, "answered": 2}


async def test_a_future_cancelled_after_its_end_changes_nothing_and_leaves_no_trace(caplog):
    async with engine(Factory()) as subject:
        answered, failed = subject.submit(item(1)), subject.submit(item(POISON))
        await asyncio.wait({answered, failed})
        assert not answered.cancel()
        assert not failed.cancel()
        assert ended(subject) == {"answered": 1, "invalid": 1}
        del failed
        gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_future_may_be_waited_for_with_the_usual_tools():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            shielded, timed = subject.submit(item(1)), subject.submit(item(2))
            waiter = asyncio.ensure_future(asyncio.shield(shielded))
            await factory.now.busy()
            waiter.cancel()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(timed, 0.01)
        assert score(await shielded) == 2
        assert ended(subject) == {"answered": 1, "cancelled": 1}


async def test_background_work_that_gives_way_hears_of_it():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        with factory.now.held():
            first, low = await filled(subject, factory, priority=Priority.BACKGROUND)
            urgent = subject.submit(item(3))
            assert isinstance(low[-1].exception(), OverloadedError)
        assert score(await urgent) == 4
        await asyncio.gather(first, *low[:-1])
