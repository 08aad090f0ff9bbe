"""One model gives way to another: nobody is refused, nobody is lost, nobody gets the other model's answer."""

import asyncio
import time

import numpy as np
import pytest

from gnn_service.core.errors import BundleError, EngineFailedError, EngineStoppedError, SwapRefusedError
from gnn_service.inference.generation import Generation
from gnn_service.inference.stats import WorkerState
from tests.support.inference import (
    DEADLY,
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


class Shifted(FakeRuntime):
    """A model whose answers are ``by`` larger."""

    by = 100.0

    def run(self, batch):
        answers = super().run(batch)
        return {**answers, "score": (answers["score"] + self.by).astype(np.float32)}


class ShiftedFactory(Factory):
    make = Shifted


def shifted(factory=None, version="2", more=100.0):
    return model(factory or ShiftedFactory(), version, more=more)


async def test_new_requests_go_to_the_new_model_and_those_inside_finish_on_theirs():
    old, new = Factory(), ShiftedFactory()
    async with engine(old, version="1") as subject:
        old.now.forget()
        with old.now.held():
            inside = [subject.submit(item(1))]
            await old.now.busy()
            inside += [subject.submit(item(2))]
            swapping = asyncio.create_task(subject.swap(shifted(new)))
            await until(lambda: subject.spec.version == "2")
            assert score(await subject.infer(item(3))) == 104
            assert not swapping.done()
            assert subject.health().swapping
            assert (subject.stats().in_flight, subject.stats().queue_depth) == (1, 1)
        assert [score(await future) for future in inside] == [2, 3]
        await swapping
        assert old.now.closed
        health = subject.health()
        assert (health.version, health.previous, health.swapping) == ("2", "1", False)
        assert len(model_threads()) == 1
        assert (subject.stats().swaps, subject.stats().version) == (1, "2")
        assert ended(subject) == {"answered": 3}
    assert model_threads() == []


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (shifted(Factory(BundleError("damaged"))), BundleError, "damaged"),
        (shifted(more=0.0), EngineFailedError, "the canary's score is off by 100"),
        (shifted(Factory(prepare=lambda runtime: setattr(runtime, "broken", True))), EngineFailedError, "warm-up"),
    ],
)
async def test_a_model_that_is_not_fit_leaves_the_present_one_serving(spec, error, message):
    async with engine(Factory(), version="1") as subject:
        with pytest.raises(error, match=message):
            await subject.swap(spec)
        assert score(await subject.infer(item(1))) == 2
        assert (subject.spec.version, subject.previous) == ("1", None)
        assert (subject.stats().swaps, subject.stats().failed_swaps) == (0, 1)
        assert len(model_threads()) == 1
        await subject.swap(shifted())
        assert score(await subject.infer(item(1))) == 102


async def test_rolling_back_is_the_same_move_and_goes_both_ways():
    factory = Factory()
    async with engine(factory, version="1") as subject:
        with pytest.raises(SwapRefusedError, match="no previous model"):
            await subject.roll_back()
        await subject.swap(shifted())
        await subject.roll_back()
        assert (subject.health().version, subject.health().previous) == ("1", "2")
        assert score(await subject.infer(item(1))) == 2
        await subject.roll_back()
        assert score(await subject.infer(item(1))) == 102
        stats = subject.stats()
        assert (stats.swaps, stats.roll_backs, stats.failed_swaps) == (3, 2, 0)
        assert factory.calls == 2, "loaded anew"


async def test_a_roll_back_counts_when_the_model_is_exchanged_even_if_its_caller_gives_up_then():
    async with engine(Factory(), version="1") as subject:
        await subject.swap(shifted())
        with subject.lease():
            going_back = asyncio.create_task(subject.roll_back())
            await until(lambda: subject.spec.version == "1")
            assert (subject.stats().swaps, subject.stats().roll_backs) == (2, 1)
            going_back.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going_back
        await until(lambda: not subject.health().swapping)
        assert (subject.stats().swaps, subject.stats().roll_backs) == (2, 1)


async def test_a_third_model_is_refused_while_two_are_in_memory():
    old = Factory()
    async with engine(old) as subject:
        old.now.forget()
        with old.now.held():
            inside = subject.submit(item(1))
            await old.now.busy()
            swapping = asyncio.create_task(subject.swap(shifted()))
            await until(lambda: subject.spec.version == "2")
            with pytest.raises(SwapRefusedError, match="being exchanged") as refused:
                await subject.swap(shifted(version="3"))
            assert refused.value.retry_after_s == 1
        await swapping
        assert score(await inside) == 2
        await subject.swap(shifted(version="3"))
        assert subject.spec.version == "3"


async def test_two_swaps_at_once_do_not_both_load():
    gate = Factory(prepare=lambda runtime: runtime.gate.clear())
    async with engine(Factory()) as subject:
        first = asyncio.create_task(subject.swap(model(gate, "2")))
        await until(lambda: bool(gate.built))
        with pytest.raises(SwapRefusedError):
            await subject.swap(shifted(version="3"))
        gate.now.gate.set()
        await first
        assert subject.spec.version == "2"


async def test_a_lease_keeps_its_model_until_it_is_released():
    old = Factory()
    async with engine(old, version="1") as subject:
        with subject.lease() as lease:
            swapping = asyncio.create_task(subject.swap(shifted()))
            await until(lambda: subject.spec.version == "2")
            assert lease.spec.version == "1"
            assert score(await lease.infer(item(1))) == 2
            assert score(await lease.submit(item(2))) == 3
            assert score(await subject.infer(item(1))) == 102
            assert (swapping.done(), old.now.closed) == (False, False)
        lease.release()
        await swapping
        assert old.now.closed
        with pytest.raises(EngineStoppedError):
            await lease.infer(item(1))


async def test_a_lease_that_is_never_released_does_not_keep_a_model_for_ever():
    old = Factory()
    async with engine(old, request_timeout_s=0.1, drain_timeout_s=0.1) as subject:
        lease = subject.lease()
        await subject.swap(shifted())
        assert old.now.closed
        with pytest.raises(EngineStoppedError):
            await lease.infer(item(1))
        lease.release()


async def test_a_swap_whose_caller_gives_up_while_it_loads_changes_nothing():
    gate = Factory(prepare=lambda runtime: runtime.gate.clear())
    async with engine(Factory(), version="1") as subject:
        swapping = asyncio.create_task(subject.swap(shifted(gate)))
        await until(lambda: bool(gate.built))
        swapping.cancel()
        gate.now.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await swapping
        await until(lambda: len(model_threads()) == 1)
        assert (subject.spec.version, subject.health().swapping) == ("1", False)
        assert score(await subject.infer(item(1))) == 2
        await subject.swap(shifted())


async def test_a_swap_whose_caller_gives_up_later_still_ends_the_old_model():
    old = Factory()
    async with engine(old) as subject:
        with subject.lease():
            swapping = asyncio.create_task(subject.swap(shifted()))
            await until(lambda: subject.spec.version == "2")
            swapping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await swapping
            assert not old.now.closed
        await until(lambda: old.now.closed)
        await until(lambda: not subject.health().swapping)


async def test_a_swap_brings_back_an_engine_whose_model_cannot_be_restarted():
    factory = Factory()
    async with engine(factory) as subject:
        factory.failures = [BundleError("gone")] * 10_000
        with pytest.raises(EngineFailedError):
            await subject.infer(item(DEADLY))
        assert not subject.health().ready
        await subject.swap(shifted())
        assert score(await subject.infer(item(1))) == 102
        assert subject.health().ready
    assert model_threads() == []


async def test_a_stop_ends_a_swap_that_is_loading(monkeypatch):
    monkeypatch.setattr("gnn_service.inference.left_behind.JOIN_S", 0.05)
    gate = ShiftedFactory(prepare=lambda runtime: runtime.gate.clear())
    subject = engine(Factory(), instances=2)
    await subject.start()
    swapping = asyncio.create_task(subject.swap(shifted(gate)))
    await until(lambda: len(gate.built) == 2)
    async with asyncio.timeout(4):
        await subject.stop()
        with pytest.raises(EngineStoppedError, match="while it started"):
            await swapping  # it may take 120 s to load
    with pytest.raises(EngineStoppedError):
        await subject.swap(shifted())
    for runtime in gate.built:
        runtime.gate.set()
    await until(lambda: model_threads() == [])
    assert all(runtime.closed for runtime in gate.built)


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_in_the_instant_when_a_swap_has_loaded_ends_both_models(monkeypatch, turns):
    look_around, ready = Generation._look_around, asyncio.Event()

    def seen(generation):
        look_around(generation)
        if generation is subject._coming and generation.state is WorkerState.READY:
            ready.set()

    monkeypatch.setattr(Generation, "_look_around", seen)
    old, new = Factory(), ShiftedFactory()
    subject = engine(old, version="1")
    await subject.start()
    swapping = asyncio.create_task(subject.swap(shifted(new)))
    await ready.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(4):
        await subject.stop()
        [refused] = await asyncio.gather(swapping, return_exceptions=True)
    stats = subject.stats()
    if refused is None:
        assert (subject.spec.version, stats.swaps, stats.failed_swaps) == ("2", 1, 0)
    else:
        assert isinstance(refused, EngineStoppedError)
        assert (subject.spec.version, stats.swaps, stats.failed_swaps) == ("1", 0, 1)
    assert old.now.closed
    assert new.now.closed
    assert model_threads() == []


async def test_an_engine_that_is_stopped_while_the_old_model_drains_stops_both():
    old = Factory()
    subject = engine(old)
    await subject.start()
    lease = subject.lease()
    swapping = asyncio.create_task(subject.swap(shifted()))
    await until(lambda: subject.spec.version == "2")
    async with asyncio.timeout(4):  # the drain limit is 5 s, that of a lease 35 s
        await subject.stop()
    await asyncio.wait({swapping})
    assert model_threads() == []
    lease.release()


async def test_an_engine_that_is_not_started_swaps_nothing():
    subject = engine(Factory())
    with pytest.raises(EngineStoppedError, match="not running"):
        await subject.swap(shifted())


async def test_counts_go_on_over_a_swap():
    async with engine(Factory()) as subject:
        await subject.infer(item(1))
        before = subject.stats()
        await subject.swap(shifted())
        await subject.infer(item(1))
        after = subject.stats()
        assert (before.requests, after.requests) == (1, 2)
        assert (before.batches, after.batches) == (1, 2)
        assert after.total_s.count == 2


class SlowToClose(FakeRuntime):
    """A model that takes its time to give its memory back."""

    def close(self):
        time.sleep(0.2)
        super().close()


class SlowFactory(Factory):
    make = SlowToClose


async def test_a_model_that_leaves_slowly_does_not_count_as_hung():
    told: list[str] = []
    async with engine(SlowFactory(), instances=2, hung_max=1, version="1") as subject:
        subject.on_fatal = told.append
        swapping = asyncio.create_task(subject.swap(shifted()))
        seen = []
        while not swapping.done():
            seen.append((subject.health().ready, (await subject.check_ready()).ready))
            await asyncio.sleep(0.01)
        await swapping
        assert len(seen) > 5
        assert all(ready and probed for ready, probed in seen)
        assert subject.stats().hung == 0
    assert told == []


async def test_an_engine_that_stops_lets_the_old_model_finish_what_it_has():
    old = Factory()
    async with engine(old, version="1", drain_timeout_s=5.0) as subject:
        with old.now.held():
            inside = subject.submit(item(1))
            await old.now.busy()
            swapping = asyncio.create_task(subject.swap(shifted()))
            await until(lambda: subject.spec.version == "2")
            stopping = asyncio.create_task(subject.stop())
            await asyncio.sleep(0.05)
            assert not inside.done()
        assert score(await inside) == 2
        async with asyncio.timeout(3):
            await asyncio.gather(stopping, swapping)
    assert model_threads() == []


async def test_a_model_whose_swap_was_given_up_again_and_again_is_waited_for_by_a_stop():
    slow = SlowFactory(prepare=lambda runtime: runtime.gate.clear())
    async with engine(Factory()) as subject:
        swapping = asyncio.create_task(subject.swap(model(slow, "2")))
        await until(lambda: bool(slow.built))
        while not swapping.done():
            swapping.cancel()
            await asyncio.sleep(0.01)
        assert swapping.cancelled()
        assert subject.health().swapping, "two are in memory still"
        with pytest.raises(SwapRefusedError):
            await subject.swap(shifted())
        asyncio.get_running_loop().call_later(0.05, slow.now.gate.set)
    assert slow.now.closed
    assert model_threads() == []
