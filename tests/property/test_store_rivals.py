"""Writers of the same machine and the same ticks at once, while its description changes under them."""

import asyncio

import numpy as np
import pytest

from gnn_service.db import frame_writing
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository
from tests.support.stored import START_US, pump, sensor, ticks

WRITERS, ROUNDS, TICKS = 4, 8, 12
TAGS = tuple(f"S{number}" for number in range(WRITERS))


@pytest.mark.parametrize("seed", range(4))
async def test_no_value_is_lost_to_a_rival_or_to_another_description(runner, seed, monkeypatch):
    """Nothing is repeated here: a deadlock, or a layout that two made at once, would be an error."""
    monkeypatch.setattr(frame_writing, "COPY_FRAMES", 1 if seed % 2 else 10**9)
    machines, readings = MachineRepository(runner), ReadingRepository(runner)
    newest: dict[tuple[int, str], float] = {}

    async def write(number: int) -> None:
        random, tag = np.random.default_rng((seed, number)), TAGS[number]
        for turn in range(ROUNDS):
            others = [other for other in TAGS if other != tag and random.random() < 0.5]
            machine = (await machines.put(pump(*map(sensor, (tag, *others))))).stored
            at = np.sort(random.choice(TICKS, random.integers(1, TICKS), replace=False))
            values = np.full((len(at), 1), 100 * number + turn, np.float32)
            await readings.store(machine.blocks(ticks(TICKS)[at], (tag,), values))
            newest.update({(int(tick), tag): float(100 * number + turn) for tick in at})

    await asyncio.gather(*map(write, range(WRITERS)))
    everything = (await machines.put(pump(*map(sensor, TAGS)))).stored
    found = {}
    async for part in readings.read(everything, START_US, START_US + 10**9):
        for row, column in zip(*np.nonzero(~np.isnan(part.values)), strict=True):
            tick = int(part.times[row] - START_US) // 10**6
            found[tick, part.sensors[column]] = float(part.values[row, column])
    assert found == newest
