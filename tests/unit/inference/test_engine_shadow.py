"""A second model looks on: it is compared, and nobody who asked the first one notices it."""

import asyncio

import numpy as np
import pytest

from gnn_service.core.errors import BundleError, EngineFailedError, EngineStoppedError
from gnn_service.inference.batcher import Priority
from gnn_service.inference.shadow import largest_difference
from tests.support.inference import (
    CANARY_ANSWER,
    DEADLY,
    POISON,
    Factory,
    FakeRuntime,
    ended,
    engine,
    item,
    model,
    model_threads,
    score,
    until,
)


class Off(FakeRuntime):
    """A model whose scores are a quarter larger for items above 10."""

    def run(self, batch):
        answers = super().run(batch)
        return {**answers, "score": np.where(answers["score"] > 11, answers["score"] + 0.25, answers["score"])}


class OffFactory(Factory):
    make = Off


def spec(factory=None, version="s"):
    return model(factory or OffFactory(), version)


def everything(**changes):
    return engine(Factory(), shadow_fraction=1.0, **changes)


async def compared(subject, count):
    await until(lambda: subject.stats().shadow.compared >= count)
    return subject.stats().shadow


async def test_what_was_answered_is_computed_again_and_compared():
    async with everything() as subject:
        await subject.set_shadow(spec())
        assert subject.health().shadow == "s"
        for value in (1, 2, 20):
            assert score(await subject.infer(item(value))) == value + 1
        shadow = await compared(subject, 3)
        assert shadow.max_abs_difference == 0.25
        assert (shadow.version, shadow.failed, shadow.dropped, shadow.waiting) == ("s", 0, 0, 0)
        assert ended(subject) == {"answered": 3}, "the shadow's own work is not the callers'"
        assert subject.stats().batches == 3
    assert model_threads() == []


async def test_a_judge_says_which_answers_mean_something_else():
    seen = []

    def disagree(context, answer, other):
        seen.append(context)
        return bool(answer["score"] != other["score"])

    async with everything() as subject:
        await subject.set_shadow(spec(), disagree=disagree)
        for value in (1, 20, 30):
            await subject.infer(item(value), context=f"window {value}")
        shadow = await compared(subject, 3)
        assert (shadow.compared, shadow.disagreed) == (3, 2)
        assert seen == ["window 1", "window 20", "window 30"]


async def test_items_are_translated_and_requests_without_context_left_out():
    def translate(sent, context):
        return {**sent, "x": sent["x"] + context}

    factory = OffFactory()
    async with everything() as subject:
        await subject.set_shadow(spec(factory), translate=translate)
        factory.now.forget()
        await subject.infer(item(1), context=4)
        await subject.infer(item(2))
        await compared(subject, 1)
        assert factory.now.batches == [[5.0]]


async def test_a_sample_is_the_share_that_was_asked_for_and_callers_only():
    async with engine(Factory(), shadow_fraction=0.25, shadow_queue_max=64) as subject:
        await subject.set_shadow(spec())
        for value in range(40):
            await subject.infer(item(value))
            await subject.infer(item(value), priority=Priority.BACKGROUND)
        await subject.check_ready()
        await until(lambda: subject.stats().shadow.compared == 10)
        await asyncio.sleep(0.02)
        assert subject.stats().shadow.compared == 10


async def test_a_shadow_that_is_behind_drops_samples_and_delays_nobody():
    factory = OffFactory()
    async with everything(shadow_queue_max=2) as subject:
        await subject.set_shadow(spec(factory))
        factory.now.forget()
        with factory.now.held():
            await subject.infer(item(1))
            await factory.now.busy()
            for value in range(2, 12):
                assert score(await subject.infer(item(value), timeout_s=10)) == value + 1
            assert (subject.stats().shadow.dropped, subject.stats().shadow.waiting) == (8, 2)
        await compared(subject, 3)


async def test_the_callers_item_and_answer_are_copied_for_it():
    factory = OffFactory()
    async with everything() as subject:
        await subject.set_shadow(spec(factory))
        factory.now.forget()
        with factory.now.held():
            await subject.infer(item(9))
            await factory.now.busy()
            mine = item(1)
            answer = await subject.infer(mine)
            mine["x"][:] = 50
            answer["score"][...] = 50
        assert (await compared(subject, 2)).max_abs_difference == 0
        assert factory.now.batches == [[9.0], [1.0]]


@pytest.mark.parametrize("trouble", [POISON, DEADLY])
async def test_its_failures_are_counted_and_reach_nobody(trouble):
    factory = OffFactory()
    async with everything() as subject:

        def translate(sent, context):
            return item(trouble) if context == "trouble" else sent

        await subject.set_shadow(spec(factory), translate=translate)
        assert score(await subject.infer(item(1), context="trouble")) == 2
        await until(lambda: subject.stats().shadow.failed == 1)
        stats = subject.stats()
        assert (stats.restarts, stats.failed_runs, stats.breaker, stats.hung) == (0, 0, "closed", 0)
        assert subject.health().ready
        await until(lambda: len(model_threads()) == 2)


async def test_answers_of_another_shape_cannot_be_compared_and_are_failures(caplog):
    class Other(FakeRuntime):
        def run(self, batch):
            return {"score": super().run(batch)["score"]}

    class OtherFactory(Factory):
        make = Other

    async with everything() as subject:
        await subject.set_shadow(model(OtherFactory(), expected={"score": CANARY_ANSWER["score"]}))
        for value in (1, 2):
            await subject.infer(item(value))
        await until(lambda: subject.stats().shadow.failed == 2)
        assert caplog.text.count("its outputs are") == 1, "said once"


async def test_a_shadow_that_is_not_fit_is_refused_and_there_is_none_then():
    async with everything() as subject:
        await subject.set_shadow(spec())
        with pytest.raises(BundleError):
            await subject.set_shadow(spec(Factory(BundleError("damaged"))))
        assert subject.health().shadow is None
        assert subject.stats().shadow.version is None
        assert score(await subject.infer(item(1))) == 2
        assert len(model_threads()) == 1


async def test_a_shadow_gives_way_to_another_one_or_to_none_and_its_counts_go_on():
    async with everything() as subject:
        first = OffFactory()
        await subject.set_shadow(spec(first))
        await subject.infer(item(20))
        await compared(subject, 1)
        await subject.set_shadow(spec(version="t"))
        assert first.now.closed
        assert (subject.stats().shadow.compared, subject.stats().shadow.max_abs_difference) == (1, 0)
        await subject.infer(item(1))
        assert (await compared(subject, 2)).version == "t"
        await subject.set_shadow(None)
        await subject.infer(item(2))
        assert subject.stats().shadow.compared == 2
        assert len(model_threads()) == 1


async def test_it_looks_on_over_a_swap():
    async with everything() as subject:
        await subject.set_shadow(spec())
        await subject.infer(item(1))
        await subject.swap(model(Factory(), "2"))
        await subject.infer(item(2))
        await compared(subject, 2)
        assert len(model_threads()) == 2


async def test_a_stop_does_not_wait_for_a_shadow_that_is_loading(monkeypatch):
    monkeypatch.setattr("gnn_service.inference.left_behind.JOIN_S", 0.05)
    gate = OffFactory(prepare=lambda runtime: runtime.gate.clear())
    subject = everything()
    await subject.start()
    loading = asyncio.create_task(subject.set_shadow(spec(gate)))
    await until(lambda: bool(gate.built))
    async with asyncio.timeout(4):  # it may take 120 s to load
        await subject.stop()
    with pytest.raises(EngineStoppedError, match="while it started"):
        await loading
    gate.now.gate.set()
    await until(lambda: model_threads() == [])
    assert gate.now.closed


@pytest.mark.parametrize("turns", range(1, 5))
async def test_a_shadow_leaves_even_if_whoever_ended_it_gives_up(turns):
    factory = OffFactory()
    async with everything() as subject:
        await subject.set_shadow(spec(factory))
        with factory.now.held():
            await subject.infer(item(1))
            await until(lambda: len(factory.now.batches) > 0 and subject.stats().shadow.waiting == 0)
            ending = asyncio.create_task(subject.set_shadow(None))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert subject.health().shadow is None
            ending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ending
        await until(lambda: factory.now.closed)
        assert len(model_threads()) == 1


async def test_there_is_no_shadow_of_an_engine_that_does_not_run():
    subject = engine(Factory())
    with pytest.raises(EngineStoppedError):
        await subject.set_shadow(spec())
    await subject.start()
    await subject.stop()
    with pytest.raises(EngineStoppedError):
        await subject.set_shadow(spec())
    assert model_threads() == []


def test_a_difference_is_the_largest_of_all_outputs():
    answer = {"a": np.array([1.0, 2.0]), "b": np.array(3), "c": np.zeros((0, 2))}
    other = {"a": np.array([1.5, 2.0]), "b": np.array(1), "c": np.zeros((0, 2))}
    assert largest_difference(answer, other) == 2
    with pytest.raises(EngineFailedError, match="its outputs are"):
        largest_difference(answer, {"a": answer["a"]})
