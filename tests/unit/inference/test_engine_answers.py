"""The engine's ordinary life: answers, batches, the door, deadlines, statistics, start and stop."""

import asyncio

import numpy as np
import pytest

from gnn_service.core.errors import (
    DeadlineExceededError,
    EngineFailedError,
    EngineStoppedError,
    InvalidInputError,
    OverloadedError,
)
from gnn_service.inference.batcher import Priority
from gnn_service.inference.deadlines import expire
from tests.support.inference import CANARY, Factory, SteppingClock, ended, engine, item, model_threads, score, until


async def test_an_answer_has_no_batch_axis_and_is_the_callers_own():
    async with engine(Factory()) as subject:
        first, second = await asyncio.gather(subject.infer(item(1)), subject.infer(item(2)))
        assert (first["score"].shape, first["nodes"].shape) == ((), (3,))
        first["nodes"][:] = 99
        assert second["nodes"].tolist() == [4, 4, 4]
        assert first["nodes"].base is None


async def test_nobody_waits_for_a_batch_to_fill_while_the_model_is_free():
    clock = SteppingClock()
    async with engine(Factory(), clock=clock, batch_wait_ms=1000) as subject:
        for value in (1, 2):
            assert score(await subject.infer(item(value))) == value + 1
        assert clock.pauses == []
        assert clock.seconds == 100
        assert subject.stats().batch_size.counts[0] == 2


async def test_what_waits_while_the_model_is_busy_goes_in_one_batch_of_at_most_sixteen():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            first = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            rest = [asyncio.create_task(subject.infer(item(value))) for value in range(2, 22)]
            await until(lambda: subject.stats().queue_depth == 20)
        answers = await asyncio.gather(first, *rest)
        assert [score(answer) for answer in answers] == [value + 1 for value in range(1, 22)]
        assert [len(batch) for batch in factory.now.batches] == [1, 16, 4]


async def test_graphs_of_different_sizes_never_share_a_batch():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        sizes = [3, 5, 3, 5, 3]
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(n + 1, nodes))) for n, nodes in enumerate(sizes)]
            await factory.now.busy()
        answers = await asyncio.gather(*tasks)
        assert [score(answer) for answer in answers] == [2, 3, 4, 5, 6]
        assert [answer["nodes"].size for answer in answers] == sizes


async def test_an_urgent_request_overtakes_background_ones():
    factory = Factory()
    async with engine(factory, batch_max=1) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(1)))]
            await factory.now.busy()
            tasks += [asyncio.create_task(subject.infer(item(v), priority=Priority.BACKGROUND)) for v in (2, 3)]
            tasks += [asyncio.create_task(subject.infer(item(4)))]
            await until(lambda: subject.stats().queue_depth == 3)
        await asyncio.gather(*tasks)
        assert factory.now.computed() == [1, 4, 2, 3]


async def test_a_full_line_refuses_at_once_and_says_when_to_come_back():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(1)))]
            await factory.now.busy()
            tasks += [asyncio.create_task(subject.infer(item(2))) for _ in range(16)]
            await until(lambda: subject.stats().queue_depth == 16)
            with pytest.raises(OverloadedError, match="16 windows are waiting") as refused:
                await subject.infer(item(3))
            assert refused.value.retry_after_s == 1
        await asyncio.gather(*tasks)
        assert 3.0 not in factory.now.computed()
        assert ended(subject) == {"answered": 17, "overloaded": 1}


async def test_a_full_line_of_background_work_gives_way_to_a_caller():
    factory = Factory()
    async with engine(factory, queue_max=16) as subject:
        factory.now.forget()
        with factory.now.held():
            first = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            low = [asyncio.create_task(subject.infer(item(2), priority=Priority.BACKGROUND)) for _ in range(16)]
            await until(lambda: subject.stats().queue_depth == 16)
            urgent = asyncio.create_task(subject.infer(item(3)))
            with pytest.raises(OverloadedError):
                await low[-1]
        assert score(await urgent) == 4
        await asyncio.gather(first, *low[:-1])


async def test_a_deadline_passes_while_the_model_is_busy_and_the_item_is_not_computed():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            first = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            with pytest.raises(DeadlineExceededError, match=r"within 0\.02 s"):
                await subject.infer(item(2), timeout_s=0.02)
            assert subject.stats().queue_depth == 0
        await first
        await subject.infer(item(3))
        assert factory.now.computed() == [1, 3]
        assert ended(subject) == {"answered": 2, "expired": 1}


async def test_a_deadline_is_looked_at_again_before_the_model_runs():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock) as subject:
        factory.now.forget()
        with factory.now.held():
            first = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            late = asyncio.create_task(subject.infer(item(2), timeout_s=20))
            in_time = asyncio.create_task(subject.infer(item(3), timeout_s=25))
            await until(lambda: subject.stats().queue_depth == 2)
            clock.seconds += 22  # no timer of the event loop has fired: only the check itself can tell
        with pytest.raises(DeadlineExceededError):
            await late
        assert (score(await first), score(await in_time)) == (2, 4)
        assert factory.now.computed() == [1, 3]


async def test_a_request_in_the_model_is_told_at_its_deadline_and_its_neighbours_are_answered():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            first = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            pair = [asyncio.create_task(subject.infer(item(2))), asyncio.create_task(subject.infer(item(3)))]
            hurried = asyncio.create_task(subject.infer(item(4), timeout_s=5))
            await until(lambda: subject.stats().queue_depth == 3)
            factory.now.gate.set()
            await first
            factory.now.gate.clear()
            for request in subject._now.instances[0].runner.in_flight:
                if request.item["x"][0, 0] == 4:
                    expire(request)
            with pytest.raises(DeadlineExceededError):
                await hurried
        assert [score(answer) for answer in await asyncio.gather(*pair)] == [3, 4]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_a_deadline_that_has_passed_on_arrival_is_refused(seconds):
    async with engine(Factory()) as subject:
        with pytest.raises(DeadlineExceededError, match="on arrival"):
            await subject.infer(item(1), timeout_s=seconds)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": CANARY["x"]}, "the model takes the arrays x, adjacency; these came: x"),
        ({}, "these came: none"),
        ({**CANARY, "more": CANARY["x"]}, "these came: x, adjacency, more"),
        ({"x": CANARY["x"], "y": CANARY["adjacency"]}, "these came: x, y"),
        ({**CANARY, "x": CANARY["x"].astype(np.float64)}, "x: must be float32 with 2 axes, not float64 with 2 axes"),
        ({**CANARY, "x": CANARY["x"][0]}, "x: must be float32 with 2 axes, not float32 with 1 axes"),
        ({**CANARY, "x": [[0.0]]}, "x: must be a NumPy array, not list"),
    ],
)
async def test_an_item_that_does_not_fit_the_model_fails_alone(wrong, message):
    async with engine(Factory()) as subject:
        results = await asyncio.gather(
            subject.infer(item(1)), subject.infer(wrong), subject.infer(item(2)), return_exceptions=True
        )
        assert isinstance(results[1], InvalidInputError)
        assert str(results[1]).endswith(message)
        assert [score(results[0]), score(results[2])] == [2, 3]
        assert ended(subject) == {"answered": 2, "invalid": 1}


async def test_the_order_in_which_an_item_names_its_arrays_does_not_matter():
    factory = Factory()
    async with engine(factory) as subject:
        turned = dict(reversed(list(item(2).items())))
        first, second = await asyncio.gather(subject.infer(item(1)), subject.infer(turned))
        assert (score(first), score(second)) == (2, 3)


async def test_the_model_is_warm_before_it_is_ready():
    factory = Factory()
    async with engine(factory, warmup_iterations=10, batch_max=16) as subject:
        sizes = [len(batch) for batch in factory.now.batches]
        assert sizes == [16, 8, 4, 2, 1] * 10 + [1], "every size ten times, the largest first, then the canary"
        assert subject.health().ready
        assert ended(subject) == {}
        assert subject.stats().batch_size.count == 0


async def test_the_model_never_runs_on_the_event_loops_thread():
    factory = Factory()
    async with engine(factory) as subject:
        await subject.infer(item(1))
        assert factory.now.threads == {"gnn-model"}


async def test_nothing_runs_after_stop():
    before = set(asyncio.all_tasks())
    factory = Factory()
    async with engine(factory) as subject:
        await subject.infer(item(1))
        await subject.check_ready()
    assert model_threads() == []
    assert asyncio.all_tasks() == before
    assert factory.now.closed
    assert subject.health().worker == "stopped"


async def test_a_stopping_engine_admits_nobody_and_finishes_what_it_has():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(1)))]
            await factory.now.busy()
            tasks += [asyncio.create_task(subject.infer(item(2)))]
            await until(lambda: subject.stats().queue_depth == 1)
            stopping = asyncio.create_task(subject.stop())
            await until(lambda: subject.health().worker == "stopping")
            with pytest.raises(EngineStoppedError, match="stopping"):
                await subject.infer(item(3))
        assert [score(answer) for answer in await asyncio.gather(*tasks)] == [2, 3]
        await stopping


async def test_what_is_not_finished_within_the_drain_limit_is_refused():
    factory = Factory()
    subject = engine(factory, drain_timeout_s=0.05)
    await subject.start()
    factory.now.forget()
    with factory.now.held():
        running = asyncio.create_task(subject.infer(item(1)))
        await factory.now.busy()
        waiting = asyncio.create_task(subject.infer(item(2)))
        stopping = asyncio.create_task(subject.stop())
        for task in (running, waiting):
            with pytest.raises(EngineStoppedError):
                await task
    await stopping
    assert model_threads() == []
    assert ended(subject) == {"stopped": 2}


async def test_an_engine_that_is_not_started_refuses():
    subject = engine(Factory())
    with pytest.raises(EngineStoppedError, match="not started"):
        await subject.infer(item(1))
    await subject.stop()
    await subject.stop()
    with pytest.raises(EngineStoppedError, match="build a new one"):
        await subject.start()


async def test_an_engine_that_is_stopped_while_it_starts_does_not_start(monkeypatch):
    monkeypatch.setattr("gnn_service.inference.left_behind.JOIN_S", 0.05)
    factory = Factory(prepare=lambda runtime: runtime.gate.clear())
    subject = engine(factory)
    starting = asyncio.create_task(subject.start())
    await until(lambda: bool(factory.built))
    with pytest.raises(EngineStoppedError, match="warming up"):
        await subject.infer(item(1))
    await subject.stop()
    with pytest.raises(EngineStoppedError, match="while it started"):
        await starting
    factory.now.gate.set()
    await until(lambda: model_threads() == [])


async def test_the_canary_goes_through_the_whole_path():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        readiness = await subject.check_ready()
        assert (readiness.ready, readiness.reason) == (True, None)
        assert factory.now.batches == [[0.0]]
        assert ended(subject) == {}


async def test_concurrent_probes_share_one_run_and_pass_a_full_line():
    factory = Factory()
    async with engine(factory, batch_max=1, queue_max=2) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(1)))]
            await factory.now.busy()
            tasks += [asyncio.create_task(subject.infer(item(value))) for value in (2, 3)]
            await until(lambda: subject.stats().queue_depth == 2)
            probes = [asyncio.create_task(subject.check_ready()) for _ in range(5)]
            await until(lambda: subject.stats().queue_depth == 3)
        assert all(probe.ready for probe in await asyncio.gather(*probes))
        await asyncio.gather(*tasks)
        assert factory.now.batches == [[1], [0], [2], [3]]


async def test_an_engine_that_answers_the_canary_wrongly_is_not_ready():
    factory = Factory()
    async with engine(factory) as subject:
        original = factory.now.run
        factory.now.run = lambda batch: {**original(batch), "score": original(batch)["score"] + 0.5}  # type: ignore[method-assign]
        readiness = await subject.check_ready()
        assert not readiness.ready
        assert readiness.reason == "the canary's score is off by 0.5, more than 0.001"
        assert subject.health().last_error == readiness.reason


async def test_a_probe_that_gets_no_answer_in_time_is_not_ready():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            readiness = await subject.check_ready(timeout_s=0.05)
        assert not readiness.ready
        assert "no answer within 0.05 s" in (readiness.reason or "")


async def test_each_asker_of_a_shared_probe_keeps_its_own_limit():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            patient = asyncio.create_task(subject.check_ready(timeout_s=20))
            await factory.now.busy()
            hasty = await subject.check_ready(timeout_s=0.01)
            assert (hasty.ready, hasty.reason) == (False, "the canary had no answer within 0.01 s")
            assert not patient.done()
        assert (await patient).ready
        assert factory.now.batches == [[0.0]]


async def test_a_hasty_asker_does_not_cut_short_the_probe_that_others_join():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            assert not (await subject.check_ready(timeout_s=0.01)).ready
            patient = asyncio.create_task(subject.check_ready(timeout_s=20))
            await asyncio.sleep(0)
        assert (await patient).ready
        assert factory.now.batches == [[0.0]]


async def test_a_bundle_whose_answers_this_runtime_does_not_give_does_not_start():
    wrong = {"score": np.float32(5).reshape(()), "nodes": np.zeros(3, np.float32)}
    with pytest.raises(EngineFailedError, match="score is off by 4"):
        await engine(Factory(), expected=wrong).start()
    assert model_threads() == []


async def test_every_request_is_counted_once_and_every_histogram_adds_up():
    factory = Factory()
    async with engine(factory) as subject:
        for value in range(1, 6):
            await subject.infer(item(value))
        stats = subject.stats()
        assert stats.requests == stats.total_s.count == stats.queue_s.count == 5
        assert stats.batches == stats.runs == stats.run_s.count == stats.batch_size.count == 5
        assert stats.batch_size.counts[0] == 5
        assert stats.batch_size.total == 5
        assert len(stats.run_s.counts) == len(stats.run_s.bounds) + 1
        assert (stats.ready, stats.in_flight, stats.queue_depth) == (True, 0, 0)
        assert stats.memory_peak_bytes == factory.now.memory_peak_bytes


async def test_health_tells_what_runs_and_for_how_long():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        assert subject.health().busy_s == 0.0
        with factory.now.held():
            task = asyncio.create_task(subject.infer(item(1)))
            await factory.now.busy()
            health = subject.health()
        assert health.busy_s > 0
        assert (health.in_flight, health.runtime, health.device, health.breaker) == (1, "fake", "cpu", "closed")
        await task
