"""A real PostgreSQL for tests: embedded, or the one that GNN_TEST_DATABASE_URL names; and databases in it."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import psutil
import pytest
from pydantic import SecretStr

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.db.embedded import EmbeddedPostgres
from gnn_service.db.embedded_access import OWNER, SERVICE

EXTERNAL = os.environ.get("GNN_TEST_DATABASE_URL")


T = TypeVar("T")


def wait_for(work: Coroutine[Any, Any, T], timeout_s: float = 50) -> T:
    """Run a coroutine to its end from a fixture, whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asyncio.wait_for(work, timeout_s)).result()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes longer: what is promised in time is measured in time."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took <= seconds, f"took {took:.2f} s, promised were {seconds:g} s"


@dataclass(frozen=True)
class TestServer:
    """A server and who may do what on it; ``embedded`` is None where the server is not ours."""

    __test__ = False
    administrator: SecretStr  # may make and drop databases
    embedded: EmbeddedPostgres | None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, where the server is ours and runs."""
        return None if self.embedded is None else self.embedded.pid

    def owner_url(self, database: str) -> SecretStr:
        """The role that owns the database and migrates it."""
        if self.embedded is not None:
            return self.embedded.url(OWNER, database)
        return SecretStr(urlunsplit(urlsplit(self.administrator.get_secret_value())._replace(path=f"/{database}")))

    def tcp(self, url: SecretStr) -> SecretStr:
        """The same address over TCP, where the server is `own_server`, for a proxy to stand between."""
        if self.embedded is None or self.embedded.port is None:
            raise AssertionError("this server has no TCP port")
        parts = urlsplit(url.get_secret_value())
        place = f"{parts.username}:{parts.password}@127.0.0.1:{self.embedded.port}"
        return SecretStr(urlunsplit(parts._replace(netloc=place, query="sslmode=disable")))

    def service_url(self, database: str) -> SecretStr | None:
        """The role that serves, neither owner nor superuser; None where the server is not ours."""
        return None if self.embedded is None else self.embedded.url(SERVICE, database)

    def execute(self, *statements: str) -> None:
        """Run statements as administrator."""

        async def run() -> None:
            connection = await asyncpg.connect(self.administrator.get_secret_value(), timeout=10)
            try:
                for statement in statements:
                    await connection.execute(statement, timeout=30)
            finally:
                await connection.close(timeout=5)

        wait_for(run())

    def create_database(self, template: str = "template0") -> str:
        """The name of a new database, a copy of the template."""
        name = f"test_{uuid4().hex[:12]}"
        owner = f" owner {OWNER}" if self.embedded is not None else ""
        self.execute(f"create database {name} template {template}{owner}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.execute(f"drop database if exists {name} with (force)")


@pytest.fixture(scope="session", autouse=True)
def _address_is_no_setting() -> None:
    """Take the variable away once the processes of a parallel run have got theirs: it looks like a setting of ours."""
    os.environ.pop("GNN_TEST_DATABASE_URL", None)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders with short paths that every user may enter; `tmp_path` is private to root.

    In memory where there is plenty: the disk of a machine that runs several tests at once is slow. What a killed run
    of tests left there is removed by the next one.
    """
    made: list[Path] = []
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30 else Path("/tmp")

    for left in place.glob("gnn-pg-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"gnn-pg-{os.getpid()}-", dir=place))
        folder.chmod(0o755)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def made_folder(open_folder: Callable[[], Path]) -> Path:
    """A folder with a database that was made once and stopped in order; to be copied, see `copied_folder`.

    Without fsync: tests kill processes, never the machine, and a busy disk would make them wait for seconds.
    """
    folder = open_folder()

    async def make() -> None:
        async with EmbeddedPostgres(folder):
            pass

    wait_for(make())
    with (folder / "postgres" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("fsync = off\n")
    return folder


def copy_of(made: Path, folder: Path) -> Path:
    """The folder, with a copy of the database in it."""
    subprocess.run(["cp", "-a", str(made / "postgres"), str(folder)], check=True, timeout=30)
    return folder


@pytest.fixture
def copied_folder(made_folder: Path, open_folder: Callable[[], Path]) -> Iterator[Path]:
    """A folder of the test's own whose first start is behind it: a fifth of the time that making it takes."""
    folder = copy_of(made_folder, open_folder())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest, open_folder: Callable[[], Path]) -> Iterator[TestServer]:
    """The server of this run of tests; to be left as it was found. See `own_server` for one to break."""
    if EXTERNAL is not None:
        yield TestServer(SecretStr(EXTERNAL), None)
        return
    embedded = EmbeddedPostgres(copy_of(request.getfixturevalue("made_folder"), open_folder()))
    wait_for(embedded.start())
    yield TestServer(embedded.superuser_url, embedded)
    wait_for(embedded.stop())


@pytest.fixture
def own_server(copied_folder: Path) -> Iterator[TestServer]:
    """An embedded server of the test's own, to kill, freeze and stop; with a TCP port, for a proxy to stand before."""
    embedded = EmbeddedPostgres(copied_folder, EmbeddedSettings(port=free_port()))
    wait_for(embedded.start())
    yield TestServer(embedded.superuser_url, embedded)
    wait_for(embedded.stop())


@pytest.fixture
def database_url(postgres_server: TestServer) -> Iterator[SecretStr]:
    """A new, empty database, for its owner; dropped afterwards."""
    name = postgres_server.create_database()
    yield postgres_server.owner_url(name)
    postgres_server.drop_database(name)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
