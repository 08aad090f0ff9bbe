"""The client and the service over TCP, with a database: what a plant does, and callers who leave in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from pydantic import SecretStr

from gnn_service.api.app import create_app
from gnn_service.cli.serve import running_service
from gnn_service.client import Client
from gnn_service.core.errors import ConflictError, InvalidInputError, UnknownMachineError
from gnn_service.domain.recording import Readings
from gnn_service.domain.window import Window
from gnn_service.recordings.uploads import readings_bytes
from tests.support.stored import pump, sensor
from tests.unit.api.conftest import DiagnoserDouble, stored_settings

MACHINE = pump(sensor("P1"), sensor("P2"))
BEGIN = datetime(2026, 1, 31, tzinfo=UTC)


@pytest_asyncio.fixture
async def url(service_url: SecretStr, tmp_path: Path) -> AsyncIterator[str]:
    """A running service."""

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[DiagnoserDouble]:
        yield DiagnoserDouble()

    settings = stored_settings(service_url, tmp_path, api={"port": 0})
    async with running_service(settings, create_app(settings, diagnoser_factory=opened)) as address:
        yield address


def window(start: datetime, *values: float) -> Window:
    times = start.timestamp() + np.arange(len(values), dtype=np.float64)
    return Window(("P1",), np.array([values], np.float32), times, cycle=3)


async def test_a_plant_does_all_of_it_through_the_client(url: str):
    async with Client(url) as client:
        first = await client.put_machine(MACHINE)
        assert first["outcome"] == "created"
        named = MACHINE.model_copy(update={"name": "main pump"})
        assert (await client.put_machine(named, expected=first["fingerprint"]))["outcome"] == "changed"
        with pytest.raises(ConflictError):
            await client.put_machine(MACHINE, expected=first["fingerprint"])
        assert (await client.machine("M1")).name == "main pump"
        assert (await client.send_readings("M1", window(BEGIN, 1, 2, 3)))["kept"] == "stored"
        later = round((BEGIN + timedelta(seconds=3)).timestamp() * 1e6)
        table = Readings(np.array([later]), ("P1",), np.array([[4.0]], np.float32))
        parquet = "application/vnd.apache.parquet"
        taken = await client.send_readings("M1", readings_bytes(table, "parquet"), media_type=parquet)
        assert taken["readings"] == 1
        said = await client.diagnose_machine("M1")
        assert (said.persisted, said.cycle, said.end) == (True, 3, BEGIN + timedelta(seconds=3))
        found = await client.readings("M1", start=BEGIN, end=BEGIN + timedelta(hours=1), sensors=["P1"])
        assert found["parts"][0]["readings"]["P1"] == [1, 2, 3, 4]
        assert [one["id"] async for one in client.machines(page=1)] == ["M1"]
        kept = [one async for one in client.diagnoses("M1", start=BEGIN, end=BEGIN + timedelta(hours=1))]
        assert kept[0]["diagnosis"]["end"] == "2026-01-31T00:00:03Z"
        with pytest.raises(InvalidInputError, match="no sensor X"):
            await client.send_readings(
                "M1", {"start": "2026-01-31T00:00:00Z", "rate_hz": 1.0, "readings": {"X": [1.0]}}
            )
        await client.delete_machine("M1")
        with pytest.raises(UnknownMachineError):
            await client.machine("M1")


async def test_callers_who_leave_in_the_middle_disturb_nobody(url: str):
    host, port = url.removeprefix("http://").split(":")
    async with Client(url) as client:
        await client.put_machine(MACHINE)
        values = np.arange(200_000, dtype=np.float32) % 100
        times = BEGIN.timestamp() + np.arange(len(values)) / 10
        table = Readings(np.round(times * 1e6).astype(np.int64), ("P1",), values[:, None])
        await client.send_readings(
            "M1", readings_bytes(table, "arrow"), media_type="application/vnd.apache.arrow.stream"
        )
        question = "/v1/machines/M1/readings?from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z"
        asked = f"GET {question} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        half = b"POST /v1/machines/M1/readings HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n{"
        for sent in (asked, half) * 5:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            await writer.drain()
            if sent is asked:
                assert (await reader.read(1000)).startswith(b"HTTP/1.1 200")
            writer.transport.abort()
        end = BEGIN + timedelta(days=1)
        found = await client.readings("M1", start=BEGIN, end=end, sensors=["P1"])
        assert sum(len(part["times"]) for part in found["parts"]) == len(values)
        status = await client.status()
        assert status["storage"]["status"] == "ready"
        assert status["storage"]["database"]["pool"]["waiters"] == 0
