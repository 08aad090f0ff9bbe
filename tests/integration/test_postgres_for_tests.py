"""What tests of the store stand on: a server, databases of their own in it, and roles of the right rank."""

import asyncpg
import pytest


async def asked(url, statement):
    connection = await asyncpg.connect(url.get_secret_value(), timeout=5)
    try:
        return await connection.fetchrow(statement)
    finally:
        await connection.close()


async def test_a_database_is_new_and_belongs_to_the_role_that_migrates(database_url, postgres_server):
    row = await asked(
        database_url,
        "select pg_get_userbyid(datdba) = current_user as owner, (select count(*) from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema')) as tables"
        " from pg_database where datname = current_database()",
    )
    assert tuple(row) == (True, 0)


async def test_the_service_is_neither_owner_nor_superuser(postgres_server):
    if postgres_server.embedded is None:
        pytest.skip("the roles of another server are its administrator's")
    url = postgres_server.service_url("gnn")
    row = await asked(
        url,
        "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,"
        " (select pg_get_userbyid(datdba) = current_user from pg_database where datname = current_database())"
        " from pg_roles where rolname = current_user",
    )
    assert tuple(row) == (False,) * 6
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asked(url, "create table public.mine (x int)")


async def test_a_server_of_a_test_answers_over_tcp_too(own_server):
    row = await asked(own_server.tcp(own_server.owner_url("gnn")), "select inet_server_port()")
    assert row[0] == own_server.embedded.port
