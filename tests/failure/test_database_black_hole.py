"""A network that swallows everything without a word: every caller, every shutdown and every check ends in time."""

import asyncio
import time

import pytest

from gnn_service.core.errors import DatabaseUnavailableError, GnnServiceError, PoolTimeoutError, QueryTimeoutError
from gnn_service.db.manager import DatabaseManager
from gnn_service.db.stats import DatabaseState
from tests.support.database import database_settings, managed, seconds_of, until
from tests.support.tcp_proxy import Mode, TcpProxy


@pytest.fixture
async def proxy(database_url):
    async with TcpProxy(database_url) as proxy:
        yield proxy


async def one(con):
    return await con.fetchval("select 1")


async def two_statements(con):
    async with con.transaction():
        await con.execute("select 1")
        async with con.transaction():
            return await con.fetchval("select 2")


@pytest.mark.parametrize("work", [one, two_statements])
async def test_twenty_callers_on_two_connections_all_end_and_none_is_left_behind(proxy, work):
    quiet = {"failures_down": 100, "interval_s": 3600, "backoff_s": 100, "backoff_max_s": 100}
    async with managed(proxy.url, pool_max=2, breaker={"minimum_calls": 1000}, health=quiet) as db:
        tasks = asyncio.all_tasks()
        proxy.mode = Mode.BLACK_HOLE
        ends = await asyncio.gather(
            *(seconds_of(db.run(work, name="work", idempotent=True, timeout_s=1)) for _ in range(20))
        )
        assert max(seconds for seconds, _ in ends) <= 2
        assert {type(error) for _, error in ends} <= {QueryTimeoutError, PoolTimeoutError, DatabaseUnavailableError}
        proxy.reset()
        proxy.mode = Mode.PASS
        for _ in range(5):
            assert await db.run(work, name="work", idempotent=True) in (1, 2)
        await until(lambda: db.stats().pool.idle == db.stats().pool.size == 2, 3)
        await until(lambda: not asyncio.all_tasks() - tasks - proxy.tasks, 3)


async def test_a_statement_with_the_timeout_of_every_query_ends_on_time(proxy):
    async with managed(proxy.url, query_timeout_s=1, statement_timeout_s=0.9) as db:
        async with db.acquire() as con:
            assert await con.fetchval("select 1") == 1

        async def query():
            async with db.acquire() as con:
                proxy.mode = Mode.BLACK_HOLE
                return await con.fetchval("select 1")

        seconds, error = await seconds_of(query())
        assert isinstance(error, QueryTimeoutError)
        assert 1 <= seconds <= 2


async def test_a_hole_while_a_connection_is_given_back_costs_the_caller_no_result(proxy):
    async with managed(proxy.url, connection={"release_timeout_s": 0.5}) as db:

        async def query():
            async with db.acquire() as con:
                result = await con.fetchval("select 42")
                proxy.mode = Mode.BLACK_HOLE
            return result

        seconds, result = await seconds_of(query())
        assert result == 42
        assert 0.5 <= seconds <= 1.5
        assert db.stats().pool.aborted == 1


async def test_a_hole_at_the_commit_ends_with_an_error_on_time(proxy):
    async with managed(proxy.url, query_timeout_s=1, statement_timeout_s=0.9) as db:

        async def write():
            async with db.transaction() as con:
                await con.execute("select 1")
                proxy.mode = Mode.BLACK_HOLE

        seconds, error = await seconds_of(write())
        assert isinstance(error, QueryTimeoutError)
        assert seconds <= 2


async def test_a_cancelled_caller_is_gone_at_once_whatever_the_network_does(proxy):
    async with managed(proxy.url) as db:
        reached = asyncio.Event()

        async def work(con):
            async with con.transaction():
                await con.execute("select 1")
                proxy.mode = Mode.BLACK_HOLE
                reached.set()
                await con.execute("select 2")

        caller = asyncio.create_task(db.run(work, name="work", idempotent=True, timeout_s=30))
        await reached.wait()
        await asyncio.sleep(0.05)
        started = time.monotonic()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert time.monotonic() - started <= 1.5


async def test_the_health_check_notices_gives_the_pool_up_and_comes_back_with_a_full_one(proxy):
    async with managed(proxy.url, health={"interval_s": 0.2, "timeout_s": 0.3}) as db:
        hanging = asyncio.create_task(seconds_of(db.run(one, name="one", idempotent=False, timeout_s=30)))
        await hanging
        proxy.mode = Mode.BLACK_HOLE
        hanging = asyncio.create_task(seconds_of(db.run(one, name="one", idempotent=False, timeout_s=30)))
        await until(lambda: db.state is DatabaseState.DOWN, 10)
        seconds, error = await hanging
        assert isinstance(error, DatabaseUnavailableError)
        assert seconds < 10
        assert (await seconds_of(db.run(one, name="one", idempotent=True)))[0] < 0.1
        proxy.reset()
        proxy.mode = Mode.PASS
        await until(lambda: db.state is DatabaseState.HEALTHY, 2)
        assert db.stats().pool.size == 2
        assert await db.run(one, name="one", idempotent=True) == 1
        assert db.stats().pool.swaps == 1


@pytest.mark.parametrize("during", ["nothing", "query", "transaction", "connecting"])
async def test_it_stops_within_five_seconds_into_a_black_hole(proxy, during):
    before = asyncio.all_tasks()
    db = DatabaseManager(database_settings(health={"interval_s": 0.1}), url=proxy.url)
    if during == "connecting":
        proxy.mode = Mode.BLACK_HOLE
    started, _ = await seconds_of(db.start())
    assert started <= 5
    proxy.mode = Mode.BLACK_HOLE
    works = {"query": one, "transaction": two_statements}
    caller = asyncio.create_task(
        seconds_of(db.run(works.get(during, one), name="x", idempotent=False, timeout_s=60))
        if during in works
        else asyncio.sleep(0)
    )
    await asyncio.sleep(0.3)
    seconds, error = await seconds_of(db.stop())
    assert error is None
    assert seconds <= 5
    await asyncio.wait({caller}, timeout=1)
    assert caller.done()
    await until(lambda: not asyncio.all_tasks() - before - proxy.tasks, 2)


async def test_an_open_breaker_sends_not_a_byte(proxy, monkeypatch):
    quiet = {"failures_down": 100, "interval_s": 3600, "backoff_s": 100, "backoff_max_s": 100}
    breaker = {"minimum_calls": 3, "open_s": 1.0, "half_open_probes": 2, "half_open_concurrent": 1}
    async with managed(
        proxy.url, breaker=breaker, health=quiet, retry={"attempts": 1}, connection={"ping_after_s": 1000}
    ) as db:
        # a check would send bytes, and close the breaker
        monkeypatch.setattr(db._keeper.health, "suspect", lambda: None)
        proxy.mode = Mode.BLACK_HOLE
        for _ in range(3):
            _, error = await seconds_of(db.run(one, name="one", idempotent=True, timeout_s=0.1))
            assert isinstance(error, GnnServiceError)
        await asyncio.sleep(0.2)
        assert str(db.stats().breaker.state) == "open"
        connections, sent = proxy.connections, proxy.bytes_in
        ends = await asyncio.gather(*(seconds_of(db.run(one, name="one", idempotent=True)) for _ in range(20)))
        assert max(seconds for seconds, _ in ends) < 0.3
        for _, error in ends:
            assert isinstance(error, DatabaseUnavailableError)
            assert error.retry_after_s is not None
            assert 0 < error.retry_after_s <= 1
        assert (proxy.connections, proxy.bytes_in) == (connections, sent)

        proxy.reset()
        proxy.mode = Mode.PASS
        await until(lambda: str(db.stats().breaker.state) == "half_open", 2)
        ends = await asyncio.gather(
            *(seconds_of(db.run(lambda con: con.fetchval("select 1 from pg_sleep(0.1)"), name="one", idempotent=True))
              for _ in range(5)))  # fmt: skip
        assert [result for _, result in ends].count(1) == 1  # one probe at a time
        assert await db.run(one, name="one", idempotent=True) == 1
        assert str(db.stats().breaker.state) == "closed"
