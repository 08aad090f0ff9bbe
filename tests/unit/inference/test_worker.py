"""The thread that owns the runtime."""

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest

from gnn_service.core.errors import BundleError
from gnn_service.inference.worker import JobFailedError, Worker, WorkerLostError, describe
from tests.support.inference import Factory, FakeRuntime, model_threads, until


@pytest.fixture
async def worker():
    factory = Factory()
    worker = Worker(factory)
    await worker.built()
    yield worker
    worker.retire()
    factory.now.gate.set()
    assert await worker.join(10)
    assert model_threads() == []


async def test_jobs_run_on_the_thread_with_the_runtime(worker):
    seen = await worker.call(lambda runtime: (runtime.name, threading.current_thread().name), 10)
    assert seen == (worker.name, "gnn-model") == ("fake", "gnn-model")


async def test_a_job_that_raises_is_its_callers_and_the_worker_goes_on(worker):
    with pytest.raises(JobFailedError, match="ZeroDivisionError") as failed:
        await worker.call(lambda _: 1 / 0, 10)
    assert isinstance(failed.value.error, ZeroDivisionError)
    assert await worker.call(lambda _: 7, 10) == 7


async def test_an_idle_thread_holds_no_arrays(worker):
    array = np.zeros(3)
    seen = weakref.ref(array)
    await worker.call(lambda _, held=array: held.sum(), 10)
    del array
    await until(lambda: seen() is None)


async def test_an_error_that_is_kept_holds_no_arrays(worker):
    array = np.zeros(3)
    seen = weakref.ref(array)

    def fail(_, held):
        work = held + 1
        raise ValueError(work.shape)

    with pytest.raises(JobFailedError) as failed:
        await worker.call(fail, 10, array)
    kept = failed.value.error
    del array, failed
    gc.collect()
    assert seen() is None
    assert isinstance(kept, ValueError)


async def test_silence_beyond_the_limit_is_a_hang(worker):
    gate = threading.Event()
    with pytest.raises(WorkerLostError, match=r"no sign of life for 0\.05 s"):
        await worker.call(lambda _: gate.wait(20), 0.05)
    assert worker.busy_s > 0
    gate.set()
    await until(lambda: worker.busy_s == 0)


async def test_an_answer_that_came_while_the_event_loop_stood_still_is_no_hang(worker):
    ran = threading.Event()

    def job(_: object) -> int:
        ran.set()
        return 7

    answer = asyncio.create_task(worker.call(job, 0.05))
    await asyncio.sleep(0)  # the job is on its way
    assert ran.wait(20)
    time.sleep(0.3)  # noqa: ASYNC251 - as a process that was stopped (SIGSTOP), or a paused machine
    assert await answer == 7


async def test_a_worker_that_is_silent_after_the_event_loop_stood_still_is_a_hang(worker):
    gate = threading.Event()
    answer = asyncio.create_task(worker.call(lambda _: gate.wait(20), 0.05))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251
    with pytest.raises(WorkerLostError, match="no sign of life"):
        await answer
    gate.set()


async def test_a_healthy_worker_that_stood_still_with_the_event_loop_has_its_time_anew(worker):
    gate = threading.Event()
    answer = asyncio.create_task(worker.call(lambda _: gate.wait(20), 1.0))
    await asyncio.sleep(0)
    time.sleep(1.3)  # noqa: ASYNC251 - a paused machine: the thread had no time either
    await asyncio.sleep(0.05)  # the timer has rung by now
    gate.set()
    assert await answer


async def test_a_loop_that_is_always_late_does_not_put_a_hang_off_for_ever(worker):
    gate = threading.Event()
    answer = asyncio.create_task(worker.call(lambda _: gate.wait(20), 0.01))
    await asyncio.sleep(0)
    for _ in range(10):
        time.sleep(0.2)  # noqa: ASYNC251 - each turn of the loop
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    noticed = answer.done()
    gate.set()
    assert noticed
    with pytest.raises(WorkerLostError, match="no sign of life"):
        await answer


async def test_an_answer_on_its_way_is_no_hang_however_often_the_timer_rings_first(worker):
    posts = []
    worker._post = lambda *call: posts.append(call)  # an event loop that runs its timers before what threads post
    answer = asyncio.create_task(worker.call(lambda _: 7, 0.05))
    await until(lambda: bool(posts))
    await asyncio.sleep(0.3)
    assert not answer.done()
    [(settle, *arguments)] = posts
    del worker._post
    settle(*arguments)
    assert await answer == 7


async def test_a_job_that_ends_the_thread_is_a_crash_for_everybody_waiting():
    exits = []
    worker = Worker(Factory(), lambda: exits.append(1))
    await worker.built()
    gate = threading.Event()

    def end(_: object) -> None:
        gate.wait(20)
        raise SystemExit(5)

    waiting = [asyncio.create_task(worker.call(end, 10)), asyncio.create_task(worker.call(lambda _: 1, 10))]
    await asyncio.sleep(0)
    gate.set()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, WorkerLostError)
        assert str(error) == "the model's worker ended: SystemExit: 5"
    assert exits == [1]
    assert worker.exited
    with pytest.raises(WorkerLostError):
        await worker.call(lambda _: 1, 10)
    assert await worker.join(10)


async def test_what_building_raises_arrives_unchanged_if_it_is_ours():
    worker = Worker(Factory(BundleError("damaged")))
    with pytest.raises(BundleError, match="damaged"):
        await worker.built()
    assert await worker.join(10)


async def test_a_retired_worker_closes_its_runtime_and_leaves():
    factory = Factory()
    worker = Worker(factory)
    await worker.built()
    worker.retire()
    worker.retire()
    assert await worker.join(10)
    assert factory.now.closed
    with pytest.raises(WorkerLostError, match="it was retired"):
        await worker.call(lambda _: 1, 10)


async def test_joining_a_busy_worker_gives_up_after_its_limit(worker):
    gate = threading.Event()
    job = asyncio.create_task(worker.call(lambda _: gate.wait(20), 20))
    await until(lambda: worker.busy_s > 0)
    worker.retire()
    assert not await worker.join(0.01)
    gate.set()
    await job


def test_a_worker_outlives_its_event_loop_without_complaint(caplog):
    gate = threading.Event()
    runtime = FakeRuntime()

    async def leave_busy() -> None:
        worker = Worker(lambda: runtime)
        await worker.built()
        with pytest.raises(WorkerLostError):
            await worker.call(lambda _: gate.wait(20), 0.01)
        worker.retire()

    asyncio.run(leave_busy())
    (thread,) = model_threads()
    gate.set()
    thread.join(20)
    assert runtime.closed
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError(), "ValueError"),
        (BundleError("damaged", where="manifest"), "manifest: damaged"),
    ],
)
def test_an_error_is_described_in_one_line(error, line):
    assert describe(error) == line
