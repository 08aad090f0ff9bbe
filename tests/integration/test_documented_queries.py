"""The SQL of the page on the database, run as it stands there."""

import re

import asyncpg
import numpy as np
import pytest

from gnn_service.db.machines import MachineRepository
from gnn_service.db.readings import ReadingRepository
from tests.support.postgres import wait_for
from tests.support.stored import plain_runner, pump, sensor

PAGE = "docs/reference/database.md"


def statements(root):
    text = (root / PAGE).read_text(encoding="utf-8")
    section = text[text.index("## What is stored, and how to query it") :]
    return re.findall(r"```sql\n(.*?)```", section, flags=re.DOTALL)


def test_the_page_has_questions(root):
    assert len(statements(root)) >= 5


async def test_questions_run_as_they_stand(root, service_url):
    async with plain_runner(service_url) as runner:
        machine = (await MachineRepository(runner).put(pump(sensor("PS1"), sensor("TS1", unit="Cel")))).stored
        async with runner.pool.acquire() as con:
            now_us = int(await con.fetchval("select extract(epoch from now())") * 10**6)
            times = now_us - np.arange(60, 0, -1) * 10**6
            values = np.ones((60, 2), np.float32)
            await ReadingRepository(runner).store(machine.blocks(times, ("PS1", "TS1"), values))
            answers = {}
            for statement in statements(root):
                if statement.startswith("select"):
                    filled = statement.replace("$__timeFilter(ts)", "ts < now()")
                    answers[statement] = await con.fetch(filled.replace("$sensor", "'PS1'").replace("$machine", "M1"))
    assert len(next(iter(answers.values()))) == 60


def test_the_role_for_grafana_sees_what_it_needs(root, migrated_url, postgres_server):
    grants = next(one for one in statements(root) if one.startswith("create role grafana"))

    async def ask():
        url = migrated_url.get_secret_value()
        name = url.rpartition("/")[2].partition("?")[0]
        administrator = postgres_server.administrator.get_secret_value()
        con = await asyncpg.connect(administrator, database=name, timeout=10)
        transaction = con.transaction()
        await transaction.start()  # roles belong to the whole server: none may stay
        try:
            await con.execute(grants)
            await con.execute("set local role grafana")
            for view in ("sensor_reading", "sensor_reading_1m", "sensor_reading_1h", "component_health"):
                assert await con.fetch(f"select * from gnn.{view} where machine = 'M1'") == []  # noqa: S608 - names of above
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await con.execute("delete from gnn.frame")
        finally:
            await transaction.rollback()
            await con.close()

    wait_for(ask())
