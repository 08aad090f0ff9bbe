"""Every way to send something wrong: a problem that names the place, and nothing reaches the diagnoser."""

import gzip
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.domain.check import MOST_UNITS
from gnn_service.domain.shipped import RIG, shipped_machine
from tests.support.problems import told


def spoil(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the body with one value, at ``a/b/0``, replaced."""
    copy = orjson.loads(orjson.dumps(body))
    *above, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    at = copy
    for part in above:
        at = at[part]
    at[last] = value
    return copy


@pytest.mark.parametrize(
    "path, value, where, said",
    [
        ("window/readings/PS1/1", "191,4", "window.readings.PS1[1]", "valid number, not '191,4'"),
        ("window/readings/PS1/2", True, "window.readings.PS1[2]", "number"),
        ("window/readings/PS1/0", [1], "window.readings.PS1[0]", "number"),
        ("window/readings/PS1/0", 3.5e38, "window.readings.PS1[0]", "is no measurement"),
        ("window/readings/PS1", 3, "window.readings.PS1", "valid list"),
        ("window/readings/PS1", [1.0], "window.readings.FS1", "FS1 has 3 samples, PS1 has 1"),
        ("window/readings/PS99", [1, 2, 3], "window.readings.PS99", "no sensor PS99; it has: PS1, PS2"),
        ("window/readings", {}, "window.readings", "at least 1 item"),
        ("window/readings", {"PS1": []}, "window.readings", "no samples"),
        ("window/readings", None, "window.readings", "valid dictionary"),
        ("window/units", {"PS1": "L/min"}, "window.units.PS1", "no unit of pressure"),
        ("window/units", {"PS1": "bananas"}, "window.units.PS1", "no UCUM unit"),
        ("window/units", {"QQ": "bar"}, "window.units.QQ", "no sensor QQ"),
        ("window/start", "yesterday", "window.start", "valid datetime"),
        ("window/start", "2026-01-31T08:00:00", "window.start", "timezone"),
        ("window/start", 1769846400, "window.start", "ISO 8601"),
        ("window/start", None, "window", "`start` and `rate_hz`, or `times`"),
        ("window/start", "1815-12-10T00:00:00Z", "window", "between 1970 and 2200"),
        ("window/rate_hz", 0, "window.rate_hz", "greater than"),
        ("window/rate_hz", "1", "window.rate_hz", "valid number"),
        ("window/times", [0, 1, 2], "window.rate_hz", "not both"),
        ("window/cycle", 1.5, "window.cycle", "valid integer"),
        ("window/phase_s", -1, "window.phase_s", "greater than or equal to 0"),
        ("window/phase_s", 1e9, "window.phase_s", "less than or equal to"),
        ("window/sensor", "PS1", "window.sensor", "Extra inputs"),
        ("machine", "press-7", "machine", f"known: {RIG}"),
        ("machine", 7, "machine", "the id of a machine or its description, not 7"),
        ("machine", None, "machine", "the id of a machine or its description"),
        ("machine", {"id": "x"}, "machine.components", "Field required"),
        ("baseline", {"machine": RIG}, "baseline.windows", "Field required"),
        ("extra", 1, "extra", "Extra inputs"),
    ],
)
async def test_a_wrong_value_is_named_with_its_place(
    path: str, value: Any, where: str, said: str, http: httpx2.AsyncClient, body: Any, diagnoser: Any
):
    answer = await http.post("/v1/diagnose", json=spoil(body, path, value))
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == (404 if said.startswith("known") else 422)
    assert problem["where"] == where
    assert said in problem["detail"]
    assert problem["instance"] == "/v1/diagnose"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert diagnoser.asked == []
    assert (await http.post("/v1/diagnose", json=body)).status_code == 200


@pytest.mark.parametrize(
    "times, where, said",
    [
        ([0, 1, 1], "window.times[2]", "same as the one before"),
        ([0, 2, 1], "window.times[2]", "goes backwards"),
        ([0, 1], "window.times", "2 times for 3 samples"),
        ([0, 1, None], "window.times[2]", "valid number"),
        ([0, "2026-01-31T08:00:00Z", 1], "window.times[1]", "valid number"),
        ([0, 1, 1e12], "window", "between 1970 and 2200"),
        (["2026-01-31T08:00:00Z", "2026-01-31T07:00:00Z", "2026-01-31T09:00:00Z"], "window.start", "need no `start`"),
    ],
)
async def test_times_must_fit_and_rise(times: Any, where: str, said: str, http: httpx2.AsyncClient, body: Any):
    del body["window"]["rate_hz"]
    body["window"]["times"] = times
    answer = await http.post("/v1/diagnose", json=body)
    assert answer.status_code == 422
    assert answer.json()["where"] == where
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"machine": NaN}',
        b'{"window": {"readings": {"PS1": [Infinity]}}}',
        b"[1, 2,]",
        b"[" * 5000,
    ],
)
async def test_a_body_that_is_no_json_is_a_malformed_body(content: bytes, http: httpx2.AsyncClient, diagnoser: Any):
    answer = await http.post("/v1/diagnose", content=content, headers={"content-type": "application/json"})
    assert told(answer) == (400, "malformed-body")
    assert diagnoser.asked == []


@pytest.mark.parametrize("number", [b"NaN", b"nan", b"Infinity", b"-Infinity"])
async def test_who_writes_no_number_into_json_is_told_of_null(number: bytes, http: httpx2.AsyncClient, body: Any):
    content = orjson.dumps(body | {"tag": "ä"}).replace(b"191.4", number)
    answer = await http.post("/v1/diagnose", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith("send null where a sample is missing")


async def test_a_packed_body_is_of_a_type_that_is_not_read(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await http.post("/v1/diagnose", content=gzip.compress(orjson.dumps(body)), headers=headers)
    assert answer.status_code == 415
    assert "Content-Encoding gzip" in answer.json()["detail"]
    assert diagnoser.asked == []


@pytest.mark.parametrize("number", [b"1e999", b"-1e999"])
async def test_a_number_too_large_for_a_float_is_not_taken_for_infinity(
    number: bytes, http: httpx2.AsyncClient, body: Any
):
    content = orjson.dumps(body).replace(b"191.4", number)
    answer = await http.post("/v1/diagnose", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    if answer.status_code == 422:
        assert answer.json()["where"] == "window.readings.PS1[0]"
        assert "finite" in answer.json()["detail"]


@pytest.mark.parametrize("sent", [b"[]", b"7", b"null", b'"x"'])
async def test_json_that_is_no_object_is_refused(sent: bytes, http: httpx2.AsyncClient):
    answer = await http.post("/v1/diagnose", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 422


async def test_a_body_of_another_type_is_refused_by_name(http: httpx2.AsyncClient, body: Any):
    content = orjson.dumps(body)
    answer = await http.post("/v1/diagnose", content=content, headers={"content-type": "text/csv; charset=utf-8"})
    assert answer.status_code == 415
    assert "text/csv" in answer.json()["detail"]


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/vnd.plant+json"])
async def test_json_is_read_with_and_without_its_type(kind: str | None, http: httpx2.AsyncClient, body: Any):
    headers = {"content-type": kind} if kind else {}
    answer = await http.post("/v1/diagnose", content=orjson.dumps(body), headers=headers)
    assert answer.status_code == 200


async def test_several_wrong_values_are_all_listed(http: httpx2.AsyncClient, body: Any):
    body["window"]["readings"] = {"PS1": ["a"], "PS2": ["b"]}
    body["window"]["cycle"] = "c"
    problem = (await http.post("/v1/diagnose", json=body)).json()
    assert [error["where"] for error in problem["errors"]] == [
        "window.readings.PS1[0]",
        "window.readings.PS2[0]",
        "window.cycle",
    ]


async def test_a_wrong_window_of_many_is_named(http: httpx2.AsyncClient, body: Any):
    wrong = spoil(body["window"], "readings/FS1", [1.0])
    answer = await http.post("/v1/commission", json={"machine": RIG, "windows": [body["window"], wrong]})
    assert answer.json()["where"] == "windows[1].readings.FS1"


async def test_a_description_that_contradicts_itself_is_refused(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    description = shipped_machine(RIG).model_dump(mode="json")
    description["connections"][0]["target"] = "nowhere"
    answer = await http.post("/v1/diagnose", json={**body, "machine": description})
    assert told(answer) == (422, "invalid-machine")
    assert answer.json()["where"] == "machine.connections[0].target"
    assert "nowhere" in answer.json()["detail"]
    assert diagnoser.asked == []


async def test_a_description_with_more_units_than_a_machine_has_is_refused(
    http: httpx2.AsyncClient, body: Any, diagnoser: Any
):
    description = shipped_machine(RIG).model_dump(mode="json")
    for place, component in enumerate(description["components"]):
        component["parameters"] = {f"p{i}": {"value": 1, "unit": f"m{place * 60 + i + 2}"} for i in range(60)}
    answer = await http.post("/v1/diagnose", json={**body, "machine": description})
    assert answer.status_code == 422
    assert answer.json()["where"] == "machine"
    assert f"at most {MOST_UNITS}" in answer.json()["detail"]
    assert diagnoser.asked == []


async def test_windows_in_more_units_than_anybody_needs_are_refused(http: httpx2.AsyncClient, body: Any):
    windows = [spoil(body["window"], "units", {"PS1": f"bar{index + 2}"}) for index in range(MOST_UNITS + 1)]
    answer = await http.post("/v1/commission", json={"machine": RIG, "windows": windows})
    assert answer.status_code == 422
    assert answer.json()["where"] == f"windows[{MOST_UNITS}].units"
