"""The store opened as the service opens it."""

import asyncio
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import schema
from gnn_service.db.migrations import VERSION_TABLE
from gnn_service.db.stats import DatabaseState
from gnn_service.db.store import Migration, Store
from tests.support.database import database_settings, until
from tests.support.postgres import TestServer, within
from tests.support.tcp_proxy import Mode, TcpProxy


async def user_of(store: Store) -> tuple[str, bool]:
    """Who the service's statements are run as, and whether that role may do anything."""
    async with store.database.acquire() as con:
        row = await con.fetchrow("select current_user, rolsuper from pg_roles where rolname = current_user")
    return row[0], row[1]


async def test_a_new_folder_becomes_a_store_and_is_one_again_the_next_time(copied_folder: Path):
    settings = database_settings(data_dir=copied_folder)
    for _ in range(2):
        async with Store.open(settings) as store:
            assert store.database.state is DatabaseState.HEALTHY
            assert await user_of(store) == ("gnn_app", False)
            assert await store.machines.page() == ()


async def test_the_owners_address_alone_serves_without_the_owners_rights(database_url: SecretStr):
    async with Store.open(database_settings(url=database_url)) as store:
        assert await user_of(store) == ("gnn_app", False)
        for _ in range(3):  # nor does a connection get them back when it is used again
            with pytest.raises(DatabaseRefusedError, match="a right is missing"):
                async with store.database.acquire() as con:
                    await con.execute("drop table gnn.frame")


async def test_the_services_own_address_serves_from_a_schema_that_is_there(
    postgres_server: TestServer, database_url: SecretStr
):
    service = postgres_server.service_url(urlsplit(database_url.get_secret_value()).path[1:])
    if service is None:
        pytest.skip("this server is not ours: it has no login of its own for the service")
    with pytest.raises(DatabaseRefusedError, match="GNN_DATABASE__OWNER_URL"):
        async with Store.open(database_settings(url=service)):
            pass
    await schema.migrate(database_url)
    async with Store.open(database_settings(url=service)) as store:
        assert await user_of(store) == ("gnn_app", False)


async def test_a_schema_of_another_version_is_refused_before_anything_is_served(database_url: SecretStr):
    off = {"migration": {"on_start": False}}
    with pytest.raises(DatabaseRefusedError, match="run gnn-service db migrate"):
        async with Store.open(database_settings(url=database_url, **off)):
            pass
    await schema.migrate(database_url)
    con = await asyncpg.connect(database_url.get_secret_value())
    await con.execute(f"update gnn.{VERSION_TABLE} set version_num = '9999'")  # noqa: S608 - a constant
    await con.close()
    for given in ({}, off):
        with within(5), pytest.raises(DatabaseRefusedError, match="newer than this version"):
            async with Store.open(database_settings(url=database_url, **given)):
                pass


async def test_a_wrong_password_or_a_missing_database_ends_the_start_at_once(own_server: TestServer):
    good = own_server.tcp(own_server.owner_url("gnn")).get_secret_value()
    parts = urlsplit(good)
    wrong = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":wrong@")))
    missing = urlunsplit(parts._replace(path="/nowhere"))
    for url, said in ((wrong, "password"), (missing, "nowhere")):
        with within(5), pytest.raises(DatabaseRefusedError, match=said):
            async with Store.open(database_settings(url=SecretStr(url))):
                pass


async def test_a_server_that_comes_late_is_waited_for_and_gets_its_schema(own_server: TestServer):
    url = own_server.tcp(own_server.owner_url("gnn"))
    os.kill(own_server.pid, signal.SIGSTOP)
    woken = False
    try:
        with within(12):
            opened = Store.open(database_settings(url=url))
            store = await opened.__aenter__()
        try:
            with pytest.raises(DatabaseUnavailableError):
                await store.machines.page()
            os.kill(own_server.pid, signal.SIGCONT)
            woken = True
            await until(lambda: store.database.state is DatabaseState.HEALTHY, 20)
            assert await store.machines.page() == ()
        finally:
            await opened.__aexit__(None, None, None)
    finally:
        if not woken:
            os.kill(own_server.pid, signal.SIGCONT)


async def test_a_server_that_falls_silent_in_a_migration_holds_up_neither_start_nor_stop(own_server: TestServer):
    async with TcpProxy(own_server.tcp(own_server.owner_url("gnn"))) as proxy:

        def swallow(step: str) -> None:
            if step == "setting rights":
                proxy.mode = Mode.BLACK_HOLE

        migration = Migration(proxy.url, database_settings(), swallow, then=lambda: None, patience_s=1.0)
        with within(10):
            await migration.start()
        assert proxy.mode is Mode.BLACK_HOLE
        with within(5):
            await migration.stop()


async def test_a_store_that_is_closed_while_its_server_is_away_leaves_nothing_running(own_server: TestServer):
    url = own_server.tcp(own_server.owner_url("gnn"))
    await own_server.embedded.stop()
    before = asyncio.all_tasks()
    with within(15):
        async with Store.open(database_settings(url=url)) as store:
            assert store.database.state is not DatabaseState.HEALTHY
    assert asyncio.all_tasks() == before
