"""A deadline holds whatever the work does."""

import asyncio

import pytest

from gnn_service.core.errors import DeadlineExceededError
from gnn_service.monitoring import deadline
from gnn_service.monitoring.deadline import within
from tests.support.inference import until


async def test_the_result_comes_back_and_so_does_an_error():
    async def good():
        return 5

    async def bad():
        raise ZeroDivisionError

    assert await within(1, good(), name="work") == 5
    with pytest.raises(ZeroDivisionError):
        await within(1, bad(), name="work")


async def test_work_that_takes_too_long_is_cancelled():
    ended = []

    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(DeadlineExceededError, match=r"work took longer than 0\.01 s"):
        await within(0.01, slow(), name="work")
    assert ended


async def test_work_that_finishes_while_it_is_cancelled_was_in_time():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done"

    assert await within(0.01, stubborn(), name="work") == "done"


@pytest.mark.parametrize("fails", [True, False])
async def test_work_that_does_not_heed_its_cancellation_is_left_behind(fails):
    release = asyncio.Event()

    async def deaf():
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        if fails:
            raise ZeroDivisionError

    with pytest.raises(DeadlineExceededError):
        await within(0.01, deaf(), name="work", grace_s=0.01)
    assert len(deadline._left_behind) == 1
    release.set()
    await until(lambda: not deadline._left_behind)


async def test_a_caller_that_leaves_takes_the_work_along():
    ended = asyncio.Event()

    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(within(60, slow(), name="work"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()
    await until(lambda: not deadline._left_behind)
