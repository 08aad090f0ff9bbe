"""Databases with the schema of today: one is migrated, every test gets a copy of it."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from pydantic import SecretStr

from gnn_service.db import schema
from gnn_service.db.roles import SERVICE_ROLE
from tests.support.postgres import TestServer, wait_for

PASSWORD = "of-tests-alone"


@pytest.fixture(scope="session")
def migrated_template(postgres_server: TestServer) -> Iterator[str]:
    """The name of a migrated database, to copy; nobody connects to it."""
    name = postgres_server.create_database()
    found = wait_for(schema.migrate(postgres_server.owner_url(name)))
    postgres_server.execute(f"alter database {name} with allow_connections false")
    if found.status.server.has_timescale:  # its workers stay connected, and a database in use is not copied
        workers = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"  # noqa: S608
        postgres_server.execute(workers)
    if postgres_server.embedded is None:
        postgres_server.execute(f"alter role {SERVICE_ROLE} login password '{PASSWORD}'")
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def migrated_url(postgres_server: TestServer, migrated_template: str) -> Iterator[SecretStr]:
    """A new database with the schema, for its owner; dropped afterwards."""
    name = postgres_server.create_database(migrated_template)
    yield postgres_server.owner_url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def service_url(postgres_server: TestServer, migrated_url: SecretStr) -> SecretStr:
    """The database of `migrated_url`, for the role that serves: neither owner nor superuser."""
    return service_address(postgres_server, migrated_url)


def service_address(server: TestServer, owner_url: SecretStr) -> SecretStr:
    """The same database for the role that serves."""
    parts = urlsplit(owner_url.get_secret_value())
    found = server.service_url(parts.path.lstrip("/"))
    if found is not None:
        return found
    place = parts.netloc.rpartition("@")[2]
    return SecretStr(urlunsplit(parts._replace(netloc=f"{SERVICE_ROLE}:{PASSWORD}@{place}")))
