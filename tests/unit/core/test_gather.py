"""Group commit: batches, bounds, and an answer of its own for everybody."""

import asyncio

import pytest

from gnn_service.core.errors import ConflictError, OverloadedError, UnavailableError
from gnn_service.core.gather import Gather


class Work:
    def __init__(self):
        self.batches = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items):
        self.batches.append(list(items))
        await self.gate.wait()
        if "bug" in items:
            raise ZeroDivisionError("oh")
        if "away" in items:
            raise UnavailableError("away", retry_after_s=3.0)
        return [ConflictError("no") if item == "wrong" else f"{item}!" for item in items]


def gather(work, **values):
    known = {"name": "test", "wait_s": 0.01, "waiting_max": 100, "batch_max": 50} | values
    return Gather(work, **known)


async def test_what_comes_together_is_one_batch_and_everybody_gets_their_own_answer():
    work = Work()
    subject = gather(work)
    subject.start()
    answers = await asyncio.gather(
        *(subject.put(f"{n}", 1) for n in range(5)), subject.put("wrong", 1), return_exceptions=True
    )
    assert answers[:5] == ["0!", "1!", "2!", "3!", "4!"]
    assert isinstance(answers[5], ConflictError)
    assert len(work.batches) == 1
    assert subject.size == 0
    assert await subject.stop(1)


async def test_a_batch_is_bounded_and_the_order_is_that_of_arrival():
    work = Work()
    subject = gather(work, batch_max=25)
    subject.start()
    await asyncio.gather(*(subject.put(n, 10) for n in range(5)), subject.put("large", 40))
    assert work.batches == [[0, 1], [2, 3], [4], ["large"]]
    await subject.stop(1)


async def test_too_much_is_refused_at_once_and_one_alone_may_be_larger():
    work = Work()
    work.gate.clear()
    subject = gather(work, wait_s=0.0)
    subject.start()
    large = asyncio.create_task(subject.put("large", 500))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await subject.put("more", 1)
    assert caught.value.retry_after_s == 1.0
    assert subject.refused_total == 1
    work.gate.set()
    assert await large == "large!"
    assert await subject.put("more", 1) == "more!"
    await subject.stop(1)


@pytest.mark.parametrize(("item", "match"), [("bug", "test failed: oh"), ("away", "away")])
async def test_what_the_work_raises_everybody_in_the_batch_gets_as_an_error_of_their_own(item, match):
    work = Work()
    subject = gather(work)
    subject.start()
    done = await asyncio.gather(subject.put(item, 1), subject.put("x", 1), return_exceptions=True)
    assert all(isinstance(error, UnavailableError) for error in done)
    assert all(match in str(error) for error in done)
    assert done[0] is not done[1]
    assert await subject.put("next", 1) == "next!"
    await subject.stop(1)


async def test_whoever_leaves_takes_nobody_along_and_gives_the_room_back():
    work = Work()
    work.gate.clear()
    subject = gather(work, wait_s=0.0)
    subject.start()
    first = asyncio.create_task(subject.put("first", 10))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(subject.put(n, 10)) for n in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    waiting[1].cancel()
    work.gate.set()
    assert await waiting[0] == "0!"
    assert await waiting[2] == "2!"
    assert work.batches == [["first"], [0, 2]]
    assert subject.size == 0
    await subject.stop(1)


async def test_a_stop_finishes_what_waits_and_refuses_what_comes():
    work = Work()
    subject = gather(work, wait_s=60.0, batch_max=10)
    subject.start()
    tasks = [asyncio.create_task(subject.put(n, 10)) for n in range(3)]
    await asyncio.sleep(0)
    stopping = asyncio.create_task(subject.stop(5))
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="not running"):
        await subject.put("late", 1)
    assert await asyncio.gather(*tasks) == ["0!", "1!", "2!"]
    assert await stopping
    assert await subject.stop(1)


async def test_a_stop_with_work_that_hangs_refuses_everybody():
    work = Work()
    work.gate.clear()
    subject = gather(work, wait_s=0.0, batch_max=1)
    subject.start()
    tasks = [asyncio.create_task(subject.put(n, 1)) for n in range(3)]
    await asyncio.sleep(0.01)
    assert not await subject.stop(0.05)
    for task in tasks:
        with pytest.raises(UnavailableError):
            await task
