"""Diagnoses of stored machines over HTTP: of the newest window, kept, and listed in pages."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from gnn_service.domain.diagnosis import MachineDiagnosis
from tests.support.problems import told
from tests.support.stored import pump, sensor

M1 = "/v1/machines/M1"
ALL = {"from": "2026-01-31T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


@pytest_asyncio.fixture
async def plant(kept: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """The application with a machine."""
    machine = pump(sensor("P1"), sensor("P2")).model_dump(mode="json", exclude_none=True)
    assert (await kept.put(M1, json=machine)).status_code == 201
    yield kept


async def send(http: httpx2.AsyncClient, start: str, *values: float, **more: Any) -> None:
    body = {"start": start, "rate_hz": 1.0, "readings": {"P1": list(values)}, **more}
    assert (await http.post(f"{M1}/readings", json=body)).status_code == 200


async def test_the_newest_window_is_diagnosed_and_kept(plant: httpx2.AsyncClient, diagnoser: Any):
    await send(plant, "2026-01-31T08:00:00Z", 1, 2, 3, cycle=7, operating_state="working")
    answer = await plant.post(f"{M1}/diagnosis")
    assert answer.status_code == 200
    found = MachineDiagnosis.model_validate(answer.json())
    assert (found.block, found.persisted, found.machine, found.cycle) == ("health_assessment", True, "M1", 7)
    assert found.end.isoformat() == "2026-01-31T08:00:02+00:00"
    machine, window, _ = diagnoser.asked[-1]
    assert machine.id == "M1"
    assert window.values[window.sensors.index("P1")].tolist() == [1, 2, 3]
    assert window.operating_state == "working"
    page = (await plant.get(f"{M1}/diagnoses", params=ALL)).json()
    assert [entry["diagnosis"]["end"] for entry in page["diagnoses"]] == [answer.json()["end"]]
    assert page["diagnoses"][0]["origin"] == "request"
    listed = (await plant.get("/v1/machines")).json()["machines"][0]
    assert (listed["state"], listed["health"]) == ("good", pytest.approx(0.9))
    assert listed["diagnosed_until"] == "2026-01-31T08:00:02Z"
    assert listed["newest_reading"] == "2026-01-31T08:00:02Z"


async def test_the_same_window_again_is_kept_once(plant: httpx2.AsyncClient):
    await send(plant, "2026-01-31T08:00:00Z", 1, 2, 3)
    for _ in range(3):
        assert (await plant.post(f"{M1}/diagnosis")).status_code == 200
    assert len((await plant.get(f"{M1}/diagnoses", params=ALL)).json()["diagnoses"]) == 1


async def test_diagnoses_come_in_pages_the_newest_first(plant: httpx2.AsyncClient):
    for minute in range(5):
        await send(plant, f"2026-01-31T08:0{minute}:00Z", 1, 2, 3)
        await plant.post(f"{M1}/diagnosis")
    ends, before = [], None
    for _ in range(3):
        query = {**ALL, "limit": 2} | ({"before": before} if before else {})
        page = (await plant.get(f"{M1}/diagnoses", params=query)).json()
        ends += [entry["diagnosis"]["end"] for entry in page["diagnoses"]]
        before = page["next"]
    assert before is None
    assert ends == [f"2026-01-31T08:0{minute}:02Z" for minute in (4, 3, 2, 1, 0)]


async def test_a_machine_without_readings_or_none_at_all_is_told_apart(plant: httpx2.AsyncClient):
    none = await plant.post(f"{M1}/diagnosis")
    assert told(none) == (404, "not-found")
    assert "no readings yet" in none.json()["detail"]
    assert told(await plant.post("/v1/machines/nobody/diagnosis")) == (404, "unknown-machine")
    assert told(await plant.get("/v1/machines/nobody/diagnoses")) == (404, "unknown-machine")


async def test_an_engine_that_fails_is_told_and_nothing_is_kept(plant: httpx2.AsyncClient, diagnoser: Any):
    await send(plant, "2026-01-31T08:00:00Z", 1, 2, 3)
    diagnoser.error = RuntimeError("broken")
    assert told(await plant.post(f"{M1}/diagnosis")) == (500, "internal-error")
    assert (await plant.get(f"{M1}/diagnoses", params=ALL)).json()["diagnoses"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"from": "now"},
        {"from": "2026-02-02T00:00:00Z"},
        {"before": "x"},
        {"before": "W10"},
        {"before": "WyIyMDI2LTAxLTMxVDA4OjAwOjAwIiwiYiIsInJlcXVlc3QiLCIiXQ"},
    ],
)
async def test_a_wrong_question_is_refused(query: Any, plant: httpx2.AsyncClient):
    answer = await plant.get(f"{M1}/diagnoses", params={**ALL, **query})
    assert answer.status_code == 422, answer.text
    assert answer.json()["where"].startswith("query.")
