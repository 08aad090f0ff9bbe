"""A storm of faults, seeded: what was acknowledged is there, nothing is there twice, and every call ends in time."""

import asyncio
import random
import time

import pytest

from gnn_service.core.errors import GnnServiceError
from gnn_service.db.stats import DatabaseState
from tests.support.database import managed, observer, until
from tests.support.tcp_proxy import Mode, TcpProxy

STORM_S = 6.0
DEADLINE_S = 1.5
END_CONNECTIONS = """select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'gnn-service' and datname = current_database()"""


class Writers:
    """Write numbers with a key, again where needed, and numbers without one; keep what they were told."""

    def __init__(self, db, draw) -> None:
        self.db = db
        self.draw = draw
        self.acknowledged: dict[str, set[int]] = {"keyed": set(), "plain": set()}
        self.longest_s = 0.0
        self.failed = 0
        self.unexpected: list[BaseException] = []

    async def write(self, table: str, number: int) -> None:
        keyed = table == "keyed"
        clause = "on conflict do nothing" if keyed else ""

        async def work(con):
            await con.execute(f"insert into {table} values ($1) {clause}", number)  # noqa: S608 - two names

        isolation = self.draw.choice([None, "read_committed", "serializable"])
        started = time.monotonic()
        try:
            await self.db.run(work, name=table, idempotent=keyed, timeout_s=DEADLINE_S, isolation=isolation)
        except GnnServiceError:
            self.failed += 1
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.unexpected.append(error)
        else:
            self.acknowledged[table].add(number)
        self.longest_s = max(self.longest_s, time.monotonic() - started)

    async def keep_writing(self, first: int, until_s: float) -> None:
        number = first
        while time.monotonic() < until_s:
            task = asyncio.create_task(self.write(self.draw.choice(["keyed", "plain"]), number))
            if self.draw.random() < 0.05:
                await asyncio.sleep(self.draw.uniform(0, 0.01))
                task.cancel()
            await asyncio.wait({task})
            number += 1
            await asyncio.sleep(self.draw.uniform(0, 0.01))


async def storm(proxy, con, draw, until_s):
    while time.monotonic() < until_s:
        await asyncio.sleep(draw.uniform(0.1, 0.9))
        match draw.randrange(7):
            case 0:
                proxy.reset()
            case 1:
                proxy.forget()
            case 2:
                await con.execute(END_CONNECTIONS)
            case 3:
                await proxy.refuse()
                proxy.reset()
                await asyncio.sleep(draw.uniform(0, 0.8))
                await proxy.listen()
            case 4:
                proxy.delay_s = draw.uniform(0, 0.01)
            case 5 | 6 as kind:
                proxy.mode = Mode.BLACK_HOLE if kind == 5 else Mode.DROP_REPLIES
                await asyncio.sleep(draw.uniform(0, 1.0))
                proxy.mode = Mode.PASS
                proxy.forget()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_in_a_storm_nothing_is_lost_and_nothing_is_done_twice(database_url, seed: int):
    draw = random.Random(seed)
    async with TcpProxy(database_url) as proxy, observer(database_url) as con:
        await con.execute(
            "create schema gnn; create table gnn.keyed (n int primary key); create table gnn.plain (n int)"
        )
        quick = {"interval_s": 0.5, "timeout_s": 1.0, "backoff_s": 0.1, "backoff_max_s": 0.3}
        async with managed(
            proxy.url, health=quick, breaker={"open_s": 0.3}, connection={"timeout_s": 1.0, "ping_after_s": 0.5},
            query_timeout_s=2, statement_timeout_s=1.9, acquire_timeout_s=1,
        ) as db:  # fmt: skip
            writers = Writers(db, draw)
            end_s = time.monotonic() + STORM_S
            await asyncio.gather(
                storm(proxy, con, draw, end_s), *(writers.keep_writing(i * 1_000_000, end_s) for i in range(6))
            )
            proxy.delay_s = 0.0
            await until(lambda: db.state is DatabaseState.HEALTHY, 10)
            for _ in range(5):
                await writers.write("keyed", -1)
            await until(lambda: db.stats().pool.idle == db.stats().pool.size, 3)
        assert writers.unexpected == []
        assert writers.longest_s <= DEADLINE_S + 1.2
        assert -1 in writers.acknowledged["keyed"]
        assert writers.failed > 0
        for table in ("keyed", "plain"):
            stored = [row["n"] for row in await con.fetch(f"select n from gnn.{table}")]  # noqa: S608 - two names
            assert len(stored) == len(set(stored))
            assert writers.acknowledged[table] <= set(stored)
