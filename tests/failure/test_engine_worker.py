"""The worker dies, hangs or does not come back: every waiter hears of it, and the engine recovers."""

import asyncio
import time

import pytest

from gnn_service.core.errors import BundleError, EngineFailedError, EngineStoppedError
from tests.support.inference import DEADLY, Factory, SteppingClock, ended, engine, item, model_threads, score, until

HUNG_MAX = 3


async def three_waiters(subject, factory):
    """Two requests in the model and one behind them."""
    first = [asyncio.create_task(subject.infer(item(value))) for value in (1, 2)]
    await factory.now.busy()
    behind = asyncio.create_task(subject.infer(item(3)))
    await until(lambda: subject.stats().queue_depth == 1)
    return [*first, behind]


async def test_a_crash_fails_every_waiter_and_a_new_worker_answers():
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = await three_waiters(subject, factory)
            factory.now.crash = True
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(answer, EngineFailedError)
            assert "the device is gone; it is being restarted" in str(answer)
            assert answer.retry_after_s == 1
        await until(lambda: subject.health().ready)
        assert factory.calls == 2
        assert [len(batch) for batch in factory.now.batches][:1] == [16], "warmed up again"
        assert score(await subject.infer(item(4))) == 5
        assert factory.built[0].closed
        assert ended(subject) == {"worker_lost": 3, "answered": 1}
        assert subject.stats().restarts == 1


async def test_a_hang_fails_every_waiter_and_a_new_worker_answers():
    factory = Factory()
    async with engine(factory, heartbeat_timeout_s=0.5) as subject:
        hung = factory.now
        hung.forget()
        with hung.held():
            tasks = await three_waiters(subject, factory)
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(answer, EngineFailedError)
                assert "no sign of life for 0.5 s" in str(answer)
            await until(lambda: subject.health().ready)
            assert factory.now is not hung
            assert score(await subject.infer(item(4))) == 5
            assert subject.stats().left_behind == 1
        await until(lambda: hung.closed)
        await until(lambda: subject.stats().left_behind == 0)
        assert score(await subject.infer(item(5))) == 6
        assert ended(subject) == {"worker_lost": 3, "answered": 2}
    assert model_threads() == []


async def test_a_process_that_was_stopped_and_goes_on_fails_nobody():
    factory = Factory()
    async with engine(factory, heartbeat_timeout_s=0.5) as subject:
        factory.now.forget()
        factory.now.gate.clear()
        tasks = [asyncio.create_task(subject.infer(item(value))) for value in (1, 2, 3)]
        await factory.now.busy()
        factory.now.gate.set()
        time.sleep(1)  # noqa: ASYNC251 - SIGSTOP and SIGCONT, a paused machine
        assert [score(answer) for answer in await asyncio.gather(*tasks)] == [2, 3, 4]
        assert subject.stats().restarts == 0
        assert subject.health().ready


async def test_a_worker_that_ends_while_idle_is_noticed_without_a_request():
    factory = Factory()
    async with engine(factory) as subject:
        subject._now.instances[0].supervisor.worker.retire()
        await until(lambda: subject.stats().restarts == 1)
        await until(lambda: subject.health().ready)
        assert score(await subject.infer(item(1))) == 2


async def test_readiness_flips_at_once_and_requests_are_refused_while_the_worker_is_away():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock) as subject:
        clock.let_go.clear()
        with pytest.raises(EngineFailedError):
            await subject.infer(item(DEADLY))
        assert (subject.health().ready, subject.health().worker) == (False, "restarting")
        assert not (await subject.check_ready()).ready
        with pytest.raises(EngineFailedError, match="being restarted") as refused:
            await subject.infer(item(1))
        assert refused.value.retry_after_s == 1
        clock.let_go.set()
        await until(lambda: subject.health().ready)
        assert (await subject.check_ready()).ready
        assert "the device is gone" in (subject.health().last_error or "")


async def test_pauses_between_restarts_double_up_to_their_maximum():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, restart_backoff_s=1, restart_backoff_max_s=10) as subject:
        factory.failures = [BundleError("gone"), MemoryError(), RuntimeError("no"), SystemExit(3), OSError("disk")]
        with pytest.raises(EngineFailedError):
            await subject.infer(item(DEADLY))
        await until(lambda: subject.health().ready)
        assert clock.pauses == [1, 2, 4, 8, 10, 10]
        assert subject.stats().restarts == 6
        assert score(await subject.infer(item(1))) == 2


async def test_a_worker_that_held_out_starts_over_with_the_shortest_pause():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, restart_backoff_s=1, restart_backoff_max_s=10) as subject:
        for wait_s in (0, 0, 11):
            clock.seconds += wait_s
            with pytest.raises(EngineFailedError):
                await subject.infer(item(DEADLY))
            await until(lambda: subject.health().ready)
        assert clock.pauses == [1, 2, 1]


async def test_hung_threads_are_not_piled_up():
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock, heartbeat_timeout_s=0.05, hung_max=HUNG_MAX) as subject:
        for _ in range(HUNG_MAX):
            factory.now.gate.clear()
            with pytest.raises(EngineFailedError):
                await subject.infer(item(1))
            if len(model_threads()) < HUNG_MAX:
                await until(lambda: subject.health().ready)
        await until(lambda: "threads hang; restart the service" in (subject.health().last_error or ""))
        assert len(model_threads()) == HUNG_MAX
        assert subject.stats().hung == HUNG_MAX
        readiness = await subject.check_ready()
        assert (readiness.ready, readiness.reason) == (False, f"{HUNG_MAX} model threads hang; restart the service")
        for runtime in factory.built:
            runtime.gate.set()
        await until(lambda: subject.health().ready)
    assert model_threads() == []


async def test_past_the_limit_of_hung_threads_somebody_is_told_once_and_readiness_is_false_by_then(caplog):
    factory, clock = Factory(), SteppingClock()
    told = []
    async with engine(factory, clock=clock, heartbeat_timeout_s=0.05, hung_max=1, instances=2) as subject:

        def on_fatal(reason):
            told.append((reason, subject.health().ready))

        subject.on_fatal = on_fatal
        hung = factory.built[0]
        hung.gate.clear()
        with pytest.raises(EngineFailedError):
            await subject.infer(item(1))
        await until(lambda: bool(told))
        assert told == [("1 model threads hang; restart the service", False)]
        assert score(await subject.infer(item(2))) == 3, "the other one goes on until somebody ends it"
        assert [record.levelname for record in caplog.records if "restart the service" in record.message] == [
            "CRITICAL"
        ]
        hung.gate.set()
        await until(lambda: subject.health().ready)
        assert (await subject.check_ready()).ready
    assert len(told) == 1


async def test_a_thread_that_never_returns_does_not_hold_up_a_stop(monkeypatch, caplog):
    monkeypatch.setattr("gnn_service.inference.left_behind.JOIN_S", 0.05)
    factory = Factory()
    subject = engine(factory, drain_timeout_s=0.05)
    await subject.start()
    factory.now.forget()
    with factory.now.held():
        task = asyncio.create_task(subject.infer(item(1)))
        await factory.now.busy()
        async with asyncio.timeout(10):
            await subject.stop()
        with pytest.raises(EngineStoppedError):
            await task
        assert "1 model threads hang and were left behind" in caplog.text
    await until(lambda: model_threads() == [])


async def test_a_model_that_cannot_be_loaded_says_so_and_leaves_nothing_running():
    for failure, wanted, message in [
        (BundleError("the graph is damaged"), BundleError, "the graph is damaged"),
        (RuntimeError("boom\nmore"), EngineFailedError, "the model cannot be loaded: RuntimeError: boom"),
        (SystemExit(1), EngineFailedError, "the model cannot be loaded: SystemExit: 1"),
    ]:
        subject = engine(Factory(failure))
        with pytest.raises(wanted) as refused:
            await subject.start()
        assert str(refused.value) == message
        assert subject.health().last_error == message
        assert model_threads() == []


async def test_a_model_that_fails_its_warm_up_does_not_start():
    def break_it(runtime):
        runtime.broken = True

    with pytest.raises(EngineFailedError, match="fails its warm-up: ValueError: cannot digest this"):
        await engine(Factory(prepare=break_it)).start()
    assert model_threads() == []


async def test_a_model_that_takes_too_long_to_load_is_given_up():
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow():
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(20)
        return Factory()()

    with pytest.raises(EngineFailedError, match=r"not ready within 0\.05 s"):
        await engine(slow, start_timeout_s=0.05).start()
    released.set()
    await until(lambda: model_threads() == [])


async def test_a_runtime_that_fails_to_close_does_not_hold_up_a_stop(caplog):
    factory = Factory()
    async with engine(factory) as subject:

        def close():
            raise OSError("device busy")

        factory.now.close = close  # type: ignore[method-assign]
        await subject.infer(item(1))
    assert model_threads() == []
    assert "closing the model's runtime failed" in caplog.text


async def test_a_defect_in_the_engines_own_loop_fails_the_waiters_and_is_recovered_from(caplog):
    factory = Factory()
    async with engine(factory) as subject:
        take = subject._now.batcher.take
        subject._now.batcher.take = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
        with pytest.raises(EngineFailedError, match="ZeroDivisionError"):
            await subject.infer(item(1))
        subject._now.batcher.take = take  # type: ignore[method-assign]
        await until(lambda: subject.health().ready)
        assert score(await subject.infer(item(2))) == 3
    assert "the engine's loop failed" in caplog.text


async def test_should_the_supervisor_itself_fail_nobody_is_left_waiting():
    class BrokenClock(SteppingClock):
        async def sleep(self, seconds: float) -> None:
            raise OSError("no timers")

    subject = engine(Factory(), clock=BrokenClock())
    await subject.start()
    with pytest.raises(EngineFailedError):
        await subject.infer(item(DEADLY))
    await until(lambda: subject.health().worker == "stopped")
    with pytest.raises(EngineStoppedError):
        await subject.infer(item(1))
    assert "no timers" in (subject.health().last_error or "")
    await subject.stop()
    assert model_threads() == []


async def test_a_stop_while_the_worker_is_away_ends_at_once():
    factory, clock = Factory(), SteppingClock()
    subject = engine(factory, clock=clock)
    await subject.start()
    clock.let_go.clear()
    with pytest.raises(EngineFailedError):
        await subject.infer(item(DEADLY))
    async with asyncio.timeout(4):  # the drain limit is 5 s
        await subject.stop()
    assert model_threads() == []
