"""Two things are opened at once, and each is left in the task that opened it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gnn_service.api.beside import begun


class Thing:
    """Notes what becomes of it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.last: Exception | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        self.told.append("opening")
        task = asyncio.current_task()
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            self.told.append("open")
            yield "value"
        finally:
            assert asyncio.current_task() is task
            self.told.append("closed")
            if self.last is not None:
                raise self.last


async def test_it_is_opened_beside_and_closed_in_the_end():
    thing = Thing()
    async with begun(thing.opened()) as value:
        await asyncio.sleep(0)
        assert thing.told == ["opening"]
        thing.gate.set()
        assert await value() == "value"
        assert await value() == "value"
    assert thing.told == ["opening", "open", "closed"]


async def test_what_fails_as_it_opens_is_raised_to_whoever_waits():
    thing = Thing()
    thing.error = ValueError("no")
    thing.gate.set()
    with pytest.raises(ValueError, match="no"):
        async with begun(thing.opened()) as value:
            await value()
    assert thing.told == ["opening", "closed"]


async def test_what_fails_as_it_closes_is_raised():
    thing = Thing()
    thing.last = ValueError("late")
    thing.gate.set()
    with pytest.raises(ValueError, match="late"):
        async with begun(thing.opened()) as value:
            await value()


@pytest.mark.parametrize("waits", [True, False])
async def test_whoever_leaves_before_it_is_open_ends_the_opening(waits: bool):
    thing = Thing()

    async def use() -> None:
        async with begun(thing.opened()) as value:
            await (value() if waits else asyncio.Event().wait())

    task = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert thing.told == ["opening", "closed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_beside_it_closes_it():
    thing = Thing()
    thing.gate.set()

    async def use() -> None:
        async with begun(thing.opened()) as value:
            await value()
            raise RuntimeError("other")

    with pytest.raises(RuntimeError, match="other"):
        await use()
    assert thing.told == ["opening", "open", "closed"]
