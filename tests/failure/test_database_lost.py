"""Connections that break, replies that get lost, servers that go and come back."""

import asyncio
import os
import signal

import asyncpg
import pytest

from gnn_service.core.errors import DatabaseUnavailableError, GnnServiceError, QueryTimeoutError
from gnn_service.db.stats import DatabaseState
from tests.support.database import managed, observer, seconds_of, until
from tests.support.tcp_proxy import Mode, TcpProxy


@pytest.fixture
async def proxy(database_url):
    async with observer(database_url) as con:
        await con.execute("create schema if not exists gnn; create table gnn.t (id int primary key, v int)")
    async with TcpProxy(database_url) as proxy:
        yield proxy


async def one(con):
    return await con.fetchval("select 1")


async def nap(con):
    return await con.fetchval("select 1 from pg_sleep(0.5)")


async def test_connections_that_were_reset_unused_are_replaced_without_a_failed_call(proxy):
    async with managed(proxy.url) as db:
        proxy.reset()
        await asyncio.sleep(0.1)  # until the system has heard of it
        for _ in range(10):
            assert await db.run(one, name="one", idempotent=False) == 1


async def test_connections_that_a_firewall_forgot_are_replaced_without_a_failed_call(proxy):
    async with managed(proxy.url, connection={"ping_after_s": 0}, acquire_timeout_s=5) as db:
        proxy.forget()
        for _ in range(4):
            seconds, result = await seconds_of(db.run(one, name="one", idempotent=False))
            assert result == 1
            assert seconds < 2.5  # two dead connections, half a second for the question to each
        stats = db.stats()
        assert stats.operations["one"].repeats == 0
        assert stats.pool.aborted >= 1


async def test_when_one_connection_fell_silent_the_others_are_asked_before_they_are_used(proxy):
    async with managed(proxy.url, pool_min=4, connection={"ping_after_s": 1000}, acquire_timeout_s=5) as db:
        await asyncio.gather(*(db.run(nap, name="nap", idempotent=False) for _ in range(4)))
        proxy.forget()
        _, error = await seconds_of(db.run(one, name="one", idempotent=False, timeout_s=0.3))
        assert isinstance(error, QueryTimeoutError)
        results = await asyncio.gather(*(db.run(one, name="one", idempotent=False) for _ in range(4)))
        assert results == [1, 1, 1, 1]


async def test_a_query_whose_connection_breaks_is_repeated_if_that_is_the_same_as_once(proxy):
    async with managed(proxy.url) as db:
        caller = asyncio.create_task(db.run(nap, name="nap", idempotent=True))
        await asyncio.sleep(0.2)
        proxy.reset()
        assert await caller == 1
        assert db.stats().operations["nap"].repeats == 1


async def test_a_query_whose_connection_breaks_is_not_repeated_if_it_may_have_been_done(proxy):
    calls = []

    async def work(con):
        calls.append(1)
        return await nap(con)

    async with managed(proxy.url) as db:
        caller = asyncio.create_task(seconds_of(db.run(work, name="nap", idempotent=False)))
        await asyncio.sleep(0.2)
        proxy.reset()
        seconds, error = await caller
        assert isinstance(error, DatabaseUnavailableError)
        assert seconds < 1
        assert len(calls) == 1


async def test_in_a_transaction_the_loss_of_the_connection_is_told_as_such(proxy):
    async with managed(proxy.url) as db:

        async def write():
            async with db.transaction() as con:
                await con.execute("select 1")
                proxy.reset()
                await con.execute("select 2")

        _, error = await seconds_of(write())
        assert isinstance(error, DatabaseUnavailableError)
        assert "broke off the work" in error.detail
        assert isinstance(error.__cause__, asyncpg.ConnectionDoesNotExistError | ConnectionError)


@pytest.mark.parametrize("isolation", [None, "read_committed"])
async def test_a_commit_whose_answer_is_lost_is_done_once_although_repeated(proxy, isolation, database_url):
    """The row is there when the answer is lost; its natural key keeps the repetition from adding another."""
    attempts = []

    async def write(con):
        attempts.append(1)
        if len(attempts) == 1:
            proxy.mode = Mode.PASS if isolation else Mode.DROP_REPLIES
        statement = "insert into t values (1, 1) on conflict (id) do nothing"
        if isolation is None:
            await con.execute(statement)
            return
        await con.execute(statement)
        if len(attempts) == 1:
            proxy.mode = Mode.DROP_REPLIES

    async with managed(proxy.url) as db, observer(database_url) as con:

        async def heal():
            await until(lambda: proxy.mode is Mode.DROP_REPLIES, 2)
            await con.fetchval("select pg_sleep(0.05)")  # the statement arrives
            assert await con.fetchval("select count(*) from gnn.t") == 1
            proxy.mode = Mode.PASS

        healing = asyncio.create_task(heal())
        await db.run(write, name="write", idempotent=True, isolation=isolation)
        await healing
        assert len(attempts) >= 2
        assert await con.fetchval("select count(*) from gnn.t") == 1


async def test_a_server_that_takes_no_connections_is_noticed_and_found_again(proxy):
    async with managed(proxy.url, health={"interval_s": 0.2}) as db:
        heard: list[DatabaseState] = []
        db.add_listener(heard.append)
        await proxy.refuse()
        proxy.reset()
        await until(lambda: db.state is DatabaseState.DOWN, 5)
        assert "refused" in db.stats().last_error.lower()
        await proxy.listen()
        await until(lambda: db.state is DatabaseState.HEALTHY, 2)
        assert db.stats().pool.size == 2
        assert heard == [DatabaseState.DEGRADED, DatabaseState.DOWN, DatabaseState.HEALTHY]


async def test_an_outage_shorter_than_the_retries_is_not_noticed_by_callers(proxy):
    async with managed(proxy.url, retry={"backoff_s": 0.4}, draw=lambda: 0.99) as db:
        await proxy.refuse()
        proxy.reset()
        await asyncio.sleep(0.1)
        callers = [asyncio.create_task(db.run(one, name="one", idempotent=False)) for _ in range(4)]
        await asyncio.sleep(0.3)
        await proxy.listen()
        assert await asyncio.gather(*callers) == [1, 1, 1, 1]


async def test_a_slow_network_works_and_costs_few_round_trips(proxy):
    async with managed(proxy.url) as db:
        await db.run(one, name="one", idempotent=True)
        proxy.delay_s = 0.1
        seconds, result = await seconds_of(db.run(one, name="one", idempotent=True))
        assert result == 1
        assert seconds < 0.1 * 2 * 2  # one round trip: the statement is prepared, the session left as it was


async def test_in_an_outage_the_driver_logs_no_tracebacks(proxy, caplog):
    async with managed(proxy.url, health={"interval_s": 0.2}) as db:
        await proxy.refuse()
        proxy.reset()
        await until(lambda: db.state is DatabaseState.DOWN, 5)
        await asyncio.sleep(1.2)
    assert not [record for record in caplog.records if record.name.startswith("asyncpg")]
    assert not [record for record in caplog.records if record.exc_info]


class TestServer:
    """A server of the test's own, to be stopped, killed and frozen."""

    @pytest.fixture
    def url(self, own_server):
        return own_server.tcp(own_server.owner_url("gnn"))

    async def test_after_a_restart_no_call_fails_and_work_in_flight_is_repeated(self, url, own_server):
        async with managed(url, retry={"backoff_s": 3, "backoff_max_s": 3}, draw=lambda: 0.99) as db:
            caller = asyncio.create_task(db.run(nap, name="nap", idempotent=True, timeout_s=20))
            await asyncio.sleep(0.2)
            os.kill(own_server.pid, signal.SIGINT)  # fast shutdown; the supervisor starts it again
            assert await caller == 1
            for _ in range(10):
                assert await db.run(one, name="one", idempotent=False) == 1
            assert db.stats().operations["nap"].repeats == 1
            await until(lambda: db.stats().pool.size >= 2, 2)

    @pytest.mark.parametrize("blow", ["backend", "postmaster", "immediate"])
    async def test_after_a_crash_every_caller_ends_and_the_pool_is_full_again(self, url, own_server, blow):
        async with managed(url, health={"interval_s": 1}) as db:
            victim = await db.run(lambda con: con.fetchval("select pg_backend_pid()"), name="pid", idempotent=True)
            callers = [
                asyncio.create_task(seconds_of(db.run(nap, name="nap", idempotent=True, timeout_s=8))) for _ in range(8)
            ]
            await asyncio.sleep(0.2)
            pid, sig = {
                "backend": (victim, signal.SIGKILL),
                "postmaster": (own_server.pid, signal.SIGKILL),
                "immediate": (own_server.pid, signal.SIGQUIT),
            }[blow]
            os.kill(pid, sig)
            for seconds, result in await asyncio.gather(*callers):
                assert seconds <= 9
                assert result == 1 or isinstance(result, GnnServiceError)
            await self.is_back(url)
            await until(lambda: db.state is DatabaseState.HEALTHY and db.stats().pool.size >= 2, 2.5)
            assert await db.run(one, name="one", idempotent=False) == 1

    async def test_a_frozen_server_holds_nobody_longer_than_their_deadline(self, url, own_server):
        async with managed(url, health={"interval_s": 0.5}, query_timeout_s=2, statement_timeout_s=1.9) as db:
            children = await self.backends(url)
            frozen = [own_server.pid, *children]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                ends = await asyncio.gather(
                    *(seconds_of(db.run(one, name="one", idempotent=True, timeout_s=1)) for _ in range(12))
                )
                assert max(seconds for seconds, _ in ends) <= 2
                assert all(isinstance(error, GnnServiceError) for _, error in ends)
                await until(lambda: db.state is DatabaseState.DOWN, 10)
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            await until(lambda: db.state is DatabaseState.HEALTHY and db.stats().pool.size == 2, 2)
            assert await db.run(one, name="one", idempotent=True) == 1

    async def test_a_service_that_starts_before_its_server_finds_it_by_itself(self, url, own_server):
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            async with managed(url) as db:
                assert db.state is DatabaseState.DOWN
                os.kill(own_server.pid, signal.SIGCONT)
                await until(lambda: db.state is DatabaseState.HEALTHY, 3)
                assert db.capability.version[0] == 18
                assert await db.run(one, name="one", idempotent=True) == 1
        finally:
            os.kill(own_server.pid, signal.SIGCONT)

    @staticmethod
    async def is_back(url) -> None:
        """Wait until the server takes connections again."""
        for _ in range(100):
            try:
                con = await asyncpg.connect(url.get_secret_value(), timeout=1)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                await con.close(timeout=1)
                return
        pytest.fail("the server did not come back")

    @staticmethod
    async def backends(url) -> list[int]:
        """The process ids of the manager's connections."""
        async with observer(url) as con:
            rows = await con.fetch("select pid from pg_stat_activity where application_name = 'gnn-service'")
            return [row["pid"] for row in rows]
