"""The upkeep: newest first, one process at a time, nothing deleted that is not rolled up."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.core.errors import ConfigurationError, DatabaseUnavailableError, QueryTimeoutError
from gnn_service.db import retention, upkeep_rolling
from gnn_service.db import upkeep as module
from gnn_service.db import upkeep_sql as sql
from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.upkeep import Upkeep
from tests.support.rolled import assert_rolled_up, assert_same, kept_by_timescale, stored_rollup
from tests.support.stored import SECOND, pump, sensor

DAY = timedelta(days=1)
FOR_EVER = UpkeepSettings(frames_days=None, minutes_days=None, hours_days=None, diagnoses_days=None)
YEAR = UpkeepSettings(frames_days=30, minutes_days=60, hours_days=90, diagnoses_days=10)


@pytest.fixture(autouse=True)
async def by_the_service(runner):
    async with runner.pool.acquire() as con:
        if await kept_by_timescale(con):
            pytest.skip("TimescaleDB keeps the roll-ups of this server")


def ago(time):
    """Microseconds UTC, at a full hour."""
    hour = int((datetime.now(UTC) - time).timestamp()) // 3600 * 3600
    return hour * SECOND


async def machine(runner, name="M1"):
    return (await MachineRepository(runner).put(pump(sensor("A"), sensor("B"), name=name))).stored


async def write(runner, stored, first_us, values):
    values = np.asarray(values, np.float32)
    times = first_us + np.arange(len(values), dtype=np.int64) * SECOND
    return await ReadingRepository(runner).store(stored.blocks(times, ("A", "B")[: values.shape[1]], values))


async def asked(runner, query, *arguments):
    async with runner.pool.acquire() as con:
        return await con.fetchval(query, *arguments)


async def finish(upkeep):
    while (await upkeep.round()).more:
        pass


async def test_what_was_written_is_rolled_up_in_the_next_round(runner):
    await write(runner, await machine(runner), ago(DAY), np.ones((3600, 2)))
    upkeep = Upkeep(runner, FOR_EVER)
    done = await upkeep.round()
    assert (done.minutes, done.hours, done.values, done.held) == (60, 1, 7200, False)
    assert (await upkeep.round()).minutes == 0
    assert (upkeep.stats.rounds, upkeep.stats.minutes, upkeep.stats.values) == (2, 60, 7200)


async def test_of_several_processes_one_does_the_work(runner):
    await write(runner, await machine(runner), ago(DAY), np.ones((10, 2)))
    async with runner.pool.acquire() as con, con.transaction():
        assert await con.fetchval(sql.LOCK)
        done = await Upkeep(runner, FOR_EVER).round()
        assert (done.held, done.minutes) == (True, 0)
    assert (await Upkeep(runner, FOR_EVER).round()).minutes == 1


async def test_a_wrong_clock_costs_a_few_steps_and_no_other_machine(runner):
    right, wrong = await machine(runner), await machine(runner, "M2")
    now = ago(timedelta())
    for _ in range(3):
        await write(runner, right, now, np.ones((60, 2)))
        await write(runner, wrong, now, np.ones((60, 2)))
        await ReadingRepository(runner).store(
            wrong.blocks(np.array([5 * SECOND, now], np.int64), ("A",), np.ones((2, 1), np.float32))
        )
    runner.calls.clear()
    await finish(Upkeep(runner, FOR_EVER))
    assert len(runner.calls) < 12  # fifty years are not walked through
    async with runner.pool.acquire() as con:
        await assert_rolled_up(con)


async def test_the_newest_readings_do_not_wait_for_years_of_older_ones(runner, monkeypatch):
    monkeypatch.setattr(module, "BATCH_VALUES", 100)
    stored, other = await machine(runner), await machine(runner, "M2")
    await write(runner, stored, ago(40 * DAY), np.ones((7200, 2)))
    await write(runner, other, ago(timedelta(hours=1)), np.ones((60, 2)))
    upkeep = Upkeep(runner, FOR_EVER.model_copy(update={"round_s": 1e-9}))
    await upkeep.round()
    assert await asked(runner, "select array_agg(distinct machine_id) from rollup_1m") == [other.machine_id]
    await finish(upkeep)
    assert await asked(runner, "select count(*) from rollup_1m where machine_id = $1", stored.machine_id) == 120


async def test_notes_beyond_a_batch_are_all_taken(runner, monkeypatch):
    monkeypatch.setattr(module, "_NOTES", 4)
    stored = await machine(runner)
    for n in range(11):
        await write(runner, stored, ago(DAY) + n * 3600 * SECOND, np.ones((5, 2)))
    assert (await Upkeep(runner, FOR_EVER).round()).hours == 11
    assert await asked(runner, "select count(*) from rollup_stale") == 0


async def test_old_frames_go_and_their_roll_ups_stay(runner):
    stored = await machine(runner)
    await write(runner, stored, ago(40 * DAY), np.ones((120, 2)))
    await write(runner, stored, ago(DAY), np.ones((60, 2)))
    assert (await Upkeep(runner, YEAR).round()).deleted > 0
    assert await asked(runner, "select count(*) from frame") == 60
    assert await asked(runner, "select sum(count[1]) from rollup_1m") == 180
    assert await asked(runner, "select sum(count[1]) from rollup_1h") == 180


async def test_every_table_is_kept_as_long_as_it_says(runner):
    stored = await machine(runner)
    for days in (100, 80, 50, 20):
        await write(runner, stored, ago(days * DAY), np.ones((60, 2)))
    insert = "insert into {} (ts, tenant_id, machine_id{}) select now() - make_interval(days => d), 1, $1{} {}"
    each = "from unnest(array[5, 20, 50]) d"
    event = insert.format("sensor_event", ", sensor_id, value", ", $2, 1", each)
    number = stored.sensor_ids["A"]
    diagnosis = insert.format(
        "diagnosis", ", model_version, window_start, state, document", ", 'm', now(), 'good', '{}'", each
    )
    async with runner.pool.acquire() as con:
        await con.execute(event, stored.machine_id, number)
        await con.execute(diagnosis, stored.machine_id)
        await con.execute(insert.format("operation", ", phase", ", 'hold'", each), stored.machine_id)
    await finish(Upkeep(runner, YEAR))
    left = {table: await asked(runner, f"select count(*) from {table}") for table in sql.AGED}  # noqa: S608
    assert left == {
        "frame": 60,
        "rollup_1m": 2,
        "rollup_1h": 3,
        "sensor_event": 2,
        "operation": 2,
        "diagnosis": 1,
    }


async def test_for_ever_deletes_nothing(runner):
    await write(runner, await machine(runner), ago(20_000 * DAY), np.ones((60, 2)))
    assert (await Upkeep(runner, FOR_EVER).round()).deleted == 0
    assert await asked(runner, "select count(*) from frame") == 60


async def test_deleting_goes_on_in_steps(runner, monkeypatch):
    if await asked(runner, sql.HAS_CHUNKS):
        pytest.skip("TimescaleDB deletes by the chunk")
    monkeypatch.setattr(retention, "STEP_ROWS", 50)
    stored = await machine(runner)
    await write(runner, stored, ago(40 * DAY), np.ones((120, 2)))
    runner.calls.clear()
    upkeep = Upkeep(runner, YEAR.model_copy(update={"round_s": 1e-9}))
    done = await upkeep.round()
    assert (done.deleted, done.more) == (50, True)
    assert await asked(runner, "select min(ts) from frame") > datetime.now(UTC) - 41 * DAY  # the oldest went first
    await finish(upkeep)
    assert await asked(runner, "select count(*) from frame") == 0


async def test_a_frame_that_is_not_rolled_up_yet_is_not_deleted(runner):
    """It was committed after the round had rolled up and before it deletes."""
    await write(runner, await machine(runner), ago(40 * DAY), np.ones((60, 2)))
    (what,) = [one for one in retention.aged(YEAR) if one.table == "frame"]

    async def step(con):
        async with con.transaction():
            return await retention.delete_step(con, what)

    with pytest.raises(retention.ReadingsWaitError):
        await runner.run(step, name="step", idempotent=True)
    assert await asked(runner, "select count(*) from frame") == 60
    await Upkeep(runner, FOR_EVER).round()
    await runner.run(step, name="step", idempotent=True)
    assert await asked(runner, "select count(*) from frame") == 0


async def test_a_reading_that_comes_after_its_frames_were_deleted_does_not_spoil_their_roll_up(runner):
    stored, first = await machine(runner), ago(40 * DAY)
    await write(runner, stored, first, np.full((60, 2), 7))
    await finish(Upkeep(runner, YEAR))
    async with runner.pool.acquire() as con:
        before = [await stored_rollup(con, table) for table in ("rollup_1m", "rollup_1h")]
    await write(runner, stored, first + 30 * SECOND, np.full((10, 2), 99))
    await write(runner, stored, first + 3600 * SECOND, np.full((60, 2), 5))  # an hour that nobody had heard of
    await finish(Upkeep(runner, YEAR))
    async with runner.pool.acquire() as con:
        for table, was in zip(("rollup_1m", "rollup_1h"), before, strict=True):
            now = await stored_rollup(con, table)
            (key,) = now
            late = now[key].pop(first + 3600 * SECOND)
            assert_same(now, was)
            assert late[:, :2].tolist() == [[60, 5], [60, 5]]
        assert await con.fetchval("select count(*) from frame") == 0


async def test_a_round_that_fails_is_followed_by_the_next(runner):
    class Failing:
        failures = 2

        async def run(self, work, **options):
            if self.failures:
                self.failures -= 1
                raise DatabaseUnavailableError("away") if self.failures else ValueError("nobody knows this error")
            return await runner.run(work, **options)

    class Clock:
        pauses: list[float] = []  # noqa: RUF012

        def monotonic(self):
            return 0.0

        async def sleep(self, seconds):
            self.pauses.append(seconds)
            await asyncio.sleep(0)

    await write(runner, await machine(runner), ago(DAY), np.ones((60, 2)))
    upkeep = Upkeep(Failing(), FOR_EVER, clock=Clock(), draw=lambda: 0.5)
    task = asyncio.create_task(upkeep.run())
    async with asyncio.timeout(10):
        while upkeep.stats.rounds == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (upkeep.stats.failures, upkeep.stats.minutes) == (2, 1)
    assert Clock.pauses[:2] == [57.0, 57.0]


async def test_a_batch_that_took_too_long_is_followed_by_a_smaller_one(runner, monkeypatch):
    sizes = []

    async def roll(con, values):
        sizes.append(values)
        if len(sizes) == 1:
            raise QueryTimeoutError("too long")
        return upkeep_rolling.Rolled()

    monkeypatch.setattr(upkeep_rolling, "roll", roll)
    upkeep = Upkeep(runner, FOR_EVER)
    with pytest.raises(QueryTimeoutError):
        await upkeep.round()
    await upkeep.round()
    await upkeep.round()
    assert sizes == [upkeep_rolling.BATCH_VALUES, upkeep_rolling.BATCH_VALUES / 8, upkeep_rolling.BATCH_VALUES / 4]


def test_slices_that_share_an_hour_make_it_once():
    def at(hour, minute=0):
        return datetime(2026, 1, 1, hour, minute, tzinfo=UTC)

    def part(machine, begin, end, *, keep=False):
        return upkeep_rolling.Slice(1, machine, begin, end, keep)

    slices = [
        part(1, at(10, 5), at(10, 6)),
        part(1, at(10, 20), at(12, 1)),
        part(2, at(12), at(13)),
        part(1, at(14), at(15)),
        part(1, at(2, 59), at(3)),
    ]
    assert upkeep_rolling.whole_hours(slices, at(5)) == [
        part(1, at(2), at(3), keep=True),
        part(1, at(10), at(13)),
        part(1, at(14), at(15)),
        part(2, at(12), at(13)),
    ]


async def test_years_with_few_readings_are_few_steps(runner):
    """A sensor of 40 values a second by its description that sent four an hour."""
    stored = await machine(runner)
    times = ago(300 * DAY) + np.arange(8000, dtype=np.int64) * 900 * SECOND
    await ReadingRepository(runner).store(stored.blocks(times, ("A",), np.ones((8000, 1), np.float32)))
    runner.calls.clear()
    await finish(Upkeep(runner, FOR_EVER))
    assert runner.calls.count("upkeep.roll") <= 2
    async with runner.pool.acquire() as con:
        await assert_rolled_up(con)


async def test_readings_faster_than_described_are_cut_into_more_steps(runner, monkeypatch):
    monkeypatch.setattr(module, "BATCH_VALUES", 20_000)
    stored = await machine(runner)
    times = ago(3 * DAY) + np.arange(60_000, dtype=np.int64) * SECOND // 20
    ones = np.ones((60_000, 1), np.float32)
    blocks = [stored.blocks(times + start, ("A",), ones)[0] for start in (0, 86_400 * 2 * SECOND)]
    await ReadingRepository(runner).store(blocks)  # a note of two days
    steps = []
    roll = upkeep_rolling.roll

    async def told(con, values):
        done = await roll(con, values)
        steps.append(done.values)
        return done

    monkeypatch.setattr(upkeep_rolling, "roll", told)
    await finish(Upkeep(runner, FOR_EVER))
    assert sum(steps) == 2 * 2 * 60_000
    assert max(steps) < 25_000
    async with runner.pool.acquire() as con:
        await assert_rolled_up(con)


@pytest.mark.parametrize(
    "days", [{"frames_days": 800}, {"frames_days": None}, {"minutes_days": 5000}, {"minutes_days": 100}]
)
def test_what_is_made_of_readings_outlives_them(days):
    from gnn_service.core.config import load_settings

    with pytest.raises(ConfigurationError, match="outlast"):
        load_settings(database={"upkeep": days})
