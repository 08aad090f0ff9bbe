"""The schema: brought up to date once, however often and by how many at a time, and refused where it does not fit."""

import asyncio

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from gnn_service.core.config_upkeep import MigrationSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError, QueryTimeoutError
from gnn_service.db import roles, schema
from gnn_service.db.migrations import NEWEST, REVISIONS
from gnn_service.db.owner import MIGRATION_LOCK, connected

SHAPE = """
select table_name || '.' || column_name || ' ' || data_type from information_schema.columns
where table_schema = 'gnn' order by 1
"""
KILL = """
select pg_terminate_backend(pid) from pg_stat_activity
where query like '%create table if not exists frame%' and pid <> pg_backend_pid() and datname = current_database()
"""


async def asked(url, query, *arguments):
    async with connected(url) as con:
        return await con.fetchval(query, *arguments)


async def test_migrating_again_changes_nothing(database_url):
    first = await schema.migrate(database_url)
    async with connected(database_url) as con:
        before = await con.fetch(SHAPE)
    second = await schema.migrate(database_url)
    async with connected(database_url) as con:
        after = await con.fetch(SHAPE)
    assert (first.run, second.run) == (REVISIONS, ())
    assert first.status == second.status
    assert before == after
    assert len(before) > 100


async def test_every_revision_may_run_again(database_url):
    """A migration cut off between its commit and its note runs twice."""
    await schema.migrate(database_url)
    async with connected(database_url) as con:
        before = await con.fetch(SHAPE)
        await con.execute("delete from gnn.alembic_version")
    assert (await schema.migrate(database_url)).run == REVISIONS
    async with connected(database_url) as con:
        assert await con.fetch(SHAPE) == before


async def test_services_that_start_at_once_migrate_once_and_all_succeed(database_url):
    found = await asyncio.gather(*(schema.migrate(database_url) for _ in range(5)))
    assert sorted(one.run for one in found) == [(), (), (), (), REVISIONS]
    assert {one.status.revision for one in found} == {NEWEST}


async def test_databases_that_are_migrated_at_once_share_the_role(postgres_server):
    names = [postgres_server.create_database() for _ in range(3)]
    try:
        found = await asyncio.gather(*(schema.migrate(postgres_server.owner_url(name)) for name in names))
    finally:
        for name in names:
            postgres_server.drop_database(name)
    assert all(one.status.service_role.exists for one in found)


async def test_who_waits_too_long_for_another_migration_is_told_who_has_it(database_url):
    async with connected(database_url) as holder:
        await holder.execute("select pg_advisory_lock($1)", MIGRATION_LOCK)
        pid = await holder.fetchval("select pg_backend_pid()")
        with pytest.raises(DatabaseUnavailableError, match=rf"backend {pid}\) has been migrating"):
            await schema.migrate(database_url, MigrationSettings(wait_s=0.3))
    assert (await schema.migrate(database_url, MigrationSettings(wait_s=10))).run == REVISIONS


async def test_a_migration_that_is_killed_leaves_nothing_half_done(database_url):
    async def killer(con):
        for _ in range(20_000):
            if await con.fetchval(KILL):
                return

    async with connected(database_url) as con:
        killing = asyncio.create_task(killer(con))
        try:
            await schema.migrate(database_url)
        except DatabaseUnavailableError:
            killed = True
        else:  # it was faster than the killer
            killed = False
            killing.cancel()
        await asyncio.wait({killing}, timeout=10)
    assert (await schema.migrate(database_url)).run == (REVISIONS if killed else ())


async def test_a_table_in_use_delays_the_migration_and_never_blocks_the_others(migrated_url):
    """What waits for a lock makes everybody else wait behind it: a statement gives up and tries again later."""
    limits = MigrationSettings(lock_timeout_s=0.1, attempts=3)
    waiting = asyncio.Event()

    def hear(step):
        if step == "a table is in use by others; attempt 2 of 3":
            waiting.set()

    async with connected(migrated_url) as con:
        await con.execute("delete from gnn.alembic_version where version_num > ''")
        await con.execute("begin; lock table gnn.rollup_stale in access exclusive mode")
        migrating = asyncio.create_task(schema.migrate(migrated_url, limits, progress=hear))
        await asyncio.wait_for(waiting.wait(), 10)
        await con.execute("commit")
        assert (await migrating).run == REVISIONS
        await con.execute("delete from gnn.alembic_version where version_num > ''")
        await con.execute("begin; lock table gnn.rollup_stale in access exclusive mode")
        with pytest.raises(QueryTimeoutError, match="stayed locked"):
            await schema.migrate(migrated_url, MigrationSettings(lock_timeout_s=0.05, attempts=1))


async def test_a_schema_newer_than_the_code_is_refused_and_left_alone(migrated_url, service_url):
    async with connected(migrated_url) as con:
        await con.execute("update gnn.alembic_version set version_num = '9999'")
    with pytest.raises(DatabaseRefusedError, match=r"at schema 9999, newer than .* update gnn-service"):
        await schema.migrate(migrated_url)
    async with connected(service_url) as con:
        with pytest.raises(DatabaseRefusedError, match="newer than"):
            await schema.require_current(con)
    found = await schema.status(migrated_url)
    assert (found.revision, found.pending, found.newer_than_code) == ("9999", (), True)


async def test_a_database_without_schema_is_not_served_from(database_url):
    async with connected(database_url) as con:
        with pytest.raises(DatabaseRefusedError, match=r"has no schema yet.*gnn-service db migrate"):
            await schema.require_current(con)
    found = await schema.status(database_url)
    assert (found.revision, found.pending) == (None, REVISIONS)


async def test_a_schema_older_than_the_code_is_not_served_from(migrated_url, service_url):
    async with connected(service_url) as con:
        await schema.require_current(con)
    async with connected(migrated_url) as con:
        await con.execute("update gnn.alembic_version set version_num = $1", REVISIONS[0])
        with pytest.raises(DatabaseRefusedError, match=f"is at schema {REVISIONS[0]}, this version needs {NEWEST}"):
            await schema.require_current(con)
    assert (await schema.migrate(migrated_url)).run == REVISIONS[1:]


async def test_the_serving_role_may_not_migrate(service_url):
    with pytest.raises(DatabaseRefusedError, match="GNN_DATABASE__OWNER_URL"):
        await schema.migrate(service_url)


@pytest.mark.parametrize(
    "statement",
    [
        "create table gnn.mine (x int)",
        "alter table gnn.frame add column mine int",
        "drop table gnn.rollup_due",
        "truncate gnn.frame",
        "update gnn.alembic_version set version_num = '0'",
        "update gnn.audit set actor = ''",
        "delete from gnn.audit",
        "create role mine",
        "create extension hstore",
    ],
)
async def test_the_serving_role_can_neither_change_the_schema_nor_what_is_append_only(service_url, statement):
    async with connected(service_url) as con:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await con.execute(statement)


async def test_the_serving_role_reads_and_writes_every_table_and_view(service_url):
    tables = "select relname from pg_class where relnamespace = 'gnn'::regnamespace and relkind in ('r', 'v', 'p')"
    async with connected(service_url) as con:
        for (name,) in await con.fetch(tables):
            await con.fetchval(f"select count(*) from gnn.{name}")  # noqa: S608 - from the catalogue
        await con.execute(
            "insert into machine (external_id, tenant_id, fingerprint, description) values ('m', 1, '', '{}')"
        )
        await con.execute("create temporary table staging (x int)")
        assert await con.fetchval("select rolsuper from pg_roles where rolname = current_user") is False


async def test_a_table_of_a_later_migration_is_open_to_the_serving_role_at_once(migrated_url, service_url):
    async with connected(migrated_url) as con:
        await con.execute("create table gnn.later (x int generated always as identity, y int)")
    async with connected(service_url) as con:
        await con.execute("insert into later (y) values (1)")
        assert await con.fetchval("select x from later") == 1


async def test_an_owner_may_serve_as_the_serving_role(migrated_url):
    url = roles.taking_role(migrated_url)
    assert await asked(url, "select current_user") == "gnn_app"
    assert await asked(roles.taking_role(url), "select current_user") == "gnn_app"
    with pytest.raises(DatabaseRefusedError, match="a right is missing"):
        await asked(url, "create table gnn.mine (x int)")


async def test_an_owner_who_may_not_make_roles_migrates_and_is_told_what_is_missing(own_server):
    """On a managed server the administrator makes the role."""
    own_server.execute(
        "alter role gnn_app rename to gnn_aside",
        "create role plain login password 'plain'",
        "create database plain owner plain",
    )
    url = SecretStr(f"postgresql://plain:plain@127.0.0.1:{own_server.embedded.port}/plain?sslmode=disable")
    with structlog.testing.capture_logs() as logged:
        found = await schema.migrate(url)
    assert (found.status.revision, found.status.service_role.exists) == (NEWEST, False)
    assert (
        "create role gnn_app login" in next(one for one in logged if one["event"] == "service_role_missing")["advice"]
    )
    own_server.execute("create role gnn_app login")
    again = await schema.migrate(url)
    assert again.status.service_role == roles.ServiceRole(exists=True, can_login=True, may_be_taken=False)
