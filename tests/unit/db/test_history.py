"""History for plots."""

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.history import BUCKETS_AIM, HistoryRepository, Source, round_step
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository
from tests.support.rolled import kept_by_timescale
from tests.support.stored import SECOND, pump, sensor, ticks

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
NAN = np.nan
ROLL_UP = """
insert into rollup_{name} (ts, tenant_id, machine_id, layout_id, rate_group, count, mean, low, high)
select bucket, tenant_id, machine_id, layout_id, rate_group, array_agg(n order by place),
       array_agg(mean order by place),
       array_agg(low order by place), array_agg(high order by place)
from (select date_trunc('{unit}', ts, 'UTC') as bucket, tenant_id, machine_id, layout_id, rate_group, place,
             count(*) filter (where v <> 'NaN')::int as n,
             coalesce(avg(v) filter (where v <> 'NaN'), 'NaN')::real as mean,
             coalesce(min(v) filter (where v <> 'NaN'), 'NaN') as low,
             coalesce(max(v) filter (where v <> 'NaN'), 'NaN') as high
      from frame, unnest(vals) with ordinality u(v, place) group by 1, 2, 3, 4, 5, 6) b
group by 1, 2, 3, 4, 5"""


async def rolled_up(runner):
    async with runner.pool.acquire() as con:
        if await kept_by_timescale(con):
            pytest.skip("TimescaleDB keeps the roll-ups of this server, and its owner alone refreshes them")
        await con.execute(ROLL_UP.format(name="1m", unit="minute"))
        await con.execute(ROLL_UP.format(name="1h", unit="hour"))


async def filled(runner, frames=7200):
    """Two sensors for some hours; B joins after half of them, and is missing every third time."""
    machines, readings = MachineRepository(runner), ReadingRepository(runner)
    random = np.random.default_rng(5)
    times = ticks(frames)
    values = random.normal(10, 3, (frames, 2)).astype(np.float32)
    half = frames // 2
    values[:half, 1] = NAN
    values[::3, 1] = NAN
    before = (await machines.put(pump(sensor("A")))).stored
    await readings.store(before.blocks(times[:half], ("A",), values[:half, :1]))
    after = (await machines.put(pump(sensor("B"), sensor("A")))).stored
    await readings.store(after.blocks(times[half:], ("A", "B"), values[half:]))
    await rolled_up(runner)
    return after, times, values


def expected(times, values, every):
    """Buckets of a grid, straight from what was stored."""
    bucket = times // every * every
    starts = np.unique(bucket)
    shape = (len(starts), values.shape[1])
    count, low, mean, high = (np.full(shape, NAN) for _ in range(4))
    for row, start in enumerate(starts):
        part = values[bucket == start]
        for column in range(values.shape[1]):
            some = part[:, column][~np.isnan(part[:, column])].astype(np.float64)
            count[row, column] = len(some)
            if len(some):
                low[row, column], mean[row, column], high[row, column] = some.min(), some.mean(), some.max()
    return starts, count, low, mean, high


@pytest.mark.parametrize(
    "every, source",
    [(10 * SECOND, Source.RAW), (5 * MINUTE, Source.MINUTES), (HOUR, Source.HOURS), (90 * SECOND, Source.RAW)],
)
async def test_every_source_tells_the_same_as_the_values_themselves(runner, every, source):
    machine, times, values = await filled(runner)
    found = await HistoryRepository(runner).history(
        machine, ("A", "B"), int(times[0]), int(times[-1]) + 1, every_us=every
    )
    starts, count, low, mean, high = expected(times, values, every)
    assert found.source is source
    assert found.times.tolist() == starts.tolist()
    assert np.array_equal(found.count, count)
    assert np.array_equal(found.low, low.astype(np.float32), equal_nan=True)
    assert np.array_equal(found.high, high.astype(np.float32), equal_nan=True)
    assert np.allclose(found.mean, mean, rtol=1e-5, equal_nan=True)


async def test_a_stretch_is_widened_to_whole_buckets(runner):
    machine, times, _ = await filled(runner, 600)
    begin = int(times[130])
    found = await HistoryRepository(runner).history(machine, ("A",), begin, begin + 1, every_us=MINUTE)
    assert found.times.tolist() == [begin // MINUTE * MINUTE]
    assert found.count.tolist() == [[60]]


async def test_columns_stand_as_they_were_asked_for(runner):
    machine, times, _ = await filled(runner, 600)
    history = HistoryRepository(runner)
    both = await history.history(machine, ("B", "A"), int(times[400]), int(times[401]))
    assert both.sensors == ("B", "A")
    assert both.every_us == SECOND
    window = await ReadingRepository(runner).window(machine, ticks=1, until_us=int(times[400]))
    assert np.array_equal(both.mean, window.values, equal_nan=True)


async def test_where_nothing_was_read_there_are_no_buckets(runner):
    machine, times, _ = await filled(runner, 60)
    found = await HistoryRepository(runner).history(machine, ("A",), int(times[0]) - HOUR, int(times[0]) - MINUTE)
    assert found.times.shape == (0,)
    assert found.mean.shape == (0, 1)


@pytest.mark.parametrize("span", [1, SECOND, 999 * SECOND, 86_400 * SECOND, 366 * 86_400 * SECOND, 10**17])
def test_a_round_step_makes_a_plot_of_any_span(span):
    step = round_step(span)
    assert step % SECOND == 0
    assert span / step <= BUCKETS_AIM


async def test_what_cannot_be_answered_is_refused(runner):
    machine = (await MachineRepository(runner).put(pump(sensor("A"), sensor("F", rate_hz=1000)))).stored
    history = HistoryRepository(runner)
    for sensors, span, every, complaint in (
        (("Z",), HOUR, None, "no sensor Z"),
        ((), HOUR, None, "1 to"),
        (("A", "A"), HOUR, None, "different"),
        (("A",), 0, None, "after"),
        (("A",), HOUR, SECOND // 2, "second"),
        (("A",), 10_001 * SECOND, SECOND, "buckets"),
        (("A",), 2 * HOUR, 30 * SECOND, "too many"),
        (("A", "F"), 8000 * HOUR * 50, 59 * MINUTE * 50, "too many"),
    ):
        with pytest.raises(InvalidInputError, match=complaint):
            await history.history(machine, sensors, HOUR, HOUR + span, every_us=every)
