"""The manager on a real server: waits, transactions, typed failures, what it counts."""

import asyncio
import logging
import time

import asyncpg
import pytest
from pydantic import SecretStr

from gnn_service.core.errors import (
    ConflictError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    PoolTimeoutError,
    QueryTimeoutError,
)
from gnn_service.db.manager import DatabaseManager
from gnn_service.db.stats import DatabaseState
from tests.support.database import database_settings, managed, observer, seconds_of, statements, until


@pytest.fixture
async def table(database_url):
    """The address of a database with a table `t (id int primary key, v int)`."""
    async with observer(database_url) as con:
        await con.execute("create schema if not exists gnn; create table gnn.t (id int primary key, v int)")
    return database_url


async def backend(con):
    return await con.fetchval("select pg_backend_pid()")


async def test_it_starts_with_its_minimum_and_knows_the_server(database_url):
    async with managed(database_url) as db:
        assert db.state is DatabaseState.HEALTHY
        assert db.capability.version >= (15, 0)
        stats = db.stats()
        assert (stats.pool.size, stats.pool.idle, stats.pool.minimum, stats.pool.maximum) == (2, 2, 2, 10)
        assert str(stats.breaker.state) == "closed"


async def test_a_session_is_set_up_for_this_product(database_url):
    async with managed(database_url) as db, db.acquire() as con:
        found = {
            name: await con.fetchval("select current_setting($1)", name)
            for name in ("application_name", "search_path", "statement_timeout", "lock_timeout", "timezone")
        }
    assert found == {
        "application_name": "gnn-service",
        "search_path": "gnn, public",
        "statement_timeout": "4s",
        "lock_timeout": "5s",
        "timezone": "UTC",
    }


async def test_an_exhausted_pool_answers_on_time_and_counts_it(database_url):
    async with managed(database_url, pool_min=1, pool_max=2) as db, db.acquire(), db.acquire():
        assert db.stats().pool.idle == 0
        waiting = asyncio.create_task(seconds_of(db.acquire(timeout_s=0.5).__aenter__()))
        await until(lambda: db.stats().pool.waiters == 1, 0.4)
        seconds, error = await waiting
        assert isinstance(error, PoolTimeoutError)
        assert 0.5 <= seconds <= 1.5
        stats = db.stats()
        assert (stats.pool.waiters, stats.pool.timeouts) == (0, 1)
        assert stats.operations["acquire"].failures == {"database-pool-timeout": 1}
        assert db.state is DatabaseState.HEALTHY


async def test_a_connection_that_comes_free_goes_to_who_waits(database_url):
    async with managed(database_url, pool_min=1, pool_max=1) as db:
        async with db.acquire():
            waiting = asyncio.create_task(db.run(backend, name="wait", idempotent=True))
            await until(lambda: db.stats().pool.waiters == 1, 1)
        assert await waiting > 0


async def test_callers_over_the_bound_are_refused_at_once(database_url):
    async with managed(database_url, pool_min=1, pool_max=1, waiters_max=2) as db, db.acquire():
        waiting = [asyncio.create_task(db.run(backend, name="w", idempotent=True, timeout_s=1)) for _ in range(2)]
        await until(lambda: db.stats().pool.waiters == 2, 1)
        seconds, error = await seconds_of(db.acquire().__aenter__())
        assert isinstance(error, PoolTimeoutError)
        assert seconds < 0.3
        assert db.stats().pool.refused == 1
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {PoolTimeoutError}


async def test_a_transaction_commits_at_its_end_and_rolls_back_when_it_raises(table):
    async with managed(table) as db:
        async with db.transaction() as con:
            await con.execute("insert into t values (1, 1)")

        async def fail():
            async with db.transaction() as con:
                await con.execute("insert into t values (2, 2)")
                await con.execute("no statement")

        with pytest.raises(asyncpg.PostgresSyntaxError):
            await fail()
        async with db.acquire() as con:
            assert await con.fetchval("select array_agg(id) from t") == [1]


async def test_a_nested_transaction_is_a_savepoint(table):
    async with managed(table) as db:
        async with db.transaction() as con:
            await con.execute("insert into t values (1, 1)")
            with pytest.raises(asyncpg.UniqueViolationError):
                async with con.transaction():
                    await con.execute("insert into t values (2, 2), (1, 1)")
            await con.execute("insert into t values (3, 3)")
        async with db.acquire() as con:
            assert await con.fetchval("select array_agg(id order by id) from t") == [1, 3]


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_transaction_has_the_level_that_was_asked_for(database_url, isolation):
    async with managed(database_url) as db, db.transaction(isolation=isolation, readonly=True) as con:
        assert await con.fetchval("show transaction_isolation") == isolation.replace("_", " ")
        assert await con.fetchval("show transaction_read_only") == "on"


async def test_a_transaction_that_collides_is_done_again_as_a_whole(table):
    async with managed(table) as db:
        async with db.acquire() as con:
            await con.execute("insert into t values (1, 0)")
        both_have_read = asyncio.Barrier(2)
        first_time = [True, True]

        def add(index):
            async def work(con):
                seen = await con.fetchval("select v from t where id = 1")
                if first_time[index]:
                    first_time[index] = False
                    await both_have_read.wait()
                await con.execute("update t set v = $1 where id = 1", seen + 1)

            return work

        adding = [db.run(add(i), name="add", idempotent=False, isolation="serializable") for i in range(2)]
        await asyncio.gather(*adding)
        async with db.acquire() as con:
            assert await con.fetchval("select v from t") == 2
        assert db.stats().operations["add"].repeats == 1


async def test_work_that_collides_outside_a_transaction_is_not_repeated_unless_idempotent(database_url):
    calls = []

    async def work(con):
        calls.append(1)
        await con.execute("do $$ begin raise exception 'x' using errcode = '40001'; end $$")

    async with managed(database_url) as db:
        with pytest.raises(DatabaseUnavailableError, match="rolled back in favour of others"):
            await db.run(work, name="once", idempotent=False)
        assert len(calls) == 1
        with pytest.raises(DatabaseUnavailableError):
            await db.run(work, name="often", idempotent=True)
        assert len(calls) == 1 + 5


async def test_a_violated_key_is_a_conflict_and_no_outage(table):
    async def insert(con):
        await con.execute("insert into t values (1, 1)")

    async with managed(table) as db:
        await db.run(insert, name="insert", idempotent=False)
        with pytest.raises(ConflictError, match="t_pkey"):
            await db.run(insert, name="insert", idempotent=False)
        stats = db.stats()
        assert stats.operations["insert"].failures == {"conflict": 1}
        assert stats.breaker.failures == 0


async def test_a_missing_table_names_what_makes_it(database_url):
    async with managed(database_url) as db:
        with pytest.raises(DatabaseRefusedError, match="gnn-service db migrate"):
            await db.run(lambda con: con.fetch("select * from nowhere"), name="x", idempotent=True)


async def test_a_statement_that_the_server_stops_leaves_the_connection_as_it_was(database_url):
    async with managed(database_url, pool_min=1, pool_max=1, statement_timeout_s=0.5) as db:
        pid = await db.run(backend, name="pid", idempotent=True)
        seconds, error = await seconds_of(
            db.run(lambda con: con.execute("select pg_sleep(30)"), name="slow", idempotent=True)
        )
        assert isinstance(error, QueryTimeoutError)
        assert 0.5 <= seconds <= 1.5
        assert await db.run(backend, name="pid", idempotent=True) == pid
        assert db.stats().pool.aborted == 0


async def test_a_query_that_the_client_gives_up_is_gone_from_the_server(database_url):
    async with observer(database_url) as con, managed(database_url, pool_min=1, pool_max=1) as db:
        pid = await db.run(backend, name="pid", idempotent=True)
        seconds, error = await seconds_of(
            db.run(lambda con: con.execute("select pg_sleep(30)"), name="slow", idempotent=True, timeout_s=0.5)
        )
        assert isinstance(error, QueryTimeoutError)
        assert 0.5 <= seconds <= 1.5
        assert await statements(con) == []
        assert await db.run(backend, name="pid", idempotent=True) == pid
        stats = db.stats()
        assert (stats.pool.aborted, stats.breaker.failures) == (0, 0)


async def test_a_statement_with_a_timeout_of_its_own_is_gone_too(database_url):
    async with observer(database_url) as con, managed(database_url) as db:
        with pytest.raises(QueryTimeoutError):
            async with db.acquire() as held:
                await held.execute("select pg_sleep(30)", timeout=0.3)
        assert await statements(con) == []


async def test_a_lock_is_not_waited_for_longer_than_allowed(table):
    async with managed(table, connection={"lock_timeout_s": 0.3}) as db:
        async with db.transaction() as con:
            await con.execute("lock table t")
            seconds, error = await seconds_of(
                db.run(lambda other: other.execute("insert into t values (1, 1)"), name="locked", idempotent=True)
            )
        assert isinstance(error, QueryTimeoutError)
        assert 0.3 <= seconds <= 1.5


async def test_what_acquire_leaves_in_a_session_is_cleaned(database_url):
    async with managed(database_url, pool_min=1, pool_max=1) as db:
        async with db.acquire() as con:
            await con.execute("set work_mem = '77MB'; select pg_advisory_lock(7)")
        async with db.acquire() as con:
            assert await con.fetchval("show work_mem") != "77MB"
            assert await con.fetchval("select count(*) from pg_locks where locktype = 'advisory' and granted"
                                      " and pid = pg_backend_pid()") == 0  # fmt: skip


async def test_a_transaction_that_work_forgot_is_rolled_back(table):
    async def forget(con):
        await con.transaction().start()
        await con.execute("insert into t values (1, 1)")

    handled = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: handled.append(context["message"]))
    async with managed(table, pool_min=1, pool_max=1) as db:
        await db.run(forget, name="forget", idempotent=True)
        async with db.acquire() as con:
            assert await con.fetchval("select count(*) from t") == 0
    assert len(handled) == 1
    assert "active transaction" in handled[0]


async def test_connections_are_replaced_when_their_time_is_over(database_url):
    async with managed(database_url, pool_min=1, pool_max=1, connection={"lifetime_s": 0.2}) as db:
        first = await db.run(backend, name="pid", idempotent=True)
        await asyncio.sleep(0.25)
        await db.run(backend, name="pid", idempotent=True)
        assert await db.run(backend, name="pid", idempotent=True) != first


async def test_who_holds_a_connection_too_long_is_named(database_url, caplog):
    async def forgetful_holder(db):
        async with db.acquire():
            await asyncio.sleep(0.4)

    with caplog.at_level(logging.WARNING):
        async with managed(database_url, connection={"leak_after_s": 0.1}) as db:
            await forgetful_holder(db)
            assert db.stats().pool.leaks == 1
    (record,) = [r for r in caplog.records if "held too long" in str(r.msg)]
    text = str(record.msg)
    assert text.count("forgetful_holder") >= 2  # where it was taken, and where its holder stands
    assert "test_database_manager.py" in text


async def test_connections_that_are_never_given_back_are_taken_away(database_url):
    times = {"query_timeout_s": 0.5, "statement_timeout_s": 0.4, "health": {"stuck_after_s": 0.6, "interval_s": 0.2}}
    async with managed(database_url, pool_min=1, pool_max=2, **times) as db:
        hoarded = [db.acquire(), db.acquire()]
        for each in hoarded:
            await each.__aenter__()
        await until(lambda: db.stats().pool.swaps == 1, 4)
        assert await db.run(backend, name="pid", idempotent=True) > 0
        for each in hoarded:
            await each.__aexit__(None, None, None)
        assert db.stats().pool.idle == db.stats().pool.size


async def test_a_pool_that_lost_connections_gets_its_minimum_again(database_url):
    async with observer(database_url) as con, managed(database_url, pool_min=3, health={"interval_s": 0.1}) as db:
        await con.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gnn-service'"
            " and datname = current_database()"
        )
        await until(lambda: db.stats().pool.opened >= 6 and db.stats().pool.size == 3, 4)


async def test_a_server_that_is_too_old_is_told_at_the_start(database_url, monkeypatch):
    monkeypatch.setattr("gnn_service.db.capability.OLDEST_SERVER", 99)
    db = DatabaseManager(database_settings(), url=database_url)
    with pytest.raises(DatabaseRefusedError, match="needs 99 or newer"):
        await db.start()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_the_server_can_do_is_asked_again_on_demand(database_url, monkeypatch):
    async with managed(database_url) as db:
        monkeypatch.setattr("gnn_service.db.keeper.CAPABILITY_SQL", "select 170000, '2.29.2', 'timescale'")
        assert not db.capability.has_timescale or db.capability.version[0] != 17
        found = await db.refresh_capability()
        assert found == db.capability
        assert (found.version, found.has_columnstore) == ((17, 0), True)


async def test_slow_work_is_logged_with_its_name_and_counted(database_url, caplog):
    async with managed(database_url, slow_query_s=0.1) as db:
        with caplog.at_level(logging.WARNING):
            await db.run(lambda con: con.execute("select pg_sleep(0.15)"), name="naps", idempotent=True)
        assert db.stats().operations["naps"].slow == 1
    assert any("slow database work" in str(r.msg) and "naps" in str(r.msg) for r in caplog.records)


async def test_a_wrong_password_is_told_at_the_start_and_not_tried_again(postgres_server, database_url):
    wrong = SecretStr(database_url.get_secret_value().replace(":", ":x", 2).replace(":x//", "://"))
    db = DatabaseManager(database_settings(), url=wrong)
    seconds, error = await seconds_of(db.start())
    if error is None:
        await db.stop()
        pytest.skip("this server asks for no password")
    assert isinstance(error, DatabaseRefusedError)
    assert seconds < 5
    assert "password" in error.detail
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_missing_database_is_told_at_the_start_and_not_tried_again(database_url):
    place, _, query = database_url.get_secret_value().partition("?")
    missing = SecretStr(f"{place.rpartition('/')[0]}/not_there?{query}")
    db = DatabaseManager(database_settings(), url=missing)
    seconds, error = await seconds_of(db.start())
    assert isinstance(error, DatabaseRefusedError)
    assert seconds < 5
    assert "not_there" in error.detail
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_without_a_server_it_starts_down_refuses_at_once_and_stops(database_url):
    url = SecretStr("postgresql://nobody:x@127.0.0.1:1/nothing")
    started = time.monotonic()
    async with managed(url) as db:
        assert time.monotonic() - started < 5
        assert db.state is DatabaseState.DOWN
        seconds, error = await seconds_of(db.run(backend, name="x", idempotent=True))
        assert isinstance(error, DatabaseUnavailableError)
        assert seconds < 0.1
        assert error.retry_after_s is not None
        with pytest.raises(DatabaseUnavailableError):
            _ = db.capability


async def test_before_start_and_after_stop_nothing_is_done(database_url):
    db = DatabaseManager(database_settings(), url=database_url)
    with pytest.raises(DatabaseUnavailableError, match="stopped"):
        await db.run(backend, name="x", idempotent=True)
    await db.start()
    await db.stop()
    with pytest.raises(DatabaseUnavailableError, match="stopped"):
        await db.run(backend, name="x", idempotent=True)


async def test_it_can_be_started_again(database_url):
    db = DatabaseManager(database_settings(), url=database_url)
    for _ in range(2):
        await db.start()
        assert await db.run(backend, name="x", idempotent=True) > 0
        await db.stop()


async def test_stopping_lets_work_finish_and_cuts_off_what_does_not(database_url):
    async with observer(database_url) as con:
        db = DatabaseManager(database_settings(shutdown_timeout_s=2), url=database_url)
        await db.start()

        async def nap(seconds):
            return await db.run(lambda c: c.execute(f"select pg_sleep({seconds})"), name="nap", idempotent=True)

        quick, slow = (asyncio.create_task(seconds_of(nap(seconds))) for seconds in (0.3, 4))
        await asyncio.sleep(0.1)
        seconds, _ = await seconds_of(db.stop())
        assert seconds <= 2
        assert (await quick)[1] == "SELECT 1"
        assert isinstance((await slow)[1], DatabaseUnavailableError)
        assert (await slow)[0] < 2.2
        await asyncio.sleep(0.1)
        assert await con.fetchval("select count(*) from pg_stat_activity where application_name = 'gnn-service'"
                                  " and datname = current_database() and state = 'idle'") == 0  # fmt: skip
