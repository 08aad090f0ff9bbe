"""What happens to one request in a batch must not be felt by the others."""

import asyncio
import gc

import pytest

from gnn_service.core.errors import EngineFailedError, ModelRefusesError
from gnn_service.inference.stats import Ending
from tests.support.inference import NOT_FINITE, POISON, Factory, ended, engine, item, score, until


async def batch_of(subject, factory, values):
    """Tasks whose items wait together for the model; leave `held()` to let them go."""
    tasks = [asyncio.create_task(subject.infer(item(100)))]
    await factory.now.busy()
    tasks += [asyncio.create_task(subject.infer(item(value))) for value in values]
    await until(lambda: subject.stats().queue_depth == len(values))
    return tasks


async def test_a_caller_cancelled_in_its_batch_leaves_the_rest_and_the_following_ones_answered():
    """Four requests in one batch, one is cancelled while the model computes them.

    MLServer 1.7's adaptive batcher raises KeyError, then InvalidStateError, and the next requests hang for ever.
    """
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(value))) for value in (1, 2, 3, 4)]
            await factory.now.busy()
            assert subject.stats().in_flight == 4
            tasks[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]
            assert subject.stats().in_flight == 3
            following = [asyncio.create_task(subject.infer(item(value))) for value in (5, 6)]
            await until(lambda: subject.stats().queue_depth == 2)
        async with asyncio.timeout(10):
            answers = await asyncio.gather(tasks[0], tasks[2], tasks[3], *following)
        assert [score(answer) for answer in answers] == [2, 4, 5, 6, 7]
        assert score(await subject.infer(item(8))) == 9
        assert factory.now.batches == [[1, 2, 3, 4], [5, 6], [8]]
        assert ended(subject) == {"answered": 6, "cancelled": 1}


async def test_a_caller_cancelled_while_it_waits_is_not_computed():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, [1, 2, 3])
            tasks[2].cancel()
            await until(lambda: subject.stats().queue_depth == 2)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [score(answers[n]) for n in (0, 1, 3)] == [101, 2, 4]
        assert factory.now.batches == [[100], [1, 3]]


async def test_cancelled_callers_do_not_fill_the_line():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, [1] * 16)
            for task in tasks[1:]:
                task.cancel()
            await asyncio.wait(tasks[1:])
            welcome = asyncio.create_task(subject.infer(item(5)))
            await until(lambda: subject.stats().queue_depth == 1)
        assert score(await welcome) == 6
        await tasks[0]


async def test_a_batch_whose_callers_all_left_is_not_run():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, [1, 2])
            for task in tasks[1:]:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert factory.now.batches == [[100]]
        assert subject.stats().batches == 1


async def test_a_caller_cancelled_in_the_same_instant_as_its_answer_leaves_no_trace(caplog):
    """It is counted as what the engine made of it, once: the answer was there when the caller left."""
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            task = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            request = subject._now.instances[0].runner.in_flight[0]
            request.fail(EngineFailedError("just now"), Ending.MODEL_FAILED)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended(subject) == {"model_failed": 1}
        del task, request
        gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("place", range(5))
async def test_one_poisonous_item_fails_alone(place):
    factory = Factory()
    values = [1.0, 2.0, 3.0, 4.0]
    values.insert(place, POISON)
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, values)
        answers = await asyncio.gather(*tasks[1:], return_exceptions=True)
        failed = answers.pop(place)
        assert isinstance(failed, ModelRefusesError)
        assert str(failed) == "the model failed on this window: ValueError: cannot digest this"
        assert [score(answer) for answer in answers] == [2, 3, 4, 5]
        assert subject.stats().breaker == "closed"
        assert ended(subject) == {"answered": 5, "invalid": 1}
        await tasks[0]


async def test_several_poisonous_items_are_all_found():
    factory = Factory()
    values = [POISON if n % 5 == 0 else float(n) for n in range(16)]
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, values)
        answers = await asyncio.gather(*tasks[1:], return_exceptions=True)
        for value, answer in zip(values, answers, strict=True):
            if value == POISON:
                assert isinstance(answer, ModelRefusesError)
            else:
                assert score(answer) == value + 1
        await tasks[0]


async def test_a_model_that_fails_its_canary_too_fails_the_batch_at_once():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, [1] * 16)
            factory.now.broken = True
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, EngineFailedError) for answer in answers)
        assert [len(batch) for batch in factory.now.batches] == [1, 1, 16, 1], "each batch, then the canary"


async def test_an_answer_that_is_not_finite_fails_alone():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await batch_of(subject, factory, [1, NOT_FINITE, 3])
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [score(answers[n]) for n in (0, 1, 3)] == [101, 2, 4]
        assert isinstance(answers[2], ModelRefusesError)
        assert "not finite" in str(answers[2])
        assert factory.now.batches == [[100], [1, NOT_FINITE, 3]], "found without running anything again"
        assert ended(subject) == {"answered": 3, "invalid": 1}


@pytest.mark.parametrize("bad", [POISON, NOT_FINITE])
async def test_an_item_is_at_fault_only_where_the_model_is_well(bad):
    factory = Factory()
    async with engine(factory) as subject:
        with pytest.raises(ModelRefusesError) as refused:
            await subject.infer(item(bad))
        assert (refused.value.status, refused.value.retry_after_s) == (422, None)
        original = factory.now.run
        factory.now.run = lambda batch: {name: array * float("nan") for name, array in original(batch).items()}  # type: ignore[method-assign]
        with pytest.raises(EngineFailedError):
            await subject.infer(item(bad))
        assert ended(subject) == {"invalid": 1, "model_failed": 1}


@pytest.mark.parametrize("fault", [StopIteration("odd"), TimeoutError("slow"), asyncio.CancelledError()])
async def test_no_kind_of_exception_of_the_model_reaches_the_engine(fault):
    factory = Factory()
    async with engine(factory) as subject:
        original = factory.now.run

        def run(batch):
            if POISON in batch["x"]:
                raise fault
            return original(batch)

        factory.now.run = run  # type: ignore[method-assign]
        with pytest.raises((EngineFailedError, ModelRefusesError)):
            await subject.infer(item(POISON), timeout_s=10)
        await until(lambda: subject.health().ready)
        assert score(await subject.infer(item(1))) == 2


async def test_a_model_that_answers_too_few_rows_fails_the_batch_with_a_reason():
    factory = Factory()
    async with engine(factory) as subject:
        original = factory.now.run
        factory.now.run = lambda batch: {name: array[1:] for name, array in original(batch).items()}  # type: ignore[method-assign]
        with pytest.raises(EngineFailedError, match=r"output 'score' has shape \(0,\) for a batch of 1"):
            await subject.infer(item(1))
