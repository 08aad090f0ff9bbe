"""The embedded server under a storm of kills, freezes and restarts: what it acknowledged is there, once."""

import asyncio
import os
import random
import signal
from contextlib import suppress

import asyncpg
import psutil
import pytest

from gnn_service.db import embedded
from gnn_service.db.embedded import EmbeddedPostgres
from tests.support.postgres import within

STEPS, BACK_S, ALL_S = 10, 20, 55
# InternalClientError: the connection was lost between preparing and executing.
FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Writer:
    """Inserts 1, 2, 3 ...; repeats what it does not know of; knows what was acknowledged."""

    def __init__(self, server):
        self.server, self.acknowledged, self.done = server, 0, False
        self.progress = asyncio.Event()

    async def run(self):
        connection = None
        while not self.done:
            try:
                connection = connection or await asyncpg.connect(self.server.owner_url.get_secret_value(), timeout=2)
                await connection.execute(
                    "insert into public.kept values ($1) on conflict do nothing", self.acknowledged + 1, timeout=2
                )
                self.acknowledged += 1
                self.progress.set()
            except FAILURES:
                if connection is not None:
                    connection.terminate()
                    connection = None
                await asyncio.sleep(0.02)
        if connection is not None:
            connection.terminate()

    async def goes_on(self):
        """Return when another value was acknowledged."""
        self.progress.clear()
        await asyncio.wait_for(self.progress.wait(), BACK_S)


async def strike(draw, server, folder):
    """One blow; the server afterwards."""
    blow = draw.choice(["kill", "quit", "backend", "freeze", "restart", "twice"])
    pid = server.pid
    with suppress(ProcessLookupError, psutil.NoSuchProcess, ValueError):  # it is dying of the blow before
        if blow == "restart":
            await server.stop()
            server = EmbeddedPostgres(folder)
            await server.start()
        elif pid is None:
            pass
        elif blow in {"kill", "quit", "twice"}:
            os.kill(pid, signal.SIGQUIT if blow == "quit" else signal.SIGKILL)
            if blow == "twice":  # and again while it recovers
                await asyncio.sleep(draw.uniform(0, 0.6))
                if server.pid is not None:
                    os.kill(server.pid, signal.SIGKILL)
        elif blow == "backend":
            for child in draw.sample(psutil.Process(pid).children(), 1):
                child.kill()
        else:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(draw.uniform(0, 0.5))
            os.kill(pid, signal.SIGCONT)
    return server


async def read(server):
    """What is there, when the last blow is got over."""
    async with asyncio.timeout(BACK_S):
        while True:
            try:
                connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=2)
                rows = await connection.fetch("select value from public.kept order by value", timeout=2)
                await connection.close(timeout=2)
                return [row["value"] for row in rows]
            except FAILURES:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_was_acknowledged_in_a_storm_is_there_once(copied_folder, monkeypatch, seed):
    monkeypatch.setattr(embedded, "_RESTART_MAX_S", 0.4)
    draw = random.Random(seed)
    server = EmbeddedPostgres(copied_folder)
    await server.start()
    connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=5)
    await connection.execute("create table public.kept (value int primary key)")
    await connection.close()
    writer = Writer(server)
    writing = asyncio.create_task(writer.run())
    with within(ALL_S):
        for _ in range(STEPS):
            await writer.goes_on()
            await asyncio.sleep(draw.uniform(0, 0.2))
            writer.server = server = await strike(draw, server, copied_folder)
        await writer.goes_on()
    writer.done = True
    await writing
    kept = await read(server)
    await server.stop()
    assert kept[: writer.acknowledged] == list(range(1, writer.acknowledged + 1))
    assert len(kept) <= writer.acknowledged + 1  # the last one's answer may have been lost
