"""A backup is the whole database in one file, and what is there is replaced only by what was restored whole."""

import asyncio
import stat

import pytest

from gnn_service.core.errors import ConflictError, DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import programs, schema
from gnn_service.db.backup import backup, inspect, restore
from gnn_service.db.embedded_access import OWNER
from gnn_service.db.migrations import NEWEST
from gnn_service.db.owner import connected
from gnn_service.db.place import Place
from gnn_service.db.programs import Connecting
from tests.support.migrated import service_address

NAMES = "select array_agg(name order by name) from gnn.upkeep_state where name like 'of-%'"
DATABASES = "select array_agg(datname::text) from pg_database where datname like $1 || '%'"


@pytest.fixture
async def server(postgres_server, migrated_url):
    status = await schema.status(migrated_url)
    try:
        programs.find("pg_dump", status.server.version[0])
    except DatabaseRefusedError as error:
        pytest.skip(str(error))
    return status.server


@pytest.fixture
def place(postgres_server, migrated_url, server):
    role = OWNER if postgres_server.embedded is not None else ""
    return Place(migrated_url, postgres_server.administrator, role)


async def note(url, name):
    async with connected(url) as con:
        await con.execute("insert into gnn.upkeep_state (name) values ($1)", name)


async def asked(url, query, *arguments):
    async with connected(url) as con:
        return await con.fetchval(query, *arguments)


async def databases(place):
    return await asked(place.administrator, DATABASES, place.name[:40])


async def test_what_was_saved_comes_back_and_what_came_later_is_gone(place, tmp_path):
    await note(place.owner, "of-before")
    made = await backup(place, tmp_path / "gnn.dump")
    await note(place.owner, "of-after")
    steps: list[str] = []
    done = await restore(place, made.path, progress=steps.append)
    assert await asked(place.owner, NAMES) == ["of-before"]
    assert (done.kept, done.status.revision) == (None, NEWEST)
    assert await databases(place) == [place.name]
    assert steps[0] == "checking the backup"
    assert steps[-1] == "changing places"


async def test_the_serving_role_serves_from_what_was_restored(place, postgres_server, tmp_path):
    made = await backup(place, tmp_path / "gnn.dump")
    await restore(place, made.path)
    service = service_address(postgres_server, place.owner)
    async with connected(service) as con:
        await schema.require_current(con)
        await con.execute("insert into upkeep_state (name) values ('of-service')")
    with pytest.raises(DatabaseRefusedError, match="a right is missing"):
        await asked(service, "create table gnn.mine (x int)")


async def test_the_former_database_is_kept_where_that_is_asked(place, postgres_server, tmp_path):
    made = await backup(place, tmp_path / "gnn.dump")
    done = await restore(place, made.path, keep=True)
    assert done.kept in await databases(place)
    postgres_server.drop_database(done.kept)


async def test_a_backup_is_of_one_moment_and_for_its_owner_alone(place, tmp_path):
    made = await backup(place, tmp_path / "gnn.dump")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert made.size == made.path.stat().st_size > 10_000
    assert (made.revision, list(tmp_path.iterdir())) == (NEWEST, [made.path])


async def test_a_file_is_not_replaced_unasked(place, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConflictError, match="--replace"):
        await backup(place, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (await backup(place, tmp_path / "mine", replace=True)).revision == NEWEST


async def test_a_database_in_use_is_not_replaced_unasked(place, tmp_path):
    made = await backup(place, tmp_path / "gnn.dump")
    await note(place.owner, "of-after")
    async with connected(place.owner) as con:
        with pytest.raises(ConflictError, match=r"1 sessions: gnn-service migration.*--disconnect"):
            await restore(place, made.path)
        assert await databases(place) == [place.name]
        await restore(place, made.path, disconnect=True)
        await asyncio.sleep(0.1)
        assert con.is_closed()
    assert await asked(place.owner, NAMES) is None


@pytest.mark.parametrize("cut", [0.0, 0.2, 0.6, 0.98])
async def test_a_damaged_backup_changes_nothing(place, tmp_path, cut):
    await note(place.owner, "of-before")
    made = await backup(place, tmp_path / "gnn.dump")
    made.path.write_bytes(made.path.read_bytes()[: int(made.size * cut)])
    with pytest.raises(DatabaseRefusedError):
        await restore(place, made.path)
    assert await asked(place.owner, NAMES) == ["of-before"]
    assert await databases(place) == [place.name]


async def test_what_is_no_backup_of_ours_is_refused(place, postgres_server, server, tmp_path):
    with pytest.raises(DatabaseRefusedError, match="there is no file"):
        await inspect(tmp_path / "none", server.version[0])
    (tmp_path / "text").write_text("select 1;")
    with pytest.raises(DatabaseRefusedError, match="is no backup that can be read"):
        await restore(place, tmp_path / "text")
    name = postgres_server.create_database()
    try:
        empty = Place(postgres_server.owner_url(name), place.administrator, place.role)
        with pytest.raises(DatabaseRefusedError, match="has no schema yet"):
            await backup(empty, tmp_path / "empty")
    finally:
        postgres_server.drop_database(name)


async def test_a_backup_newer_than_the_code_is_refused(place, tmp_path):
    async with connected(place.owner) as con:
        await con.execute("update gnn.alembic_version set version_num = '9999'")
    with pytest.raises(DatabaseRefusedError, match=r"at schema 9999, newer than .* update gnn-service"):
        await backup(place, tmp_path / "gnn.dump")
    assert list(tmp_path.iterdir()) == []


async def test_an_older_backup_is_migrated(place, tmp_path):
    async with connected(place.owner) as con:
        await con.execute("update gnn.alembic_version set version_num = '0001'")
    made = await backup(place, tmp_path / "gnn.dump")
    assert made.revision == "0001"
    assert (await restore(place, made.path)).status.revision == NEWEST


async def test_a_restore_that_is_cut_off_leaves_nothing_behind(place, tmp_path, monkeypatch):
    made = await backup(place, tmp_path / "gnn.dump")
    await note(place.owner, "of-after")
    reached = asyncio.Event()

    def hear(step):
        if step == "migrating what was restored":
            reached.set()

    task = asyncio.create_task(restore(place, made.path, progress=hear))
    await asyncio.wait_for(reached.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asked(place.owner, NAMES) == ["of-after"]
    assert await databases(place) == [place.name]


async def test_a_program_that_hangs_is_ended(tmp_path):
    with pytest.raises(DatabaseUnavailableError, match=r"sleep was not done after 0\.1 s"):
        await programs.run(["/bin/sleep", "60"], Connecting("", {}), timeout_s=0.1, progress=print)


def test_no_program_of_the_servers_version_is_said_in_one_line():
    with pytest.raises(DatabaseRefusedError, match=r"PostgreSQL 97, and there is no pg_dump .*postgresql-client-97"):
        programs.find("pg_dump", 97)


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        (
            "postgresql://u:p%40@h:5433/db?sslmode=disable",
            "postgresql://u@h:5433/db?sslmode=disable&connect_timeout=10",
        ),
        ("postgresql://u:p%40@/db?host=%2Ftmp&role=x", "postgresql://u@/db?host=%2Ftmp&connect_timeout=10"),
        ("postgresql:///db?host=%2Ftmp", "postgresql:///db?host=%2Ftmp&connect_timeout=10"),
    ],
)
def test_a_password_is_in_no_list_of_processes(url, uri, monkeypatch):
    from pydantic import SecretStr

    monkeypatch.setenv("PGOPTIONS", "-c role=other")
    to = Connecting.to(SecretStr(url))
    assert to.uri == uri
    assert to.environment.get("PGPASSWORD") == ("p@" if "p%40" in url else None)
    assert "PGOPTIONS" not in to.environment
