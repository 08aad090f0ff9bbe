"""`gnn-service db`: what it prints and how it ends."""

import json

import pytest

from gnn_service.cli.main import main
from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db import programs
from gnn_service.db.migrations import NEWEST, REVISIONS


@pytest.fixture
def of(monkeypatch):
    """Names the database that the command works on."""

    def name(url):
        monkeypatch.setenv("GNN_DATABASE__URL", url.get_secret_value())

    return name


def test_a_new_database_is_migrated_and_then_up_to_date(of, database_url, capsys):
    of(database_url)
    assert main(["db", "status"]) == 1
    told = capsys.readouterr()
    assert f"{', '.join(REVISIONS)} to be run: gnn-service db migrate" in told.err
    assert "schema    none:" in told.out
    assert main(["db", "migrate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["migrated"], found["schema"], found["pending"]) == (list(REVISIONS), NEWEST, [])
    assert main(["db", "migrate"]) == 0
    assert f"schema    {NEWEST}: nothing to do" in capsys.readouterr().out
    assert main(["db", "status", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["newer_than_code"], found["role"]["owner"]) == (NEWEST, False, True)
    assert found["service_role"]["exists"]
    assert found["rollups_by"] in {"service", "timescale"}


def test_the_owners_address_migrates_where_there_are_two(of, migrated_url, service_url, monkeypatch, capsys):
    of(service_url)
    assert main(["db", "migrate"]) == 1
    assert "GNN_DATABASE__OWNER_URL" in capsys.readouterr().err
    assert main(["db", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["role"]["owner"] is False
    monkeypatch.setenv("GNN_DATABASE__OWNER_URL", migrated_url.get_secret_value())
    assert main(["db", "migrate"]) == 0


def test_a_backup_goes_to_a_file_and_back(of, migrated_url, tmp_path, capsys, monkeypatch):
    of(migrated_url)
    try:
        programs.find("pg_dump", 18)
    except DatabaseRefusedError as error:
        pytest.skip(str(error))
    file = tmp_path / "gnn.dump"
    assert main(["db", "backup", str(file)]) == 0
    assert f"MB to {file} (schema {NEWEST})" in capsys.readouterr().out
    assert main(["db", "backup", str(file)]) == 1
    assert "--replace" in capsys.readouterr().err
    assert main(["db", "backup", str(file), "--replace", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["bytes"] == file.stat().st_size
    assert (made["file"], made["schema"]) == (str(file), NEWEST)


def test_a_server_that_is_away_is_told_of_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__URL", "postgresql://someone:secret@127.0.0.1:1/gnn")
    for command in (["migrate"], ["status"], ["backup", "/nowhere"], ["restore", "/nowhere"]):
        assert main(["db", *command]) == 1
        told = capsys.readouterr().err
        assert "cannot be reached" in told
        assert "secret" not in told
        assert told.count("\n") == 1


def test_an_embedded_database_that_nobody_made_is_not_made_by_asking(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GNN_DATABASE__DATA_DIR", str(tmp_path))
    for command in (["status"], ["backup", str(tmp_path / "file")]):
        assert main(["db", *command]) == 1
        assert "there is no database in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_a_database_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__URL", "postgresql://someone@127.0.0.1")
    assert main(["db", "status"]) == 1
    assert "names no database" in capsys.readouterr().err
