"""Laws of frames: the wire keeps every bit, merging is repeatable and loses nothing, layouts agree on every sensor."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gnn_service.db.frames import FrameBlock, decode_reals, decode_times, encode_reals, encode_times
from gnn_service.db.layouts import merge, on_one_grid, remap, union
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository, Stored
from tests.support.migrated import service_address
from tests.support.postgres import TestServer
from tests.support.stored import START_US, plain_runner, pump, sensor, ticks

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
SENSORS = st.lists(st.integers(0, 12), unique=True, max_size=9)


def frames(rows, columns):
    return hnp.arrays(np.float32, (rows, columns), elements=FLOATS)


@st.composite
def two_frames(draw):
    shape = (draw(st.integers(0, 5)), draw(st.integers(0, 6)))
    return draw(frames(*shape)), draw(frames(*shape))


def same(first, second):
    return np.array_equal(first, second, equal_nan=True)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=9), elements=FLOATS))
def test_the_wire_keeps_every_bit(values):
    assert decode_reals(encode_reals(values)).tobytes() == values.tobytes()


@given(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(-(2**61), 2**61)))
def test_the_wire_keeps_every_microsecond(times):
    assert np.array_equal(decode_times(encode_times(times)), times)


@given(st.data())
def test_a_packed_block_is_the_same_block(data):
    count = data.draw(st.integers(0, 8))
    times = np.sort(data.draw(hnp.arrays(np.int64, count, elements=st.integers(0, 2**52), unique=True)))
    block = FrameBlock(3, 1, 4, times, data.draw(frames(count, data.draw(st.integers(0, 5)))))
    back = FrameBlock.unpack(block.pack())
    assert back.values.tobytes() == block.values.tobytes()
    assert back.values.shape == block.values.shape
    assert np.array_equal(back.times, times)


@given(two_frames())
def test_merging_again_changes_nothing(pair):
    old, new = pair
    merged, _ = merge(old, new)
    again, changed = merge(merged, new)
    assert same(again, merged)
    assert not changed.any()


@given(two_frames())
def test_what_is_present_stays_or_is_replaced_never_lost(pair):
    old, new = pair
    merged, changed = merge(old, new)
    assert (np.isnan(merged) == (np.isnan(old) & np.isnan(new))).all()
    assert same(merged[~np.isnan(new)], new[~np.isnan(new)])
    assert same(merged[np.isnan(new)], old[np.isnan(new)])
    assert [not same(m, o) for m, o in zip(merged, old, strict=True)] == changed.tolist()


@given(two_frames())
def test_parts_of_one_frame_make_it_in_any_order(pair):
    whole, mask = pair[0], pair[1] > 0
    left, right = np.where(mask, whole, np.nan), np.where(mask, np.nan, whole)
    nothing = np.full_like(whole, np.nan)
    one, _ = merge(merge(nothing, left)[0], right)
    other, _ = merge(merge(nothing, right)[0], left)
    assert same(one, whole)
    assert same(other, whole)


@given(st.data())
def test_a_union_of_layouts_keeps_every_value_of_both(data):
    first, second = data.draw(SENSORS), data.draw(SENSORS)
    both = union(first, second)
    assert set(both) == {*first, *second}
    assert len(both) == len(set(both))
    values = data.draw(frames(3, len(first)))
    assert same(remap(remap(values, first, both), both, first), values)
    rest = [place for place, one in enumerate(both) if one not in first]
    assert np.isnan(remap(values, first, both)[:, rest]).all()


@given(st.data())
def test_one_grid_has_every_value_at_its_time_and_sensor(data):
    parts, expected = [], {}
    taken = data.draw(st.lists(st.integers(0, 9), unique=True, max_size=9))
    for group in (taken[:3], taken[3:6], taken[6:]):
        times = np.array(sorted(data.draw(st.sets(st.integers(0, 15)))), np.int64)
        values = data.draw(frames(len(times), len(group)))
        parts.append((times, values, group))
        for (row, time), (column, one) in ((r, c) for r in enumerate(times.tolist()) for c in enumerate(group)):
            if not np.isnan(values[row, column]):
                expected[time, one] = values[row, column]
    wanted = {one: place for place, one in enumerate(data.draw(st.permutations(range(10))))}
    times, values = on_one_grid(parts, wanted)
    rows, columns = np.nonzero(~np.isnan(values))
    sensors = list(wanted)
    found = {(int(times[r]), sensors[c]): values[r, c] for r, c in zip(rows, columns, strict=True)}
    assert found == expected
    assert (np.diff(times) > 0).all()


TAGS = ("A", "B", "C", "D")
BATCH = st.tuples(
    st.lists(st.sampled_from(TAGS), unique=True, min_size=1),  # the machine's sensors then
    st.lists(st.integers(0, 6), unique=True, min_size=1).map(sorted),  # ticks
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=15)
@given(batches=st.lists(BATCH, min_size=1, max_size=5))
def test_the_store_holds_what_a_table_of_the_newest_values_holds(
    batches, postgres_server: TestServer, migrated_template: str
):
    async def run():
        name = postgres_server.create_database(migrated_template)
        try:
            async with plain_runner(service_address(postgres_server, postgres_server.owner_url(name)), 1) as runner:
                await _follow(runner, batches)
        finally:
            postgres_server.drop_database(name)

    asyncio.run(run())


async def _follow(runner, batches):
    """Write batches under changing descriptions; a plain dictionary does the same."""
    machines, readings = MachineRepository(runner), ReadingRepository(runner)
    newest: dict[tuple[int, str], float] = {}
    seen: set[int] = set()
    for tags, at, seed in batches:
        random = np.random.default_rng(seed)
        values = random.integers(0, 3, (len(at), len(tags))).astype(np.float32)
        values[random.random(values.shape) < 0.4] = np.nan
        stored = (await machines.put(pump(*map(sensor, tags)))).stored
        blocks = stored.blocks(ticks(7)[at], tags, values)
        written = {tick for tick, row in zip(at, values, strict=True) if not np.isnan(row).all()}
        before = dict(newest)
        for row, tick in enumerate(at):
            newest |= {(tick, tag): v for tag, v in zip(tags, values[row].tolist(), strict=True) if not np.isnan(v)}
        changed = {tick for tick, tag in newest if newest[tick, tag] != before.get((tick, tag))}
        expected = Stored(len(written - seen), len(changed & written & seen), len((written & seen) - changed))
        assert sum(await readings.store(blocks), Stored()) == expected
        assert sum(await readings.store(blocks), Stored()) == Stored(unchanged=len(written))
        seen |= written
    everything = (await machines.put(pump(*map(sensor, TAGS)))).stored
    found = {}
    async for part in readings.read(everything, START_US, START_US + 10**9):
        for row, column in zip(*np.nonzero(~np.isnan(part.values)), strict=True):
            found[(part.times[row] - START_US) // 10**6, part.sensors[column]] = part.values[row, column]
    assert found == newest
