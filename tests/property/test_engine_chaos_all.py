"""All troubles at once under load, then a stop: every request ends once, in time, with its own answer; nothing is left.

A minute in all. For more of it by hand::

    GNN_TEST_CHAOS_SEEDS=12-41 GNN_TEST_CHAOS_SECONDS=20 make test ARGS=tests/property/test_engine_chaos_all.py
"""

import asyncio
import contextlib
import gc
import os
import random
import time
from pathlib import Path

import pytest

from gnn_service.core.errors import EngineStoppedError
from gnn_service.inference import left_behind
from gnn_service.inference.batcher import Request
from gnn_service.inference.engine import Engine
from tests.support.chaos import KINDS, Crowd, Fleet, JumpingClock
from tests.support.inference import item, model_threads, settings, until
from tests.support.saboteur import MOMENTS, Saboteur

FIRST, LAST = map(int, os.environ.get("GNN_TEST_CHAOS_SEEDS", "0-11").split("-"))
SECONDS = float(os.environ.get("GNN_TEST_CHAOS_SECONDS", "5"))
"""Of trouble, for each seed, besides what it takes to settle and to stop."""
CALLERS = 40
HUNG_MAX = 8
LATE_S = 0.1
"""After the deadline, besides a few turns of an event loop that stands still now and then."""
BUSY_S = 3.0
"""A machine that is busy with other tests may hold a stop up this long."""


def descriptors():
    with contextlib.suppress(FileNotFoundError):  # where there is no procfs
        return len(list(Path("/proc/self/fd").iterdir()))
    return 0


def timers(loop):
    return [handle for handle in loop._scheduled if not handle.cancelled()]


async def settled(subject):
    """Whether it has come back from everything, with the callers still there."""
    async with asyncio.timeout(20):
        while subject.health().swapping or not (await subject.check_ready()).ready:  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.01)


async def stalls(worst):
    """Note the longest time, in seconds, for which the event loop did not turn."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.002)
        worst[0] = max(worst[0], time.monotonic() - before)


async def storm(subject, fleet, clock, seed):
    """Trouble, a pause in which the engine must recover, trouble again, and a stop in the middle of it."""
    crowd = Crowd(subject, seed)
    saboteur, chance = Saboteur(subject, fleet, clock, crowd, seed), random.Random(seed + 2000)
    worst = [0.0]
    watching = asyncio.create_task(stalls(worst))
    callers = [asyncio.create_task(crowd.call()) for _ in range(CALLERS)]
    first_s = SECONDS * chance.uniform(0.5, 0.8)
    await saboteur.work(first_s)
    fleet.calm()
    await settled(subject)
    working = asyncio.create_task(saboteur.work(SECONDS))
    await asyncio.sleep((SECONDS - first_s) * chance.random())
    await getattr(saboteur, MOMENTS[seed % len(MOMENTS)])()
    began = time.monotonic()
    if chance.random() < 0.4:  # whoever stops it gives up waiting, and comes back
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.random() * 0.02):
                await subject.stop()
    await asyncio.gather(subject.stop(), subject.stop())
    stop_s, saboteur.over, threads = time.monotonic() - began, True, len(model_threads())
    await asyncio.sleep(0.02)  # they go on asking
    assert not saboteur.waiting, "whoever waits for another model hears of the stop"
    crowd.over = True
    await asyncio.gather(working, *callers)
    await saboteur.leave()
    watching.cancel()
    assert max(crowd.late) < LATE_S + 4 * worst[0]
    return crowd, saboteur, stop_s, threads


def check_counts(crowd, stats):
    """Every request is counted once, as what its caller saw."""
    assert stats.requests == crowd.issued
    left = {ending.value: count for ending, count in stats.ended.items()}
    for ending, count in crowd.futures.items():
        left[ending] -= count
    left["answered"] -= crowd.tasks[object]
    for kind, endings in KINDS.items():
        told = crowd.refused[kind] + crowd.tasks[kind]
        for ending in endings:
            share = min(told, left[ending])
            left[ending] -= share
            told -= share
        assert told == 0, f"{told} callers were told {kind.__name__} and not counted"
    # a task that was cancelled in the instant of its answer is counted as what the engine made of it
    assert min(left.values()) >= 0
    assert sum(left.values()) == crowd.tasks[asyncio.CancelledError]
    assert stats.total_s.count == stats.ended["answered"]
    assert stats.batch_size.count == stats.batches
    assert (stats.in_flight, stats.queue_depth) == (0, 0)
    shadow = stats.shadow
    assert shadow.compared + shadow.failed + shadow.dropped <= stats.ended["answered"]


def check_troubles(saboteur, stats, *, hangs):
    """All of them happened, and every exchange of the model is counted once, as what it was."""
    assert {trouble.__name__ for trouble in saboteur.troubles} == set(saboteur.done)
    assert stats.hung >= HUNG_MAX or not hangs
    assert stats.restarts > 0
    assert stats.swaps == saboteur.exchanged.total()
    assert stats.roll_backs == saboteur.exchanged["roll_back"]
    begun = saboteur.tried - sum(saboteur.refused.values())
    assert stats.swaps <= begun + saboteur.refused[EngineStoppedError]


@pytest.mark.timeout(SECONDS + 55)
@pytest.mark.parametrize("seed", range(FIRST, LAST + 1))
async def test_every_request_ends_once_in_time_and_with_its_own_answer_whatever_happens(seed, monkeypatch):
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    tasks, files, rings = asyncio.all_tasks(), descriptors(), len(timers(loop))
    hangs = MOMENTS[seed % len(MOMENTS)] == "hung_for_good"
    if hangs:
        monkeypatch.setattr(left_behind, "JOIN_S", 0.3)
    fleet, clock, drain_s = Fleet(), JumpingClock(), random.Random(seed).choice([0.01, 0.5, 5.0])
    changes = {
        "instances": 2,
        "queue_max": 32,
        "heartbeat_timeout_s": 0.5,
        "hung_max": HUNG_MAX,
        "shadow_fraction": 0.5,
    }
    breaker = {"minimum_calls": 10, "open_s": 0.3, "window_s": 2}
    chosen = settings(**changes, warmup_iterations=1, drain_timeout_s=drain_s, breaker=breaker)
    async with Engine(fleet.spec("a"), chosen, clock=clock, start_timeout_s=2) as subject:
        crowd, saboteur, stop_s, threads = await storm(subject, fleet, clock, seed)
        assert crowd.wrong == []
        assert stop_s < drain_s + left_behind.JOIN_S + BUSY_S
        check_counts(crowd, subject.stats())
        check_troubles(saboteur, subject.stats(), hangs=hangs)
        assert (threads > 0) == hangs
        assert subject.health().worker == "stopped"
        with pytest.raises(EngineStoppedError):
            subject.submit(item(1))
    await until(lambda: model_threads() == [])
    assert all(runtime.closed for runtime in fleet.built)
    assert asyncio.all_tasks() == tasks
    assert len(timers(loop)) <= rings
    assert descriptors() <= files
    del crowd, saboteur, subject
    await asyncio.sleep(0)
    gc.collect()
    assert [thing for thing in gc.get_objects() if type(thing) is Request] == []
    assert complaints == []
