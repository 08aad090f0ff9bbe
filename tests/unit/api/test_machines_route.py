"""Machines over HTTP: put, changed, listed and deleted; what is wrong with a description is told and stores nothing."""

from typing import Any

import httpx2
import pytest

from gnn_service.core.config import Settings
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG, shipped_machine
from tests.support.problems import told
from tests.support.stored import pump, sensor
from tests.unit.api.test_bad_input import spoil

ABOUT = "/v1/machines/M1"


def described(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = machine.model_dump(mode="json", exclude_none=True)
    return found


@pytest.fixture
def machine() -> dict[str, Any]:
    return described(pump(sensor("P1"), sensor("T1", unit="Cel")))


async def test_a_machine_is_created_read_changed_and_left_alone(kept: httpx2.AsyncClient, machine: Any):
    created = await kept.put(ABOUT, json=machine)
    assert created.status_code == 201
    assert created.headers["location"] == ABOUT
    assert created.json()["outcome"] == "created"
    assert [found["unit"] for found in created.json()["sensors"]] == ["bar", "Cel"]
    read = await kept.get(ABOUT)
    assert read.status_code == 200
    assert read.headers["etag"] == created.headers["etag"] == f'"{created.json()["fingerprint"]}"'
    assert Machine.model_validate(read.json()["machine"]) == Machine.model_validate(machine)
    again = await kept.put(ABOUT, json=machine)
    assert (again.status_code, again.json()["outcome"], again.json()["revision"]) == (200, "unchanged", 1)
    changed = await kept.put(ABOUT, json={**machine, "name": "main pump"})
    assert (changed.status_code, changed.json()["outcome"], changed.json()["revision"]) == (200, "changed", 2)


async def test_a_change_is_refused_where_another_came_before_it(kept: httpx2.AsyncClient, machine: Any):
    tag = (await kept.put(ABOUT, json=machine)).headers["etag"]
    first = await kept.put(ABOUT, json={**machine, "name": "one"}, headers={"if-match": tag})
    assert first.status_code == 200
    second = await kept.put(ABOUT, json={**machine, "name": "two"}, headers={"if-match": tag})
    assert told(second) == (409, "conflict")
    assert (await kept.get(ABOUT)).json()["machine"]["name"] == "one"
    for path, other in (("/v1/machines/M2", {"if-match": tag}), ("/v1/machines/M2", {"if-match": "*"})):
        assert told(await kept.put(path, json={**machine, "id": "M2"}, headers=other)) == (409, "conflict")
    assert told(await kept.get("/v1/machines/M2")) == (404, "unknown-machine")


async def test_a_dry_run_says_what_would_be_and_stores_nothing(kept: httpx2.AsyncClient, machine: Any):
    would = await kept.put(ABOUT, params={"dry_run": "true"}, json=machine)
    assert (would.status_code, would.json()["outcome"], would.json()["dry_run"]) == (200, "created", True)
    assert told(await kept.get(ABOUT)) == (404, "unknown-machine")
    await kept.put(ABOUT, json=machine)
    for name, outcome in (("", "unchanged"), ("other", "changed")):
        would = await kept.put(ABOUT, params={"dry_run": "true"}, json={**machine, "name": name})
        assert would.json()["outcome"] == outcome
    assert (await kept.get(ABOUT)).json()["revision"] == 1


async def test_a_deleted_machine_is_gone_at_once_and_its_id_is_free(kept: httpx2.AsyncClient, machine: Any, body: Any):
    await kept.put(ABOUT, json=machine)
    window = {**body["window"], "readings": {"P1": [1.0, 2.0, 3.0]}}
    assert (await kept.post("/v1/diagnose", json={"machine": "M1", "window": window})).status_code == 200
    gone = await kept.delete(ABOUT)
    assert (gone.status_code, gone.content) == (204, b"")
    assert told(await kept.delete(ABOUT)) == (404, "unknown-machine")
    assert told(await kept.get(ABOUT)) == (404, "unknown-machine")
    assert told(await kept.post("/v1/diagnose", json={"machine": "M1", "window": window})) == (404, "unknown-machine")
    assert (await kept.put(ABOUT, json=machine)).status_code == 201


async def test_machines_are_listed_in_pages_with_their_state(kept: httpx2.AsyncClient):
    for name in ("C", "A", "B"):
        await kept.put(f"/v1/machines/{name}", json=described(pump(sensor("P1"), name=name)))
    first = (await kept.get("/v1/machines", params={"limit": 2})).json()
    assert ([one["id"] for one in first["machines"]], first["next"]) == (["A", "B"], "B")
    assert first["machines"][0]["state"] == "unknown"
    assert first["machines"][0]["newest_reading"] is None
    rest = (await kept.get("/v1/machines", params={"limit": 2, "after": first["next"]})).json()
    assert ([one["id"] for one in rest["machines"]], rest["next"]) == (["C"], None)


@pytest.mark.parametrize(
    "path, value, where, said",
    [
        ("id", "M2", "id", "the path is of M1"),
        ("sensors/0/unit", "L/min", "sensors[0].unit", "no unit of pressure"),
        ("sensors/0/component", "nothing", "sensors[0].component", "nothing"),
        ("sensors/0/range", {"low": 5, "high": 1}, "sensors[0].range", "impossible range"),
        ("components", [], None, ""),
        ("components/0/type", "flux_compensator", "components[0].type", "flux_compensator"),
        ("format", "other/1", "format", "gnn-service/machine/1"),
        ("colour", "red", "colour", "Extra inputs"),
        ("name", "nul \u0000", "machine", "NUL"),
    ],
)
async def test_a_wrong_description_is_refused_with_its_place(
    path: str, value: Any, where: str | None, said: str, kept: httpx2.AsyncClient, machine: Any
):
    answer = await kept.put(ABOUT, json=spoil(machine, path, value))
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    if where is not None:
        assert answer.json()["where"] == where
    assert told(await kept.get(ABOUT)) == (404, "unknown-machine")


@pytest.mark.parametrize("given", ["%00", "a%20b", "1st", "x" * 65, "%F0%9F%90%8D", "'; drop table machine; --"])
async def test_an_id_that_no_machine_can_have_is_unknown(given: str, kept: httpx2.AsyncClient, machine: Any):
    for method in ("GET", "DELETE"):
        assert told(await kept.request(method, f"/v1/machines/{given}")) == (404, "unknown-machine")
    assert told(await kept.put(f"/v1/machines/{given}", json=machine)) == (404, "unknown-machine")


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": "many"}, {"limit": 501}, {"after": "a b"}, {"after": "\x00"}]
)
async def test_a_wrong_page_is_refused(query: Any, kept: httpx2.AsyncClient):
    answer = await kept.get("/v1/machines", params=query)
    assert answer.status_code == 422
    assert answer.json()["where"].startswith("query.")


async def test_a_wrong_method_is_told_all_that_are_right(kept: httpx2.AsyncClient):
    answer = await kept.post(ABOUT, json={})
    assert told(answer) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "DELETE, GET, PUT"


async def test_a_stored_machine_is_diagnosed_and_commissioned_by_its_id(
    kept: httpx2.AsyncClient, machine: Any, body: Any, diagnoser: Any
):
    await kept.put(ABOUT, json=machine)
    window = {**body["window"], "readings": {"P1": [1.0, 2.0, 3.0]}}
    assert (await kept.post("/v1/diagnose", json={"machine": "M1", "window": window})).json()["machine"] == "M1"
    assert (await kept.post("/v1/commission", json={"machine": "M1", "windows": [window]})).status_code == 200
    assert {asked.id for asked, _, _ in diagnoser.asked} == {"M1"}


async def test_a_stored_description_counts_before_the_bundle_s_of_the_same_id(
    kept: httpx2.AsyncClient, body: Any, diagnoser: Any
):
    mine = shipped_machine(RIG).model_copy(update={"name": "mine"})
    await kept.put(f"/v1/machines/{RIG}", json=described(mine))
    await kept.post("/v1/diagnose", json=body)  # it is looked up beside a request, not before it
    for _ in range(100):
        await kept.post("/v1/diagnose", json=body)
        if diagnoser.asked[-1][0].name == "mine":
            break
    assert diagnoser.asked[-1][0].name == "mine"
    assert (await kept.delete(f"/v1/machines/{RIG}")).status_code == 204
    await kept.post("/v1/diagnose", json=body)
    assert diagnoser.asked[-1][0].name != "mine"


async def test_a_baseline_is_kept_and_used(kept: httpx2.AsyncClient, body: Any, diagnoser: Any):
    path = f"/v1/machines/{RIG}"
    await kept.put(path, json=described(shipped_machine(RIG)))
    assert told(await kept.get(f"{path}/baseline")) == (404, "not-found")
    learnt = (await kept.post("/v1/commission", json={"machine": RIG, "windows": [body["window"]]})).json()["baseline"]
    put = await kept.put(f"{path}/baseline", json=learnt)
    assert put.status_code == 200
    assert put.json()["bundle"] == "double-1"
    assert (await kept.get(f"{path}/baseline")).json()["baseline"] == put.json()["baseline"]
    wrong = await kept.put(f"{path}/baseline", json={**learnt, "machine": "other"})
    assert told(wrong) == (422, "invalid-input")
    now = {**body["window"], "start": "2026-01-31T08:00:00Z"}
    await kept.post(f"{path}/readings", json=now)
    assert (await kept.post(f"{path}/diagnosis")).json()["commissioned"] is True


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/machines"),
        ("GET", ABOUT),
        ("PUT", ABOUT),
        ("DELETE", ABOUT),
        ("GET", f"{ABOUT}/readings"),
        ("POST", f"{ABOUT}/readings"),
        ("POST", f"{ABOUT}/diagnosis"),
        ("GET", f"{ABOUT}/diagnoses"),
        ("GET", f"{ABOUT}/baseline"),
    ],
)
async def test_a_service_that_stores_nothing_says_so(method: str, path: str, serving: Any, machine: Any):
    async with serving(Settings()) as http:
        answer = await http.request(method, path, json=machine if method in {"PUT", "POST"} else None)
    assert told(answer) == (503, "unavailable")
    assert "GNN_DATABASE__ENABLED" in answer.json()["detail"]
