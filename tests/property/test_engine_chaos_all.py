"""All troubles at once under load: every request ends once, in time, with its own answer; nothing is left behind."""

import asyncio
import contextlib
import gc
import time
from functools import partial
from pathlib import Path

import pytest

from gnn_service.inference.batcher import Request
from gnn_service.inference.engine import Engine
from tests.support.chaos import KINDS, Crowd, Fleet, JumpingClock, Saboteur
from tests.support.inference import item, model_threads, score, settings, until

SECONDS = 5.0
CALLERS = 40
LATE_S = 3.0
"""A machine that is busy with other tests may hold everything up this long."""


def descriptors():
    with contextlib.suppress(FileNotFoundError):  # where there is no procfs
        return len(list(Path("/proc/self/fd").iterdir()))
    return 0


def settled(subject):
    return subject.health().ready and not subject.health().swapping


def timers(loop):
    return [handle for handle in loop._scheduled if not handle.cancelled()]


async def storm(subject, fleet, clock, seed):
    end = time.monotonic() + SECONDS
    crowd = Crowd(subject, seed)
    saboteur = Saboteur(subject, fleet, clock, crowd, seed)
    async with asyncio.timeout(SECONDS + 20):
        await asyncio.gather(saboteur.work(end), *(crowd.call(end) for _ in range(CALLERS)))
    fleet.calm()
    return crowd, saboteur


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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(4))
async def test_every_request_ends_once_in_time_and_with_its_own_answer_whatever_happens(seed):
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    tasks, files, rings = asyncio.all_tasks(), descriptors(), len(timers(loop))
    fleet, clock = Fleet(), JumpingClock()
    changes = {"instances": 2, "queue_max": 32, "heartbeat_timeout_s": 0.3, "hung_max": 16, "shadow_fraction": 0.5}
    breaker = {"minimum_calls": 10, "open_s": 0.3, "window_s": 2}
    chosen = settings(**changes, warmup_iterations=1, drain_timeout_s=5, breaker=breaker)
    async with Engine(fleet.spec("a"), chosen, clock=clock) as subject:
        crowd, saboteur = await storm(subject, fleet, clock, seed)
        assert crowd.wrong == []
        assert max(crowd.late) < LATE_S
        check_counts(crowd, subject.stats())
        stats = subject.stats()
        assert (stats.in_flight, stats.queue_depth) == (0, 0)
        assert stats.total_s.count == stats.ended["answered"]  # type: ignore[index]
        assert stats.batch_size.count == stats.batches
        assert min(saboteur.done.values()) >= 1
        assert stats.hung > 0
        assert stats.restarts > 0
        assert stats.swaps + stats.failed_swaps > 0
        await until(partial(settled, subject))
        assert score(await subject.infer(item(1), timeout_s=10)) in {2, 100_002}
        assert (await subject.check_ready()).ready
    await until(lambda: model_threads() == [])
    assert asyncio.all_tasks() == tasks
    assert len(timers(loop)) <= rings
    assert descriptors() <= files
    del crowd, saboteur, subject
    await asyncio.sleep(0)
    gc.collect()
    assert [thing for thing in gc.get_objects() if type(thing) is Request] == []
    assert complaints == []
