"""The service dies, the server dies, something was left behind: what was committed is there, and waits are bounded."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import asyncpg
import psutil
import pytest

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import DatabaseUnavailableError
from gnn_service.db import embedded, embedded_access, embedded_postmaster
from gnn_service.db.embedded import EmbeddedPostgres
from gnn_service.db.embedded_account import account_for, spawn
from tests.support.postgres import within

START_S, STOP_S, BACK_S = 30, 20, 20
pytestmark = pytest.mark.timeout(50)  # seconds; what has no limit of its own has this one


async def execute(url, *statements):
    connection = await asyncpg.connect(url, timeout=5)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=5)
    finally:
        await connection.close(timeout=5)


async def kept(server):
    connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=5)
    try:
        return [row["value"] for row in await connection.fetch("select value from public.kept order by value")]
    finally:
        await connection.close(timeout=5)


async def ready_again(server, seconds=BACK_S):
    """Seconds until the server takes connections again."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await execute(server.owner_url.get_secret_value(), "select 1")
            if server.pid is not None:  # its keeper knows a moment later than its clients
                return time.monotonic() - start
        await asyncio.sleep(0.05)
    pytest.fail(f"the server did not come back in {seconds} s")


async def gone(pid, seconds):
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.05)
                continue
        return
    pytest.fail(f"process {pid} still runs after {seconds} s")


@contextmanager
def service(root, folder):
    """A service of its own, and what it said about itself; killed at the end if it still lives."""
    script = root / "tests" / "support" / "embedded_service.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            yield process, json.loads(line) if line.startswith("{") else line
        finally:
            process.kill()


KEEP = ("create table if not exists public.kept (value int)", "insert into public.kept values (1), (2)")


async def test_a_service_that_is_killed_takes_its_server_along_in_order(root, copied_folder):
    with service(root, copied_folder) as (process, told):
        await execute(told["url"], *KEEP)
        process.kill()
        if sys.platform == "linux":
            await gone(told["postmaster"], 10)
            log = (copied_folder / "postgres" / "log" / "postgresql.log").read_text()
            assert "database system is shut down" in log.splitlines()[-1]
    server = EmbeddedPostgres(copied_folder)
    with within(START_S):
        await server.start()
    assert await kept(server) == [1, 2]
    await server.stop()


async def test_a_service_may_start_the_moment_after_another_one_was_killed(root, copied_folder):
    with service(root, copied_folder) as (process, told):
        await execute(told["url"], *KEEP)
        process.kill()
        process.wait(5)
        server = EmbeddedPostgres(copied_folder)
        with within(START_S):
            await server.start()
        assert server.pid != told["postmaster"]
        await gone(told["postmaster"], 0.1)
    assert await kept(server) == [1, 2]
    await server.stop()


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_server_that_outlived_its_service_is_stopped_and_replaced(copied_folder, monkeypatch, frozen):
    monkeypatch.setattr(embedded_postmaster, "_LEFTOVERS_S", 2.0)
    monkeypatch.setattr(embedded_postmaster, "_IMMEDIATE_S", 0.5)
    home = copied_folder / "postgres"
    account = account_for(home / "data")
    where = embedded_access.address(home / "run", 0)
    async with EmbeddedPostgres(copied_folder) as server:  # to learn where the programs are
        program = psutil.Process(server.pid).exe()
    orphan = spawn(account, [program, "-D", str(home / "data"), *where.arguments()], home)
    try:
        with suppress(subprocess.TimeoutExpired):
            orphan.wait(1)
        assert (home / "data" / "postmaster.pid").exists()
        if frozen:
            orphan.send_signal(signal.SIGSTOP)
        server = EmbeddedPostgres(copied_folder)
        reaper = asyncio.create_task(asyncio.to_thread(orphan.wait, START_S))  # what init does for a real orphan
        with within(START_S):
            await server.start()
        await reaper
        assert server.pid != orphan.pid
        await server.stop()
    finally:
        orphan.kill()
        orphan.wait(5)


async def test_a_server_that_is_killed_is_started_again_with_all_that_was_committed(copied_folder):
    async with EmbeddedPostgres(copied_folder) as server:
        await execute(server.owner_url.get_secret_value(), *KEEP)
        for restarts in (1, 2):
            before, address = server.pid, server.url()
            os.kill(before, signal.SIGKILL)
            await gone(before, 5)
            assert await ready_again(server) < BACK_S
            assert server.pid not in {None, before}
            assert server.restarts == restarts
            assert server.url() == address
            assert await kept(server) == [1, 2]


@pytest.mark.parametrize("state", ["frozen", "busy"])
async def test_a_killed_server_is_not_held_up_by_those_of_its_processes_that_live_on(copied_folder, state):
    async with EmbeddedPostgres(copied_folder) as server:
        connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=5)
        backend = connection.get_server_pid()
        sorting = asyncio.create_task(connection.execute("select count(*) from generate_series(1, 1000000000)"))
        await asyncio.sleep(0.2)
        if state == "frozen":
            os.kill(backend, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGKILL)
        assert await ready_again(server) < BACK_S
        await gone(backend, 1)
        connection.terminate()
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await sorting


async def test_service_and_server_killed_at_once_lose_nothing(root, copied_folder):
    with service(root, copied_folder) as (process, told):
        await execute(told["url"], *KEEP)
        os.kill(told["postmaster"], signal.SIGKILL)
        process.kill()
        process.wait(5)
    server = EmbeddedPostgres(copied_folder)
    with within(START_S):
        await server.start()
    assert await kept(server) == [1, 2]
    await server.stop()


async def test_a_frozen_server_is_stopped_within_the_limit(copied_folder, monkeypatch):
    monkeypatch.setattr(embedded_postmaster, "_IMMEDIATE_S", 0.5)
    server = EmbeddedPostgres(copied_folder, EmbeddedSettings(stop_timeout_s=0.5))
    await server.start()
    pid = server.pid
    family = [each.pid for each in psutil.Process(pid).children()]
    for each in (pid, *family):
        os.kill(each, signal.SIGSTOP)
    with within(5):
        await server.stop()
    for each in (pid, *family):
        await gone(each, 0.1)
    async with EmbeddedPostgres(copied_folder) as server:
        assert server.pid is not None


async def test_a_pid_file_whose_number_another_process_has_got_since_is_no_obstacle(copied_folder):
    home = copied_folder / "postgres"
    account = account_for(home / "data")
    stranger = spawn(account, ["/bin/sleep", "60"], home)
    lines = [stranger.pid, home / "data", 1_700_000_000, 5432, home / "run", "", "", "ready"]
    try:
        for path, kept_lines in {
            home / "data/postmaster.pid": lines,
            home / "run/.s.PGSQL.5432.lock": lines[:5],
        }.items():
            path.write_text("".join(f"{line}\n" for line in kept_lines))
            account.give(path)
        with within(START_S):
            async with EmbeddedPostgres(copied_folder) as server:
                assert server.pid is not None
        assert stranger.poll() is None  # and it is left alone
    finally:
        stranger.kill()
        stranger.wait(5)


async def test_a_server_that_recovers_from_the_death_of_one_of_its_processes_is_stopped_soon(copied_folder):
    for pause_s in (0.0, 0.02, 0.05):
        server = EmbeddedPostgres(copied_folder, EmbeddedSettings(stop_timeout_s=30))
        await server.start()
        await execute(server.owner_url.get_secret_value(), *KEEP)
        connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=5)
        os.kill(connection.get_server_pid(), signal.SIGKILL)
        await asyncio.sleep(pause_s)
        with within(8):
            await server.stop()
        connection.terminate()


@pytest.mark.parametrize("text", ["", "not a number\n", "999999999\n"])
async def test_a_damaged_pid_file_is_no_obstacle(copied_folder, text):
    path = copied_folder / "postgres" / "data" / "postmaster.pid"
    path.write_text(text)
    account_for(path.parent).give(path)
    async with EmbeddedPostgres(copied_folder) as server:
        assert server.pid is not None


async def test_a_first_start_that_was_cut_off_is_begun_again(open_folder):
    folder = open_folder()
    (folder / "postgres").mkdir(mode=0o755)
    half = folder / "postgres" / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(folder) as server:
        assert await ready_again(server) < BACK_S
    assert not half.exists()


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 0.7])
async def test_a_start_that_is_cancelled_leaves_nothing_that_runs_and_frees_the_folder(open_folder, after_s):
    folder = open_folder()
    cancelled = EmbeddedPostgres(folder)
    starting = asyncio.create_task(cancelled.start())
    await asyncio.sleep(after_s)
    with within(STOP_S):
        if starting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await starting
        else:  # a quick machine
            await cancelled.stop()
    left = [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or [])]
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
    with within(START_S):
        async with EmbeddedPostgres(folder) as server:
            assert server.pid is not None


async def test_a_server_that_is_not_ready_in_time_is_stopped_and_the_setting_named(copied_folder, monkeypatch):
    monkeypatch.setattr(embedded_postmaster.Postmaster, "_is_ready", lambda _: False)
    server = EmbeddedPostgres(copied_folder, EmbeddedSettings(start_timeout_s=1))
    with within(1 + STOP_S), pytest.raises(DatabaseUnavailableError, match="GNN_DATABASE__EMBEDDED__START_TIMEOUT_S"):
        await server.start()
    assert server.pid is None
    assert not (server.home / "data" / "postmaster.pid").exists()


async def test_a_server_that_cannot_come_back_is_tried_again_until_it_can(copied_folder, monkeypatch):
    async with EmbeddedPostgres(copied_folder) as server:
        control = server.home / "data" / "global" / "pg_control"
        control.rename(control.with_name("aside"))
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        assert server.pid is None
        control.with_name("aside").rename(control)
        assert await ready_again(server) < BACK_S
    with within(STOP_S):
        await server.stop()


async def test_a_service_is_stopped_in_time_while_its_server_cannot_come_back(copied_folder, monkeypatch):
    monkeypatch.setattr(embedded, "_RESTART_S", 30.0)
    async with EmbeddedPostgres(copied_folder) as server:
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)
        assert server.pid is None
        with within(2):
            await server.stop()
