"""`gnn-service bench store` on a real server."""

import json
import signal

import asyncpg
import pytest

from gnn_service.cli.main import main
from tests.support.postgres import wait_for


@pytest.fixture(autouse=True)
def handlers_as_they_were():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_store_is_measured_and_leaves_nothing_behind(postgres_server, monkeypatch, capsys):
    url = postgres_server.administrator.get_secret_value()
    monkeypatch.setenv("GNN_DATABASE__URL", url)
    arguments = ["--readings", "100000", "--frames", "1", "--frames", "600", "--windows", "20", "--json"]
    assert main(["bench", "store", *arguments]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert [lot["frames"] for lot in measured["lots"]] == [1, 600]
    assert all(lot["ratio"] > 0 for lot in measured["lots"])
    assert measured["fills"][0]["readings"] == 100_000
    assert 4 < measured["fills"][0]["bytes_per_reading"] < 40
    assert measured["bounds"]["disk_mb_per_s"] is None

    async def left() -> int:
        con = await asyncpg.connect(url, timeout=10)
        count = await con.fetchval("select count(*) from pg_database where datname like 'gnn\\_bench\\_%'")
        await con.close()
        return int(count)

    assert wait_for(left()) == 0


def test_two_formats_at_once_are_refused(capsys):
    assert main(["bench", "store", "--json", "--markdown"]) == 2
    assert "--json" in capsys.readouterr().err
