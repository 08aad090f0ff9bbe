"""TimescaleDB where the server has it, and the same service where it has not.

With GNN_TEST_DATABASE_URL these run on that server; the embedded one is plain, and says so.
"""

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest
import structlog

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db import schema, timescale
from gnn_service.db.capability import ServerKind
from gnn_service.db.machines import MachineRepository
from gnn_service.db.owner import connected
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.timescale_sql import INTERVALS, hypertable
from gnn_service.db.upkeep import Upkeep
from tests.support.migrated import service_address
from tests.support.rolled import assert_same, frames_rolled_up, positions_that_differ, stored_rollup
from tests.support.stored import SECOND, plain_runner, pump, sensor

JOBS = "select count(*) from timescaledb_information.jobs where job_id >= 1000 and proc_name = $1"


@pytest.fixture
async def server(migrated_url):
    return (await schema.status(migrated_url)).server


def needs(server, *kinds):
    if server.kind not in kinds:
        pytest.skip(f"the server is {server}; GNN_TEST_DATABASE_URL may name another")


@asynccontextmanager
async def empty_database(server):
    name = server.create_database()
    try:
        yield server.owner_url(name)
    finally:
        server.drop_database(name)


async def frames(url, first_us, count=7200):
    async with plain_runner(url) as runner:
        machines, readings = MachineRepository(runner), ReadingRepository(runner)
        stored = (await machines.put(pump(sensor("A"), sensor("B"), sensor("C", rate_hz=0.1)))).stored
        times = first_us + np.arange(count, dtype=np.int64) * SECOND
        values = np.random.default_rng(1).normal(100, 9, (count, 2)).astype(np.float32)
        values[::7, 1] = values[:70, 0] = np.nan
        await readings.store(stored.blocks(times, ("A", "B"), values))
        await readings.store(stored.blocks(times[::10], ("C",), values[::10, :1]))
    return stored


def ago(span):
    return int((datetime.now(UTC) - span).timestamp()) // 3600 * 3600 * SECOND


async def test_every_kind_of_server_gets_what_it_can_do(migrated_url, server):
    layer = (await schema.status(migrated_url)).layer
    match server.kind:
        case ServerKind.PLAIN:
            assert (layer.rollups_by, layer.hypertables) == ("service", ())
        case ServerKind.TIMESCALE_APACHE:
            assert (layer.rollups_by, layer.hypertables) == ("service", tuple(INTERVALS))
        case ServerKind.TIMESCALE_FULL:
            assert (layer.rollups_by, layer.hypertables) == ("timescale", tuple(INTERVALS))


async def test_readings_and_roll_ups_read_the_same_on_every_kind_of_server(migrated_url, service_url, server):
    await frames(service_url, ago(timedelta(days=2)))
    if server.has_policies:
        await refresh(migrated_url)
    else:
        async with plain_runner(service_url) as runner:
            await Upkeep(runner, UpkeepSettings()).round()
    async with plain_runner(service_url) as runner, runner.pool.acquire() as con:
        for table, view in (("rollup_1m", "reading_1m"), ("rollup_1h", "reading_1h")):
            assert_same(await stored_rollup(con, view), await frames_rolled_up(con, table), 200)
            differ, all_of_them = await positions_that_differ(con, view.removeprefix("reading_"))
            assert (differ, all_of_them > 0) == (0, True)


async def test_late_readings_reach_the_roll_ups_of_timescale(migrated_url, service_url, server):
    needs(server, ServerKind.TIMESCALE_FULL)
    first = ago(timedelta(days=20))
    stored = await frames(service_url, first)
    await refresh(migrated_url)
    async with plain_runner(service_url) as runner:
        late = stored.blocks(np.array([first + 5 * SECOND], np.int64), ("A",), np.array([[1e4]], np.float32))
        await ReadingRepository(runner).store(late)
    await run_jobs(migrated_url, "policy_refresh_continuous_aggregate")
    async with plain_runner(service_url) as runner, runner.pool.acquire() as con:
        assert_same(await stored_rollup(con, "reading_1h"), await frames_rolled_up(con, "rollup_1h"), 1e4)


async def test_the_service_only_clears_its_notes_where_timescale_keeps_the_roll_ups(service_url, server):
    needs(server, ServerKind.TIMESCALE_FULL)
    await frames(service_url, ago(timedelta(days=1000)))
    async with plain_runner(service_url) as runner:
        done = await Upkeep(runner, UpkeepSettings()).round()
        assert (done.minutes, done.deleted) == (0, 0)
        async with runner.pool.acquire() as con:
            left = await con.fetchrow("select (select count(*) from rollup_stale), (select count(*) from rollup_1m)")
            assert tuple(left) == (0, 0)


async def test_the_policies_of_timescale_do_what_they_say(migrated_url, service_url, server):
    needs(server, ServerKind.TIMESCALE_FULL)
    await frames(service_url, ago(timedelta(days=400)))
    await frames(service_url, ago(timedelta(days=30)))
    await run_jobs(migrated_url, "policy_retention", "policy_compression")
    async with connected(migrated_url) as con:
        assert await con.fetchval("select min(ts) > now() - interval '32 days' from gnn.frame")
        compressed = "select number_compressed_chunks from hypertable_compression_stats('gnn.frame')"
        assert await con.fetchval(compressed) > 0
    stored = await frames(service_url, ago(timedelta(days=30)) + SECOND // 2, 60)  # late, into a compressed chunk
    async with plain_runner(service_url) as runner:
        window = await ReadingRepository(runner).window(stored, ticks=128)
        assert len(window.times) == 128


async def test_policies_follow_the_settings_and_otherwise_stay(migrated_url, server):
    needs(server, ServerKind.TIMESCALE_FULL)
    query = "select job_id, config::text from timescaledb_information.jobs where job_id >= 1000 order by 1"
    async with connected(migrated_url) as con:
        before = await con.fetch(query)
    await schema.migrate(migrated_url)
    async with connected(migrated_url) as con:
        assert await con.fetch(query) == before
    await schema.migrate(migrated_url, upkeep=UpkeepSettings(frames_days=90, minutes_days=None, hours_days=None))
    async with connected(migrated_url) as con:
        after = await con.fetch(query)
        assert await con.fetchval(JOBS, "policy_retention") == 4
    assert sum('"drop_after": "90 days"' in row["config"] for row in after) == 3
    assert any('"start_offset": "89 days"' in row["config"] for row in after)


async def test_the_service_goes_on_with_the_roll_ups_that_it_began(postgres_server, server):
    """The server got TimescaleDB, or its licence, after a year of service."""
    needs(server, ServerKind.TIMESCALE_FULL)
    async with empty_database(postgres_server) as url:
        await schema.migrate(url)
        async with connected(url) as con:  # as it was before
            await con.execute("drop materialized view gnn.rollup_1h_timescale cascade")
            await con.execute("drop materialized view gnn.rollup_1m_timescale cascade")
            await con.execute("insert into gnn.rollup_1h values (now(), 1, 1, 1, 1, '{1}', '{1}', '{1}', '{1}')")
            await con.execute("delete from gnn.alembic_version")
        found = await schema.migrate(url)
        assert found.status.layer.rollups_by == "service"
        assert "the service goes on keeping the roll-ups" in found.status.layer.left[0]
        service = service_address(postgres_server, url)
        await frames(service, ago(timedelta(days=400)))
        async with plain_runner(service) as runner:
            done = await Upkeep(runner, UpkeepSettings()).round()
        assert done.minutes > 0
        assert done.deleted > 0  # by the chunk, in the role that serves


async def test_a_large_table_is_not_locked_without_being_asked(postgres_server, server, monkeypatch):
    needs(server, ServerKind.TIMESCALE_APACHE, ServerKind.TIMESCALE_FULL)
    monkeypatch.setattr(timescale, "LARGE_BYTES", 1)
    async with empty_database(postgres_server) as url:
        found = await schema.migrate(url)
        assert found.status.layer.hypertables == ()
        assert "--convert-large" in found.status.layer.left[0]
        assert (await schema.migrate(url, convert_large=True)).status.layer.hypertables == tuple(INTERVALS)


async def test_the_service_deletes_from_the_tables_that_were_left_plain(postgres_server, server, monkeypatch):
    needs(server, ServerKind.TIMESCALE_FULL)
    monkeypatch.setattr(timescale, "LARGE_BYTES", 1)
    async with empty_database(postgres_server) as url:
        await schema.migrate(url)
        async with connected(url) as con:
            await con.execute(hypertable("frame", "1 day"))
        layer = (await schema.migrate(url)).status.layer
        assert (layer.rollups_by, layer.hypertables) == ("timescale", ("frame",))
        service = service_address(postgres_server, url)
        stored = await frames(service, ago(timedelta(hours=3)), 60)
        async with plain_runner(service) as runner:
            async with runner.pool.acquire() as con:
                old = "insert into operation values (now() - interval '1000 days', 1, $1, null, 'hold')"
                await con.execute(old, stored.machine_id)
            assert (await Upkeep(runner, UpkeepSettings()).round()).deleted == 1


class Answers:
    """A connection to a server that has, or refuses, what a test says."""

    def __init__(self, *, refuses=None, **found):
        self.found, self.refuses, self.asked = found, refuses, []

    async def fetchrow(self, query):
        return self.found

    async def execute(self, statement):
        self.asked.append(statement)
        if self.refuses is not None:
            raise self.refuses


async def test_an_extension_that_is_not_preloaded_is_not_tried():
    """Creating it ends the connection with a FATAL error."""
    con = Answers(installed=False, available=True, preloaded=False)
    with structlog.testing.capture_logs() as logged:
        assert await timescale.apply(con, UpkeepSettings()) == timescale.Layer()
    assert con.asked == []
    assert logged[0]["event"] == "timescaledb_not_preloaded"


async def test_who_may_not_create_the_extension_runs_plain():
    con = Answers(
        installed=False, available=True, preloaded=True, refuses=asyncpg.InsufficientPrivilegeError("permission denied")
    )
    with structlog.testing.capture_logs() as logged:
        assert await timescale.apply(con, UpkeepSettings()) == timescale.Layer()
    assert logged[0]["event"] == "timescaledb_not_created"


async def refresh(url):
    """Roll up everything now."""
    async with connected(url) as con:
        for bucket in ("1m", "1h"):
            await con.execute(f"call refresh_continuous_aggregate('gnn.rollup_{bucket}_timescale', null, null)")


async def run_jobs(url, *names):
    """Run policies now, as the background workers do in their time."""
    async with connected(url) as con:
        query = "select job_id from timescaledb_information.jobs where job_id >= 1000 and proc_name = $1 order by 1"
        for name in names:
            for (job,) in await con.fetch(query, name):
                await retried(con, f"call run_job({job})")


async def retried(con, statement):
    """A background worker may be at the same job."""
    until = time.monotonic() + 20
    while True:
        try:
            await con.execute(statement)
            return
        except asyncpg.PostgresError:
            if time.monotonic() > until:
                raise
