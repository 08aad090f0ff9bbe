"""Memory runs out: batches shrink, then single requests are shed; the engine lives."""

import asyncio

import pytest

from gnn_service.core.errors import EngineFailedError, OverloadedError
from gnn_service.inference.execution import REGROW_AFTER
from gnn_service.inference.runtimes.base import DeviceMemoryError
from tests.support.inference import Factory, ended, engine, item, score, until


def with_memory_for(size):
    def prepare(runtime):
        runtime.memory_for = size

    return prepare


async def send(subject, factory, count):
    with factory.now.held():
        tasks = [asyncio.create_task(subject.infer(item(value))) for value in range(1, count + 1)]
        await factory.now.busy()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_batch_that_does_not_fit_is_split_until_it_does():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.memory_for = 3
        factory.now.forget()
        answers = await send(subject, factory, 16)
        assert [score(answer) for answer in answers] == [value + 1 for value in range(1, 17)]
        stats = subject.stats()
        assert stats.memory_splits == factory.now.released == 3
        assert stats.breaker == "closed"
        assert stats.failed_runs == 0
        assert ended(subject) == {"answered": 16}


async def test_later_batches_start_small_and_grow_again():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.memory_for = 4
        await send(subject, factory, 16)
        assert subject.stats().batch_limit < 16
        factory.now.memory_for = None
        for _ in range(2 * REGROW_AFTER):
            await send(subject, factory, 16)
        assert subject.stats().batch_limit == 16


async def test_an_item_that_does_not_fit_alone_is_shed_and_the_engine_goes_on():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.memory_for = 0
        answers = await send(subject, factory, 3)
        assert all(isinstance(answer, OverloadedError) and answer.retry_after_s == 1 for answer in answers)
        assert ended(subject) == {"out_of_memory": 3}
        assert subject.stats().breaker == "closed"
        factory.now.memory_for = None
        assert score(await subject.infer(item(1))) == 2
        assert subject.stats().restarts == 0


async def test_a_model_that_fits_only_small_batches_warms_up_and_serves_with_those():
    factory = Factory(prepare=with_memory_for(2))
    async with engine(factory) as subject:
        assert subject.stats().batch_limit <= 2
        answers = await send(subject, factory, 8)
        assert [score(answer) for answer in answers] == [value + 1 for value in range(1, 9)]


async def test_a_model_that_does_not_even_fit_alone_does_not_start():
    with pytest.raises(EngineFailedError, match="fails its warm-up: MemoryError: no room"):
        await engine(Factory(prepare=with_memory_for(0))).start()


async def test_memory_that_cannot_be_released_costs_the_worker_but_not_the_engine():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.memory_for = 0

        def stuck():
            raise OSError("driver")

        factory.now.release_memory = stuck  # type: ignore[method-assign]
        with pytest.raises(EngineFailedError, match="could not be released: OSError: driver"):
            await subject.infer(item(1))
        await until(lambda: subject.health().ready)
        assert score(await subject.infer(item(1))) == 2


def test_a_devices_memory_error_is_a_memory_error():
    assert issubclass(DeviceMemoryError, MemoryError)
