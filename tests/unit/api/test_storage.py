"""What keeps is opened with the application, serves it, and is closed with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gnn_service.api.storage import open_storage
from gnn_service.core.config import Settings
from gnn_service.core.errors import ConfigurationError, DatabaseRefusedError
from gnn_service.db.machines import StoredMachine
from gnn_service.db.spool import Spool
from tests.support.database import until
from tests.support.stored import pump, sensor
from tests.unit.api.conftest import stored_settings


async def test_without_a_database_nothing_is_opened():
    async with open_storage(Settings()) as storage:
        assert storage is None


async def test_everything_that_keeps_runs_and_leaves_nothing_behind(service_url: SecretStr, tmp_path: Path):
    before = asyncio.all_tasks()
    settings = stored_settings(service_url, tmp_path)
    async with open_storage(settings) as storage:
        assert storage is not None
        assert not storage.away
        assert storage.spool_full is None
        put = await storage.store.machines.put(pump(sensor("P1")))
        assert isinstance(put.stored, StoredMachine)
    assert asyncio.all_tasks() == before
    async with Spool(tmp_path / "spool", settings.database.spool):  # and the folder is free again
        pass


async def test_what_a_deleted_machine_left_is_removed_in_the_background(service_url: SecretStr, tmp_path: Path):
    async with open_storage(stored_settings(service_url, tmp_path)) as storage:
        assert storage is not None
        await storage.store.machines.put(pump(sensor("P1")))
        await storage.store.machines.delete("M1")
        storage.purge.nudge()
        purge = storage.purge
        await until(lambda: purge.removed_total > 0, 20)
        async with storage.store.database.acquire() as con:
            assert await con.fetchval("select count(*) from gnn.machine") == 0


async def test_a_folder_that_another_service_has_ends_the_start_with_the_reason(service_url: SecretStr, tmp_path: Path):
    settings = stored_settings(service_url, tmp_path)
    async with open_storage(settings):
        with pytest.raises(ConfigurationError, match="spool"):
            async with open_storage(settings):
                pass


async def test_a_database_that_refuses_ends_the_start_and_takes_nothing(service_url: SecretStr, tmp_path: Path):
    wrong = service_url.get_secret_value().replace("/test_", "/nowhere_")
    before = asyncio.all_tasks()
    with pytest.raises(DatabaseRefusedError, match="nowhere"):
        async with open_storage(stored_settings(SecretStr(wrong), tmp_path)):
            pass
    assert asyncio.all_tasks() == before
    assert not (tmp_path / "spool").exists()


async def test_a_stored_machine_is_diagnosed_by_its_id(kept: Any, body: Any):
    answer = await kept.post("/v1/diagnose", json={**body, "machine": "nobody"})
    assert answer.status_code == 404
    assert answer.json()["where"] == "machine"
    assert "known: uci-hydraulic-rig" in answer.json()["detail"]


async def test_metrics_tell_of_the_database_and_of_the_way_in(kept: Any):
    text = (await kept.get("/metrics")).text
    assert 'gnn_database_state{state="healthy"} 1.0' in text
    assert "gnn_database_connections_max 10.0" in text
    assert "gnn_spool_records 0.0" in text
    assert "gnn_drain_away 0.0" in text
    assert "gnn_ingest_commits_total 0.0" in text
    assert "gnn_upkeep_failures_total 0.0" in text
