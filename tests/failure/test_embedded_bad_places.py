"""A folder, a disk or a port that will not do: one clear line, in time, and nothing damaged."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import ConfigurationError, DatabaseRefusedError
from gnn_service.db import embedded_access, embedded_binaries, embedded_cluster
from gnn_service.db.embedded import EmbeddedPostgres
from tests.support.postgres import copy_of, free_port, within

REFUSED_S = 15
pytestmark = pytest.mark.timeout(58)  # seconds; what has no limit of its own has this one
QUICK = EmbeddedSettings(lock_timeout_s=0.2)


async def refusal(folder, settings=QUICK):
    """The one line that says why the server does not start there."""
    with within(REFUSED_S), pytest.raises(DatabaseRefusedError) as caught:
        await EmbeddedPostgres(folder, settings).start()
    assert isinstance(caught.value, ConfigurationError)
    assert "\n" not in caught.value.detail
    return caught.value.detail


async def starts(folder):
    async with EmbeddedPostgres(folder) as server:
        connection = await asyncpg.connect(server.url().get_secret_value(), timeout=5)
        await connection.close()
    return True


async def test_two_services_on_one_folder_are_told_apart_by_the_process_of_the_first(copied_folder):
    async with EmbeddedPostgres(copied_folder) as first:
        told = await refusal(copied_folder)
        assert f"another service (process {os.getpid()})" in told
        assert "GNN_DATABASE__DATA_DIR" in told
        connection = await asyncpg.connect(first.url().get_secret_value(), timeout=5)  # the first one serves on
        await connection.close()
        assert first.restarts == 0
    assert await starts(copied_folder)


async def test_a_service_that_follows_another_one_waits_for_it_to_end(copied_folder):
    first = EmbeddedPostgres(copied_folder)
    await first.start()
    second = EmbeddedPostgres(copied_folder, EmbeddedSettings(lock_timeout_s=20))
    with within(25):
        starting = asyncio.create_task(second.start())
        await asyncio.sleep(0.2)
        await first.stop()
        await starting
    await second.stop()


@pytest.mark.parametrize("deep", [False, True])
async def test_a_port_that_is_taken_is_named(copied_folder, deep):
    folder = copied_folder / ("x" * 110) if deep else copied_folder
    if deep:
        folder.mkdir(mode=0o755)
        (copied_folder / "postgres").rename(folder / "postgres")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = await refusal(folder, EmbeddedSettings(port=port))
    assert f"port {port} of 127.0.0.1 is taken" in told
    assert "GNN_DATABASE__EMBEDDED__PORT" in told
    assert await starts(folder)


async def test_a_free_port_that_was_taken_a_moment_later_is_replaced_by_another(copied_folder, monkeypatch):
    folder = copied_folder / ("x" * 110)
    folder.mkdir(mode=0o755)
    (copied_folder / "postgres").rename(folder / "postgres")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr(embedded_access, "_free_port", lambda: ports.pop(0))
        assert await starts(folder)
    assert ports == []


async def test_a_socket_that_a_program_left_or_holds_is_taken_over(copied_folder):
    place = copied_folder / "postgres" / "run" / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as holder:  # only who may write the private folder can do this
        holder.bind(str(place))
        holder.listen()
        assert await starts(copied_folder)


async def test_data_of_another_major_version_are_left_alone(copied_folder):
    version = copied_folder / "postgres" / "data" / "PG_VERSION"
    version.write_text("17\n")
    told = await refusal(copied_folder)
    assert "was written by PostgreSQL 17, installed is 18." in told
    assert "docs/reference/database.md" in told
    version.write_text("18\n")
    assert await starts(copied_folder)


async def test_a_folder_that_is_no_database_is_left_alone(open_folder):
    folder = open_folder()
    stranger = folder / "postgres" / "data" / "thesis.txt"
    stranger.parent.mkdir(parents=True)
    shutil.chown(stranger.parent, *(("nobody",) if os.geteuid() == 0 else (os.geteuid(),)))
    stranger.write_text("years of work")
    assert "holds no PostgreSQL database" in await refusal(folder)
    assert stranger.read_text() == "years of work"


async def test_damaged_data_are_told_in_the_server_s_own_words(copied_folder):
    (copied_folder / "postgres" / "data" / "global" / "pg_control").write_bytes(b"")
    told = await refusal(copied_folder)
    assert "postgres of the embedded database failed" in told
    assert "pg_control" in told


async def test_a_damaged_setting_is_told_in_the_server_s_own_words(copied_folder):
    with (copied_folder / "postgres" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("shared_buffers = much\n")
    told = await refusal(copied_folder)
    assert 'LOG:  invalid value for parameter "shared_buffers": "much"' in told
    assert "contains errors" in told


async def test_a_file_in_the_way_is_named(open_folder):
    folder = open_folder()
    (folder / "postgres").write_text("")
    assert str(folder / "postgres") in await refusal(folder)
    (folder / "postgres").unlink()
    (folder / "file").write_text("")
    assert str(folder / "file") in await refusal(folder / "file")


async def test_too_little_room_for_a_first_start_is_told_before_anything_is_made(open_folder, monkeypatch):
    monkeypatch.setattr(embedded_cluster, "_NEEDED_BYTES", 2**60)
    folder = open_folder()
    assert "MB free: free space there" in await refusal(folder)
    assert not (folder / "postgres" / "data").exists()


@contextmanager
def small_disk(folder, megabytes):
    """A file system of its own, of few megabytes."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, timeout=10).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], timeout=10)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True, timeout=10)


async def write_until_it_fails(connection):
    await connection.execute("create table public.much (x text)")
    for _ in range(100):
        await connection.execute(
            "insert into public.much select repeat(md5(n::text), 30) from generate_series(1, 3000) n", timeout=20
        )


@pytest.mark.requires("root")
async def test_a_disk_that_fills_during_the_first_start_is_told_and_what_was_begun_is_no_obstacle(
    open_folder, monkeypatch
):
    monkeypatch.setattr(embedded_cluster, "_NEEDED_BYTES", 0)
    folder = open_folder()
    with small_disk(folder, 20):
        told = await refusal(folder)
        assert "disk of the embedded database is full" in told
        remount(folder, "size=400m")
        assert await starts(folder)


@pytest.mark.requires("root")
async def test_a_full_disk_stops_what_is_written_and_loses_nothing_of_before(made_folder, open_folder):
    folder = open_folder()
    with small_disk(folder, 100):
        copy_of(made_folder, folder)
        server = EmbeddedPostgres(folder)
        await server.start()
        connection = await asyncpg.connect(server.owner_url.get_secret_value(), timeout=5)
        await connection.execute("create table public.kept as select 1 as value")
        with within(40), pytest.raises((asyncpg.DiskFullError, asyncpg.PostgresConnectionError, OSError)):
            await write_until_it_fails(connection)
        connection.terminate()
        with within(REFUSED_S):
            await server.stop()
        remount(folder, "size=400m")
        async with EmbeddedPostgres(folder) as again:
            connection = await asyncpg.connect(again.owner_url.get_secret_value(), timeout=5)
            assert await connection.fetchval("select value from public.kept") == 1
            await connection.close()


@pytest.mark.requires("root")
async def test_a_disk_that_is_read_only_is_told(made_folder, open_folder):
    folder = open_folder()
    with small_disk(folder, 200):
        copy_of(made_folder, folder)
        remount(folder, "ro")
        told = await refusal(folder)
        assert "Read-only file system" in told
        assert "GNN_DATABASE__DATA_DIR" in told


@pytest.mark.requires("root")
async def test_root_is_told_which_folder_keeps_the_server_s_user_out(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    told = await refusal(closed / "data")
    assert "user nobody, as whom PostgreSQL runs for root, may not enter" in told
    assert "that everybody may enter" in told


async def test_without_programs_for_this_machine_the_way_out_is_named(open_folder, monkeypatch):
    monkeypatch.setattr(embedded_binaries, "_PACKAGE", "a_package_that_is_not_there")
    told = await refusal(open_folder())
    assert "GNN_DATABASE__URL" in told


async def test_windows_is_told_to_name_a_server(open_folder, monkeypatch):
    monkeypatch.setattr("gnn_service.db.embedded.sys.platform", "win32")
    assert "Windows" in await refusal(open_folder())


def ordinary(root, folder, *arguments, user="daemon"):
    """A service of an ordinary user, in an interpreter that this user can run."""
    system = Path(f"/usr/bin/python3.{sys.version_info.minor}")
    if not system.exists():
        pytest.skip("no interpreter of this version that an ordinary user could run")
    script = root / "tests" / "support" / "embedded_service.py"
    packages = sysconfig.get_paths()["purelib"]
    try:
        return subprocess.run(
            [system, "-B", str(script), str(folder), *arguments],
            user=user, group=user, extra_groups=[], input="", text=True, capture_output=True, timeout=50, cwd="/",
            env={"PYTHONPATH": f"{root / 'services'}:{packages}"},
        )  # fmt: skip
    except PermissionError:
        pytest.skip("an ordinary user may not read this folder of the repository")


@pytest.mark.requires("root")
def test_an_ordinary_user_needs_nobody_else(root, open_folder):
    folder = open_folder()
    shutil.chown(folder, "daemon", "daemon")
    with within(60):
        for _ in range(2):
            ended = ordinary(root, folder)
            assert ended.stderr == ""
            assert '"postmaster"' in ended.stdout
    assert folder.joinpath("postgres/data").owner() == "daemon"
    assert folder.joinpath("postgres").stat().st_mode & 0o777 == 0o700


@pytest.mark.requires("root")
def test_an_ordinary_user_is_told_of_a_folder_that_may_not_be_written(root, open_folder):
    ended = ordinary(root, open_folder())
    assert ended.stdout.startswith("refused: the embedded database cannot use /")
    assert "Permission denied" in ended.stdout
    assert "GNN_DATABASE__DATA_DIR" in ended.stdout


@pytest.mark.requires("root")
def test_an_ordinary_user_is_told_whose_the_data_are(root, copied_folder):
    (copied_folder / "postgres" / "data").chmod(0o700)
    (copied_folder / "postgres").chmod(0o777)
    (copied_folder / "postgres" / "lock").chmod(0o666)
    (copied_folder / "postgres" / "owner.pid").chmod(0o666)
    ended = ordinary(root, copied_folder)
    assert "belongs to user nobody: run the service as root or as nobody" in ended.stdout


@pytest.mark.requires("root")
async def test_a_command_of_another_user_than_the_service_s_is_told_whom_to_be(root, copied_folder):
    async with EmbeddedPostgres(copied_folder):
        ended = await asyncio.to_thread(ordinary, root, copied_folder, "--use")
        assert ended.stdout.startswith("refused: this user may not use the embedded database in")
        (copied_folder / "postgres" / "lock").chmod(0o666)
        ended = await asyncio.to_thread(ordinary, root, copied_folder, "--use")
        assert f"is run by another user's process {os.getpid()}" in ended.stdout


@pytest.mark.requires("root")
async def test_root_serves_the_data_of_an_ordinary_user_as_that_user(root, open_folder):
    folder = open_folder()
    shutil.chown(folder, "daemon", "daemon")
    assert '"postmaster"' in ordinary(root, folder).stdout
    folder.joinpath("postgres").chmod(0o755)
    assert await starts(folder)
    assert folder.joinpath("postgres/data/postgresql.conf").owner() == "daemon"
    assert '"postmaster"' in ordinary(root, folder).stdout
