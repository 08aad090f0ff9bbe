"""Whatever is written when, and wherever the upkeep is cut off: in the end the roll-ups are those of the frames."""

import asyncio
import random

import numpy as np
import pytest

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db import upkeep as module
from gnn_service.db import upkeep_rolling
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.upkeep import Upkeep
from tests.support.rolled import assert_rolled_up, kept_by_timescale
from tests.support.stored import SECOND, START_US, pump, sensor

FOR_EVER = UpkeepSettings(frames_days=None, minutes_days=None, hours_days=None, diagnoses_days=None)
SPAN_S = 3 * 3600


@pytest.fixture(autouse=True)
async def by_the_service(runner):
    async with runner.pool.acquire() as con:
        if await kept_by_timescale(con):
            pytest.skip("TimescaleDB keeps the roll-ups of this server")


class Writers:
    """Machines whose readings come late, twice, in part and under changed descriptions."""

    def __init__(self, runner, seed):
        self.machines, self.readings = MachineRepository(runner), ReadingRepository(runner)
        self.draw = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.tags = ["A", "B", "C", "D"]

    async def write(self):
        name = self.draw.choice(["M1", "M2"])
        tags = self.draw.sample(self.tags, self.draw.randint(1, 4))
        slow = sensor("T", rate_hz=0.1)
        stored = (await self.machines.put(pump(*map(sensor, tags), slow, name=name))).stored
        first = self.draw.randrange(SPAN_S)
        ticks = np.unique(self.numbers.integers(first, first + self.draw.choice([1, 10, 4000]), 200))
        times = START_US + ticks.astype(np.int64) * SECOND
        values = self.numbers.normal(100, 30, (len(times), len(tags))).astype(np.float32)
        values[self.numbers.random(values.shape) < 0.4] = np.nan
        await self.readings.store(stored.blocks(times, tuple(tags), values))
        temperature = self.numbers.normal(40, 3, (len(times[::10]), 1)).astype(np.float32)
        await self.readings.store(stored.blocks(times[::10], ("T",), temperature))


@pytest.mark.parametrize("seed", range(4))
async def test_late_and_merged_frames_end_in_the_roll_ups(runner, seed, monkeypatch):
    monkeypatch.setattr(upkeep_rolling, "BATCH_VALUES", 20_000)
    monkeypatch.setattr(module, "BATCH_VALUES", 20_000)
    writers, upkeep = Writers(runner, seed), Upkeep(runner, FOR_EVER)
    for _ in range(12):
        await writers.write()
        if writers.draw.random() < 0.4:
            await upkeep.round()
    while (await upkeep.round()).more:
        pass
    async with runner.pool.acquire() as con:
        await assert_rolled_up(con, 200)
        assert await con.fetchval("select count(*) from rollup_due") == 0
        assert await con.fetchval("select count(*) from rollup_stale") == 0


@pytest.mark.parametrize("seed", range(3))
async def test_writers_and_several_upkeeps_at_once_miss_nothing(runner, seed, monkeypatch):
    """Writers commit at any moment of a round; rounds of two processes overlap and are cut off."""
    monkeypatch.setattr(module, "BATCH_VALUES", 5_000)
    monkeypatch.setattr(module, "_NOTES", 3)
    writers = [Writers(runner, 10 * seed + n) for n in range(2)]
    writing = [asyncio.create_task(some_writes(one)) for one in writers]
    keeping = [asyncio.create_task(cut_off_rounds(Upkeep(runner, FOR_EVER), seed + n)) for n in range(2)]
    await asyncio.gather(*writing)
    for task in keeping:
        task.cancel()
    await asyncio.wait(keeping, timeout=10)
    upkeep = Upkeep(runner, FOR_EVER)
    while (done := await upkeep.round()).more or done.held:
        pass
    async with runner.pool.acquire() as con:
        await assert_rolled_up(con, 200)


async def some_writes(writers):
    for _ in range(8):
        await writers.write()
        await asyncio.sleep(writers.draw.random() * 0.02)


async def cut_off_rounds(upkeep, seed):
    draw = random.Random(seed)
    while True:
        try:
            async with asyncio.timeout(draw.random() * 0.2):
                await upkeep.round()
        except TimeoutError:
            pass
        await asyncio.sleep(0.01)
