"""Frames written, merged and read back."""

import asyncio

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError, InvalidMachineError
from gnn_service.db import frame_writing
from gnn_service.db import readings as module
from gnn_service.db.frames import FrameBlock
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository, Stored
from tests.support.stored import SECOND, START_US, pump, sensor, ticks

NAN = np.nan


@pytest.fixture(autouse=True, params=[1, 10**9], ids=["copied", "inserted"])
def way_in(request, monkeypatch):
    """Many frames and few take different ways into the table; what holds for one holds for the other."""
    monkeypatch.setattr(frame_writing, "COPY_FRAMES", request.param)


async def made(runner, *sensors, name="M1"):
    return (await MachineRepository(runner).put(pump(*sensors, name=name))).stored


def rows(values):
    return np.asarray(values, np.float32)


async def everything(runner, stored):
    parts = [part async for part in ReadingRepository(runner).read(stored, START_US - 10**12, START_US + 10**12)]
    if not parts:
        return np.empty(0, np.int64), np.empty((0, len(stored.machine.sensors)), np.float32)
    return np.concatenate([part.times for part in parts]), np.concatenate([part.values for part in parts])


async def test_frames_come_back_bit_by_bit(runner):
    stored = await made(runner, sensor("A"), sensor("B"))
    readings = ReadingRepository(runner)
    values = rows([[1.1, -0.0], [NAN, 3.5], [np.inf, -np.inf]])
    counts = await readings.store(stored.blocks(ticks(3), ("A", "B"), values))
    assert counts == (Stored(stored=3),)
    window = await readings.window(stored, ticks=10)
    assert window.sensors == ("A", "B")
    assert window.times.tolist() == ticks(3).tolist()
    assert window.values.tobytes() == values.tobytes()


async def test_new_frames_take_one_turn_with_the_database(runner):
    stored = await made(runner, sensor("A"))
    readings = ReadingRepository(runner)
    await readings.store(stored.blocks(ticks(1), ("A",), rows([[1]])))
    runner.calls.clear()
    await readings.store(stored.blocks(ticks(5, first=1), ("A",), np.ones((5, 1), np.float32)))
    assert runner.calls == ["reading.store"]


async def test_the_same_again_changes_nothing(runner):
    stored = await made(runner, sensor("A"))
    readings = ReadingRepository(runner)
    block = stored.blocks(ticks(4), ("A",), rows([[1], [2], [3], [4]]))
    await readings.store(block)
    assert await readings.store(block) == (Stored(unchanged=4),)


async def test_late_values_complete_a_frame_and_missing_ones_take_nothing_away(runner):
    stored = await made(runner, sensor("A"), sensor("B"))
    readings = ReadingRepository(runner)
    await readings.store(stored.blocks(ticks(2), ("A",), rows([[1], [2]])))
    late = stored.blocks(ticks(3), ("A", "B"), rows([[NAN, 10], [7, NAN], [NAN, 30]]))
    assert await readings.store(late) == (Stored(stored=1, merged=2),)
    _, values = await everything(runner, stored)
    assert np.array_equal(values, rows([[1, 10], [7, NAN], [NAN, 30]]), equal_nan=True)


async def test_two_blocks_of_one_call_may_have_the_same_ticks(runner):
    stored = await made(runner, sensor("A"), sensor("B"))
    readings = ReadingRepository(runner)
    first = stored.blocks(ticks(2), ("A",), rows([[1], [2]]))
    second = stored.blocks(ticks(2, first=1), ("B",), rows([[5], [6]]))
    assert await readings.store((*first, *second)) == (Stored(stored=2), Stored(stored=1, merged=1))
    _, values = await everything(runner, stored)
    assert np.array_equal(values, rows([[1, NAN], [2, 5], [NAN, 6]]), equal_nan=True)


async def test_a_frame_of_an_older_layout_loses_nothing_to_a_newer_one(runner):
    readings = ReadingRepository(runner)
    before = await made(runner, sensor("A"), sensor("B"))
    await readings.store(before.blocks(ticks(2), ("A", "B"), rows([[1, 2], [3, 4]])))
    after = await made(runner, sensor("B"), sensor("C"))
    late = after.blocks(ticks(2), ("B", "C"), rows([[NAN, 20], [40, 50]]))
    assert await readings.store(late) == (Stored(merged=2),)
    _, values = await everything(runner, after)
    assert np.array_equal(values, rows([[2, 20], [40, 50]]), equal_nan=True)
    again = await made(runner, sensor("A"), sensor("B"), sensor("C"))
    _, values = await everything(runner, again)
    assert np.array_equal(values, rows([[1, 2, 20], [3, 40, 50]]), equal_nan=True)
    assert await readings.store(late) == (Stored(unchanged=2),)


async def test_values_of_the_former_unit_do_not_mix_with_the_new(runner):
    readings = ReadingRepository(runner)
    bar = await made(runner, sensor("A"), sensor("B"))
    await readings.store(bar.blocks(ticks(1), ("A", "B"), rows([[1, 2]])))
    pascal = await made(runner, sensor("A", unit="Pa"), sensor("B"))
    await readings.store(pascal.blocks(ticks(1, first=1), ("A", "B"), rows([[100_000, 2]])))
    _, values = await everything(runner, pascal)
    assert np.array_equal(values, rows([[NAN, 2], [100_000, 2]]), equal_nan=True)


async def test_ticks_of_sensors_that_are_gone_are_no_ticks_of_the_machine(runner):
    readings = ReadingRepository(runner)
    before = await made(runner, sensor("A"))
    await readings.store(before.blocks(ticks(3), ("A",), rows([[1], [2], [3]])))
    after = await made(runner, sensor("B"))
    await readings.store(after.blocks(ticks(1, first=3), ("B",), rows([[4]])))
    window = await readings.window(after, ticks=4)
    assert window.times.tolist() == ticks(4)[3:].tolist()
    times, values = await everything(runner, after)
    assert (times.tolist(), values.tolist()) == (ticks(4)[3:].tolist(), [[4.0]])


async def test_sensors_of_several_rates_stand_on_one_grid(runner):
    stored = await made(runner, sensor("SLOW", rate_hz=1), sensor("FAST", rate_hz=2))
    readings = ReadingRepository(runner)
    times = ticks(6, step_us=SECOND // 2)
    values = rows([[i if i % 2 == 0 else NAN, 10 + i] for i in range(6)])
    counts = await readings.store(stored.blocks(times, ("SLOW", "FAST"), values))
    assert counts == (Stored(stored=6), Stored(stored=3))
    window = await readings.window(stored, ticks=4)
    assert window.times.tolist() == times[2:].tolist()
    assert np.array_equal(window.values, values[2:], equal_nan=True)


async def test_the_window_ends_where_it_is_told_to(runner):
    stored = await made(runner, sensor("A"))
    readings = ReadingRepository(runner)
    await readings.store(stored.blocks(ticks(100), ("A",), np.arange(100, dtype=np.float32)[:, None]))
    window = await readings.window(stored, ticks=5, until_us=START_US + 50 * SECOND)
    assert window.values[:, 0].tolist() == [46, 47, 48, 49, 50]


async def test_a_window_over_a_change_of_sensors_has_the_columns_of_now(runner):
    readings = ReadingRepository(runner)
    before = await made(runner, sensor("A"), sensor("B"))
    await readings.store(before.blocks(ticks(2), ("A", "B"), rows([[1, 2], [3, 4]])))
    after = await made(runner, sensor("C"), sensor("A"))
    await readings.store(after.blocks(ticks(1, first=2), ("C", "A"), rows([[9, 5]])))
    window = await readings.window(after, ticks=3)
    assert window.sensors == ("C", "A")
    assert np.array_equal(window.values, rows([[NAN, 1], [NAN, 3], [9, 5]]), equal_nan=True)


async def test_a_machine_without_readings_has_an_empty_window(runner):
    stored = await made(runner, sensor("A"))
    window = await ReadingRepository(runner).window(stored)
    assert (window.times.shape, window.values.shape) == ((0,), (0, 1))
    bare = await made(runner, name="M2")
    assert (await ReadingRepository(runner).window(bare)).values.shape == (0, 0)


async def test_a_stretch_comes_in_chunks_that_cut_no_tick(runner, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_VALUES", 30)
    stored = await made(runner, sensor("A"), sensor("B", rate_hz=10), sensor("C", rate_hz=10))
    readings = ReadingRepository(runner)
    times = ticks(200, step_us=SECOND // 10)
    values = np.arange(600, dtype=np.float32).reshape(200, 3)
    values[:, 0][np.arange(200) % 10 != 0] = NAN
    await readings.store(stored.blocks(times, ("A", "B", "C"), values))
    parts = [part async for part in readings.read(stored, int(times[3]), int(times[150]))]
    assert len(parts) > 10
    assert max(part.values.size for part in parts) <= 90
    assert np.concatenate([part.times for part in parts]).tolist() == times[3:150].tolist()
    assert np.array_equal(np.concatenate([part.values for part in parts]), values[3:150], equal_nan=True)


async def test_long_blocks_are_stored_in_pieces_and_counted_whole(runner, monkeypatch):
    monkeypatch.setattr(module, "STORE_VALUES", 64)
    stored = await made(runner, sensor("A"), sensor("B"))
    other = await made(runner, sensor("A"), name="M2")
    values = np.arange(300, dtype=np.float32).reshape(150, 2)
    blocks = (
        *stored.blocks(ticks(150), ("A", "B"), values),
        *other.blocks(ticks(5), ("A",), values[:5, :1]),
    )
    counts = await ReadingRepository(runner).store(blocks)
    assert counts == (Stored(stored=150), Stored(stored=5))
    times, back = await everything(runner, stored)
    assert len(times) == 150
    assert np.array_equal(back, values)


async def test_the_newest_time_of_each_machine(runner):
    readings = ReadingRepository(runner)
    first, second, third = [await made(runner, sensor("A"), sensor("B", rate_hz=5), name=n) for n in ("X", "Y", "Z")]
    await readings.store(first.blocks(ticks(3), ("A",), np.ones((3, 1), np.float32)))
    await readings.store(second.blocks(ticks(2), ("B",), np.ones((2, 1), np.float32)))
    expected = {first.machine_id: START_US + 2 * SECOND, second.machine_id: START_US + SECOND}
    assert await readings.newest() == expected
    assert await readings.newest([second.machine_id, third.machine_id]) == {second.machine_id: START_US + SECOND}


async def test_what_was_touched_is_marked_for_the_roll_ups_machine_by_machine(runner):
    readings = ReadingRepository(runner)
    first, second = [await made(runner, sensor("A"), name=name) for name in ("X", "Y")]
    one = np.ones((3, 1), np.float32)
    await readings.store((*first.blocks(ticks(3), ("A",), one), *second.blocks(ticks(3, first=90), ("A",), one)))
    await readings.store(first.blocks(ticks(3), ("A",), one))  # nothing new
    await readings.store(first.blocks(ticks(3), ("A",), rows([[1], [2], [1]])))
    async with runner.pool.acquire() as con:
        marks = await con.fetch("select machine_ids, from_ts, to_ts from rollup_stale order by stale_id")
    at = ticks(200)
    assert [(m["machine_ids"], m["from_ts"].tolist(), m["to_ts"].tolist()) for m in marks] == [
        ([first.machine_id, second.machine_id], [at[0], at[90]], [at[2], at[92]]),
        ([first.machine_id], [at[1]], [at[1]]),
    ]


async def test_frames_of_a_deleted_machine_are_refused_and_their_neighbours_stored(runner):
    readings = ReadingRepository(runner)
    gone, kept = [await made(runner, sensor("A"), name=name) for name in ("X", "Y")]
    one = np.ones((2, 1), np.float32)
    await readings.store(gone.blocks(ticks(1), ("A",), one[:1]))  # the layouts are in memory now
    await MachineRepository(runner).delete("X")
    blocks = (*gone.blocks(ticks(2), ("A",), one), *kept.blocks(ticks(2), ("A",), one))
    assert await readings.store(blocks) == (Stored(refused=2), Stored(stored=2))
    unknown = FrameBlock(gone.machine_id, 0, 999_999, ticks(2), one)
    assert await readings.store((unknown, *blocks)) == (Stored(refused=2), Stored(refused=2), Stored(unchanged=2))


async def test_a_block_that_does_not_fit_its_layout_is_an_error(runner):
    stored = await made(runner, sensor("A"), sensor("B"))
    layout = stored.groups[0].layout_id
    for bad in (
        FrameBlock(stored.machine_id, 0, layout, ticks(1), rows([[1]])),
        FrameBlock(stored.machine_id, 1, layout, ticks(1), rows([[1, 2]])),
        FrameBlock(stored.machine_id + 1, 0, layout, ticks(1), rows([[1, 2]])),
    ):
        with pytest.raises(InvalidInputError, match="layout"):
            await ReadingRepository(runner).store((bad,))


async def test_a_tag_that_the_machine_has_not_is_refused(runner):
    stored = await made(runner, sensor("A"))
    with pytest.raises(InvalidMachineError, match="Z"):
        stored.blocks(ticks(1), ("Z",), rows([[1]]))


async def test_writers_of_the_same_ticks_lose_nothing_to_each_other(runner):
    tags = [f"S{i}" for i in range(8)]
    stored = await made(runner, *map(sensor, tags))
    readings = ReadingRepository(runner)

    async def write(tag, value):
        await readings.store(stored.blocks(ticks(40), (tag,), np.full((40, 1), value, np.float32)))

    await asyncio.gather(*(write(tag, value) for value, tag in enumerate(tags)))
    _, values = await everything(runner, stored)
    assert np.array_equal(values, np.tile(np.arange(8, dtype=np.float32), (40, 1)))


async def test_nothing_to_store_is_no_work(runner):
    stored = await made(runner, sensor("A"))
    empty = FrameBlock(stored.machine_id, 0, stored.groups[0].layout_id, ticks(0), np.empty((0, 1), np.float32))
    assert await ReadingRepository(runner).store(()) == ()
    assert await ReadingRepository(runner).store((empty,)) == (Stored(),)
    assert stored.blocks(ticks(2), ("A",), np.full((2, 1), NAN, np.float32)) == ()
