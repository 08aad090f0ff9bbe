"""A minute of load through the routes while the database and the service are killed: nothing acknowledged is lost.

Longer, and with another seed, by hand: ``make torture SECONDS=600 SEED=7``.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gnn_service.db import schema
from tests.support.postgres import TestServer, free_port, wait_for
from tests.support.tcp_proxy import TcpProxy
from tests.support.torture import Client, Service, Torturer, check, kept, until_calm

SECONDS = float(os.environ.get("GNN_TEST_TORTURE_SECONDS", "60"))
SEED = int(os.environ.get("GNN_TEST_TORTURE_SEED", "1"))
CLIENTS = 4


@pytest.mark.timeout(SECONDS + 240)
async def test_everything_acknowledged_is_there_once_whatever_was_killed(
    own_server: TestServer, open_folder: Callable[[], Path], capsys: pytest.CaptureFixture[str]
):
    url = own_server.tcp(own_server.owner_url("gnn"))
    wait_for(schema.migrate(url))
    async with TcpProxy(url) as proxy:
        service = Service(open_folder(), proxy, free_port())
        service.start()
        try:
            await until_calm(service)
            until = time.monotonic() + SECONDS
            clients = [Client(number, service.url, random.Random(SEED * 100 + number)) for number in range(CLIENTS)]
            torturer = Torturer(own_server, proxy, service, random.Random(SEED))
            await asyncio.gather(torturer.run(until), *(client.run(until) for client in clients))
            service.start()
            await until_calm(service)
            for client in clients:
                check(client, *await kept(own_server, client.name))
            assert await service.end(signal.SIGTERM) == 0, service.log()
        finally:
            await service.end(signal.SIGKILL)
    answers = sum((client.answers for client in clients), Counter())
    seconds = sum(len(client.acknowledged) for client in clients)
    with capsys.disabled():
        if "GNN_TEST_TORTURE_SECONDS" in os.environ:
            print(
                f"\n{seconds} readings acknowledged and there; answers {dict(answers)}; troubles {dict(torturer.done)}"
            )
    assert seconds > 100
    assert answers["stored"] > 10
    assert answers["spooled"] > 0
    assert len(torturer.done) == 8
