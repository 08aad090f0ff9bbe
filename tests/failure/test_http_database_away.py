"""The service while its database is away: readings are accepted, diagnoses go on, and all of it is there afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gnn_service.db import schema
from gnn_service.db.spool import SpoolStats
from tests.support.postgres import TestServer, wait_for, within
from tests.support.problems import told
from tests.support.stored import pump, sensor
from tests.support.tcp_proxy import Mode, TcpProxy
from tests.unit.api.conftest import DiagnoserDouble, running, stored_settings

M1 = "/v1/machines/M1"
ALL = {"from": "2026-01-31T00:00:00Z", "to": "2026-02-01T00:00:00Z"}
QUICK = {
    "query_timeout_s": 1.5,
    "statement_timeout_s": 1.0,
    "acquire_timeout_s": 1.0,
    "connection": {"timeout_s": 1.0},
    "health": {"interval_s": 0.5, "timeout_s": 0.3, "failures_down": 2, "backoff_s": 0.1, "backoff_max_s": 0.3},
    "retry": {"attempts": 2},
}


class Plant:
    """A service, its database behind a proxy, and a machine."""

    def __init__(self, http: httpx2.AsyncClient, proxy: TcpProxy) -> None:
        self.http = http
        self.proxy = proxy

    async def go_away(self) -> None:
        """The server is gone, and every connection with it."""
        await self.proxy.refuse()
        self.proxy.reset()

    async def come_back(self) -> None:
        """It is there again."""
        self.proxy.mode = Mode.PASS
        await self.proxy.listen()

    async def send(self, second: int, value: float) -> httpx2.Response:
        times = [f"2026-01-31T08:00:{second:02d}Z"]
        return await self.http.post(f"{M1}/readings", json={"times": times, "readings": {"P1": [value]}})

    async def send_lot(self, first: int) -> httpx2.Response:
        times = [1_769_846_400.0 + first + second for second in range(1000)]
        body = {"times": times, "readings": {"P1": [1.0] * len(times)}}
        return await self.http.post(f"{M1}/readings", json=body)

    async def ready(self) -> str:
        answer = await self.http.get("/health/ready")
        return str(answer.json()["status"])

    async def until_ready(self, wanted: str, within_s: float) -> None:
        await self._until("/health/ready", lambda answer: answer.json()["status"] == wanted, within_s)

    async def until_not_ready(self, within_s: float) -> httpx2.Response:
        return await self._until("/health/ready", lambda answer: answer.status_code != 200, within_s)

    async def until_drained(self, within_s: float) -> None:
        await self._until("/v1/status", lambda answer: not answer.json()["storage"]["spool"]["records"], within_s)

    async def _until(self, path: str, so: Callable[[httpx2.Response], bool], within_s: float) -> httpx2.Response:
        end = time.monotonic() + within_s
        while not so(answer := await self.http.get(path)):
            assert time.monotonic() < end, answer.text
            await asyncio.sleep(0.05)
        return answer


Away = Callable[..., Any]


@pytest.fixture
def plant(own_server: TestServer, tmp_path: Path) -> Away:
    """``async with plant() as plant``: the service, connected."""
    url = own_server.tcp(own_server.owner_url("gnn"))
    wait_for(schema.migrate(url))

    @asynccontextmanager
    async def serve(diagnoser: DiagnoserDouble | None = None, **database: Any) -> AsyncIterator[Plant]:
        async with TcpProxy(url) as proxy:
            settings = stored_settings(
                proxy.url, tmp_path, database={**QUICK, **database}, ingest={"store_timeout_s": 1.0}
            )
            async with running(settings, diagnoser or DiagnoserDouble()) as app:
                transport = httpx2.ASGITransport(app)
                async with httpx2.AsyncClient(transport=transport, base_url="http://service") as http:
                    machine = pump(sensor("P1")).model_dump(mode="json", exclude_none=True)
                    assert (await http.put(M1, json=machine)).status_code == 201
                    yield Plant(http, proxy)

    return serve


async def test_readings_and_diagnoses_go_on_and_are_all_there_when_the_database_is_back(plant: Away):
    async with plant() as service:
        assert (await service.send(0, 1.0)).status_code == 200
        assert await service.ready() == "ready"
        await service.go_away()
        with within(10):
            accepted = await service.send(1, 2.0)
        assert (accepted.status_code, accepted.json()["kept"], accepted.json()["frames"]) == (202, "spooled", None)
        await service.until_ready("degraded", 10)
        with within(5):
            diagnosis = await service.http.post(f"{M1}/diagnosis")
        assert diagnosis.status_code == 200
        assert diagnosis.json()["persisted"] is False
        assert diagnosis.json()["end"] == "2026-01-31T08:00:01Z"
        for method, path in (
            ("GET", f"{M1}/readings"),
            ("GET", f"{M1}/diagnoses"),
            ("GET", "/v1/machines"),
            ("GET", M1),
            ("DELETE", M1),
        ):
            with within(5):
                answer = await service.http.request(method, path)
            assert told(answer) == (503, "database-unavailable"), path
            assert int(answer.headers["retry-after"]) >= 1
        assert (await service.http.get("/health/live")).status_code == 200
        health = (await service.http.get("/health")).json()
        assert (health["status"], health["reason"]) == ("degraded", "the database is away")
        assert health["storage"]["database"]["state"] in {"degraded", "down"}
        assert health["storage"]["spool"]["records"] >= 2
        await service.come_back()
        await service.until_ready("ready", 20)
        assert (await service.send(2, 3.0)).status_code in {200, 202}
        await service.until_drained(20)
        found = (await service.http.get(f"{M1}/readings", params=ALL)).json()
        assert [value for part in found["parts"] for value in part["readings"]["P1"]] == [1.0, 2.0, 3.0]
        kept = (await service.http.get(f"{M1}/diagnoses", params=ALL)).json()["diagnoses"]
        assert [entry["diagnosis"]["end"] for entry in kept] == ["2026-01-31T08:00:01Z"]
        assert (await service.http.get("/v1/status")).json()["storage"]["status"] == "ready"


async def test_a_black_hole_holds_nobody_up_for_long(plant: Away):
    async with plant() as service:
        service.proxy.mode = Mode.BLACK_HOLE
        with within(10):
            answers = await asyncio.gather(*(service.send(second, 1.0) for second in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        with within(10):
            assert (await service.http.get(f"{M1}/readings")).status_code in {503, 504}
        service.proxy.mode = Mode.PASS
        service.proxy.reset()
        await service.until_ready("ready", 20)
        await service.until_drained(20)
        found = (await service.http.get(f"{M1}/readings", params=ALL)).json()
        assert sum(len(part["times"]) for part in found["parts"]) == 20


async def test_a_spool_that_is_full_makes_the_service_unready(plant: Away, monkeypatch: pytest.MonkeyPatch):
    full = SpoolStats(records=9, bytes=2**60, oldest_s=1.0, full=True)
    async with plant() as service:
        monkeypatch.setattr("gnn_service.db.spool.Spool.stats", lambda _: full)
        assert await service.ready() == "ready"  # the database takes everything: nobody needs the spool
        await service.go_away()
        answer = await service.until_not_ready(10)
        assert told(answer) == (503, "spool-full")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await service.http.get("/health")).json()["storage"]["status"] == "full"


async def test_over_the_spools_bound_readings_are_refused_and_those_acknowledged_are_all_kept(plant: Away):
    async with plant(spool={"bytes_max": 2**17, "segment_bytes": 2**16}) as service:
        await service.go_away()
        await service.until_ready("degraded", 10)
        acknowledged = 0
        while (answer := await service.send_lot(acknowledged)).status_code == 202:
            acknowledged += 1000
        assert told(answer) == (503, "spool-full")
        assert int(answer.headers["retry-after"]) >= 1
        assert 5000 <= acknowledged <= 12_000
        assert told(await service.http.get("/health/ready")) == (503, "spool-full")
        assert (await service.http.get("/health/live")).status_code == 200
        await service.come_back()
        await service.until_ready("ready", 20)
        await service.until_drained(20)
        found = (await service.http.get(f"{M1}/readings", params=ALL)).json()
        assert sum(len(part["times"]) for part in found["parts"]) == acknowledged


@pytest.mark.parametrize("mode", [Mode.BLACK_HOLE, Mode.REFUSE])
async def test_a_start_without_the_database_is_up_and_degraded_in_time_and_mends_itself(
    mode: Mode, own_server: TestServer, tmp_path: Path
):
    url = own_server.tcp(own_server.owner_url("gnn"))
    async with TcpProxy(url) as proxy:
        proxy.mode = mode
        if mode is Mode.REFUSE:
            await proxy.refuse()
        migration = {"on_start": True}  # it is done when the server is there
        settings = stored_settings(proxy.url, tmp_path, database={**QUICK, "connection": {}, "migration": migration})
        started = time.monotonic()
        async with (
            running(settings, DiagnoserDouble()) as app,
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as http,
        ):
            service = Plant(http, proxy)
            assert await service.ready() == "degraded"
            assert time.monotonic() - started <= 5
            with within(6):
                assert told(await service.send(0, 1.0))[0] in {503, 504}  # whose they are nobody knows
            proxy.mode = Mode.PASS
            if mode is Mode.REFUSE:
                await proxy.listen()
            proxy.reset()
            await service.until_ready("ready", 30)
            machine = pump(sensor("P1")).model_dump(mode="json", exclude_none=True)
            assert (await http.put(M1, json=machine)).status_code == 201
            assert (await service.send(0, 1.0)).status_code == 200
