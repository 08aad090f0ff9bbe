"""The parts of the embedded server that need none to run: addresses, settings, explanations, its log."""

import os

import pytest

from gnn_service.db.embedded_access import Address, address
from gnn_service.db.embedded_account import Account, explain
from gnn_service.db.embedded_log import bound_log
from gnn_service.db.embedded_tuning import memory_bytes, tuned

MIB, GIB = 2**20, 2**30
TIME = "2026-11-23 22:39:29.108 UTC"


def test_a_socket_is_used_where_its_path_fits_and_only_there(tmp_path):
    longest = 107 - len("/.s.PGSQL.5432")
    folder = "/" + "x" * (longest - 1)
    assert address(folder, 0) == Address(folder, 5432, tcp=False)
    for refused in (folder + "x", "/" + "é" * (longest // 2 + 1), "/a,b", "/\udcff"):
        found = address(refused, 0)
        assert found.folder is None
        assert found.tcp
        assert found.port > 0


def test_a_port_is_opened_beside_the_socket_only_where_it_is_asked_for():
    assert "listen_addresses=" in address("/run/x", 0).arguments()
    assert {"listen_addresses=127.0.0.1", "port=6000"} <= set(address("/run/x", 6000).arguments())


def test_the_address_shows_no_password_when_it_is_printed():
    assert "secret" not in repr(Address(None, 5432, tcp=True).url("role", "secret", "gnn"))


@pytest.mark.parametrize("memory", [256 * MIB, GIB, 8 * GIB, 1024 * GIB])
def test_the_server_takes_a_small_part_of_any_memory(memory):
    settings = tuned(memory, 60)
    megabytes = {name: int(value[:-2]) for name, value in settings.items() if value.endswith("MB")}
    assert 32 <= megabytes["shared_buffers"] <= min(1024, memory // MIB // 8)
    assert megabytes["maintenance_work_mem"] <= max(16, memory // MIB // 32)
    assert 4 <= megabytes["work_mem"] <= 16
    assert megabytes["effective_cache_size"] <= memory // MIB // 2
    assert "fsync" not in settings
    assert "synchronous_commit" not in settings


def test_memory_is_what_the_container_allows(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("gnn_service.db.embedded_tuning._CGROUP", (tmp_path / "absent", limit))
    limit.write_text("max\n")
    whole = memory_bytes()
    limit.write_text(f"{64 * MIB}\n")
    assert memory_bytes() == 64 * MIB < whole


@pytest.mark.parametrize(
    "printed, told",
    [
        ("", "it said nothing"),
        ("creating files ...\ninitdb: error: could not change\n", "initdb: error: could not change"),
        (f"{TIME} [67] FATAL:  lock file exists\n{TIME} [67] HINT:  Is it 9?", "FATAL:  lock file exists -- Is it 9?"),
        (f"{TIME} [1] app@gnn FATAL:  starting up\n{TIME} [2] LOG:  shutting down", ": FATAL:  starting up"),
        ("x\nFATAL: could not write: No space left on device", "disk of the embedded database is full"),
        ("PermissionError: [Errno 1] Operation not permitted", "Operation not permitted"),
    ],
)
def test_a_failure_is_explained_in_one_line(printed, told):
    line = explain("postgres", printed)
    assert told in line
    assert "\n" not in line
    assert "2026" not in line


def test_a_log_that_is_over_its_limit_is_put_aside_and_the_writer_goes_on(tmp_path):
    path = tmp_path / "server.log"
    assert not bound_log(path, 100)
    with path.open("ab", buffering=0) as writer:
        writer.write(b"a" * 60)
        assert not bound_log(path, 100)
        writer.write(b"b" * 60)
        assert bound_log(path, 100)
        writer.write(b"c")
    assert path.read_bytes() == b"c"
    aside = tmp_path / "server.log.1"
    assert aside.read_bytes() == b"a" * 40 + b"b" * 60
    assert aside.stat().st_size + path.stat().st_size <= 200


def test_who_may_enter_a_folder_is_seen_from_every_folder_on_the_way(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder in (inner, *list(inner.parents)[:-1]):
        if os.access(folder, os.W_OK) and folder.is_relative_to(tmp_path):
            folder.chmod(0o755)
    stranger, owner = Account(54321, 54321, switch=True), Account(os.geteuid(), os.getegid(), switch=False)
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "link").symlink_to(inner)
    for path in (inner, tmp_path / "link"):
        closed = stranger.may_enter(path)
        assert closed is not None
        assert inner.is_relative_to(closed)
        assert closed.stat().st_mode & 0o001 == 0
    assert owner.may_enter(inner) is None
