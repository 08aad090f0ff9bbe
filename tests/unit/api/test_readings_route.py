"""Readings over HTTP: kept once, merged, refused with the reason, and read again as they are or in buckets."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from gnn_service.api.intake import ARROW, CSV, PARQUET
from gnn_service.domain.machine import Span
from gnn_service.domain.recording import Readings
from gnn_service.recordings.uploads import readings_bytes
from tests.support.problems import told
from tests.support.stored import pump, sensor

M1 = "/v1/machines/M1"
PATH = f"{M1}/readings"
START = datetime(2026, 1, 31, 8, tzinfo=UTC)
ALL = {"from": "2026-01-31T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


@pytest_asyncio.fixture
async def plant(kept: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """The application with a machine of three sensors, one of them slower."""
    sensors = [
        sensor("P1").model_copy(update={"range": Span(low=0, high=400)}),
        sensor("T1", unit="Cel").model_copy(update={"range": Span(low=-20, high=120)}),
        sensor("S1", rate_hz=0.1).model_copy(update={"range": Span(low=0, high=400)}),
    ]
    machine = pump(*sensors).model_dump(mode="json", exclude_none=True)
    assert (await kept.put(M1, json=machine)).status_code == 201
    yield kept


def sent(**readings: Any) -> dict[str, Any]:
    return {"start": "2026-01-31T08:00:00Z", "rate_hz": 1.0, "readings": readings}


def table(rows: int = 3) -> Readings:
    start = round(START.timestamp() * 1e6)
    values = np.column_stack([np.arange(rows) + 100.5, np.full(rows, 40.0)]).astype(np.float32)
    values[1, 1] = np.nan
    return Readings(start + np.arange(rows) * 1_000_000, ("P1", "T1"), values)


async def columns(http: httpx2.AsyncClient, **query: str) -> dict[str, list[Any]]:
    """What is stored, by sensor and beside it its times."""
    answer = await http.get(PATH, params={**ALL, **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, list[Any]] = {"times": []}
    for part in answer.json()["parts"]:
        found["times"] += part["times"]
        for name, values in part["readings"].items():
            found.setdefault(name, []).extend(values)
    return found


async def test_readings_are_stored_completed_and_left_alone(plant: httpx2.AsyncClient):
    first = await plant.post(PATH, json=sent(P1=[100.5, None, 102.5]))
    assert first.status_code == 200
    taken = first.json()
    assert (taken["kept"], taken["readings"], taken["refused"]) == ("stored", 2, [])
    assert taken["frames"] == {"stored": 2, "merged": 0, "unchanged": 0}
    assert taken["block"] == "data_acquisition"
    again = (await plant.post(PATH, json=sent(P1=[100.5, None, 102.5]))).json()
    assert again["frames"] == {"stored": 0, "merged": 0, "unchanged": 2}
    late = (await plant.post(PATH, json=sent(P1=[None, 101.5, None], T1=[40, 41, None]))).json()
    assert late["frames"] == {"stored": 1, "merged": 1, "unchanged": 0}
    found = await columns(plant)
    assert found["P1"] == [100.5, 101.5, 102.5]
    assert found["T1"] == [40, 41, None]
    assert found["times"][0] == "2026-01-31T08:00:00Z"


@pytest.mark.parametrize("kind, media", [("csv", CSV), ("parquet", PARQUET), ("arrow", ARROW)])
async def test_tables_of_every_kind_are_read(kind: Any, media: str, plant: httpx2.AsyncClient):
    answer = await plant.post(PATH, content=readings_bytes(table(), kind), headers={"content-type": media})
    assert answer.status_code == 200, answer.text
    assert answer.json()["frames"]["stored"] == 3
    assert (await columns(plant))["P1"] == [100.5, 101.5, 102.5]


async def test_units_are_converted_wherever_they_are_named(plant: httpx2.AsyncClient):
    body = {**sent(P1=[10.0], T1=[122.0]), "units": {"P1": "MPa", "T1": "degF"}}
    answer = (await plant.post(PATH, json=body)).json()
    assert [(one["sensor"], one["unit"], one["kept_in"]) for one in answer["sensors"]] == [
        ("P1", "MPa", "bar"),
        ("T1", "degF", "Cel"),
    ]
    csv = "ts,P1 [kPa]\n2026-01-31T08:00:01Z,20000\n"
    assert (await plant.post(PATH, content=csv, headers={"content-type": "text/csv; charset=utf-8"})).status_code == 200
    ts = pa.array([START + timedelta(seconds=2)], pa.timestamp("us", tz="UTC"))
    field = pa.field("P1", pa.float32(), metadata={"unit": "MPa"})
    schema = pa.schema([pa.field("ts", ts.type), field])
    packed = io.BytesIO()
    pq.write_table(pa.table([ts, pa.array([30.0], pa.float32())], schema=schema), packed)
    answer = await plant.post(PATH, content=packed.getvalue(), headers={"content-type": "application/x-parquet"})
    assert answer.status_code == 200, answer.text
    assert (await columns(plant))["P1"] == pytest.approx([100.0, 200.0, 300.0])
    assert (await columns(plant))["T1"][0] == pytest.approx(50.0)


async def test_what_no_sensor_can_have_measured_is_refused_by_itself(plant: httpx2.AsyncClient):
    answer = await plant.post(PATH, json=sent(P1=[100.0, 14_500.0, 102.0], T1=[40.0, 41.0, -9999.0]))
    assert answer.status_code == 200
    refused = {one["sensor"]: one for one in answer.json()["refused"]}
    assert refused.keys() == {"P1", "T1"}
    assert refused["P1"]["readings"] == 1
    assert refused["P1"]["value"] == 14_500.0
    assert refused["P1"]["first"] == "2026-01-31T08:00:01Z"
    assert "0 to 400 bar" in refused["P1"]["reason"]
    found = await columns(plant)
    assert found["P1"] == [100.0, None, 102.0]
    assert found["T1"] == [40.0, 41.0, None]


async def test_times_that_cannot_be_are_refused_by_themselves(plant: httpx2.AsyncClient):
    now = datetime.now(UTC).replace(microsecond=0)
    times = [datetime(1999, 1, 1, tzinfo=UTC), now, now + timedelta(days=1)]
    body = {"times": [time.isoformat() for time in times], "readings": {"P1": [1.0, 2.0, 3.0]}}
    answer = await plant.post(PATH, json=body)
    assert answer.status_code == 200
    assert answer.json()["readings"] == 1
    reasons = [one["reason"] for one in answer.json()["refused"]]
    assert "in the future" in reasons[0]
    assert "before 2000" in reasons[1]
    none = await plant.post(PATH, json={"times": [1.0, 2.0], "readings": {"P1": [1.0, 2.0]}})
    assert told(none) == (422, "invalid-input")
    assert "before 2000" in none.json()["detail"]


async def test_a_dry_run_tells_the_same_and_stores_nothing(plant: httpx2.AsyncClient):
    body = {**sent(P1=[10.0, 9999.0]), "units": {"P1": "MPa"}}
    would = await plant.post(PATH, params={"dry_run": "true"}, json=body)
    assert would.status_code == 200
    assert (would.json()["kept"], would.json()["dry_run"], would.json()["readings"]) == ("nothing", True, 1)
    assert would.json()["frames"] is None
    assert would.json()["refused"][0]["sensor"] == "P1"
    assert (await columns(plant))["times"] == []


@pytest.mark.parametrize(
    "change, where, said",
    [
        ({"readings": {"X1": [1.0]}}, "readings.X1", "no sensor X1"),
        ({"readings": {"P1": [1.0], "T1": [1.0, 2.0]}}, "readings.T1", "T1 has 2 samples"),
        ({"readings": {"P1": ["1,5"]}}, "readings.P1[0]", "valid number"),
        ({"readings": {"P1": [None]}}, "readings", "every value is missing"),
        ({"readings": {}}, "readings", "at least 1 item"),
        ({"readings": {"P1": [1e39]}}, "readings.P1[0]", "no measurement"),
        ({"units": {"P1": "bananas"}}, "units.P1", "no UCUM unit"),
        ({"units": {"P1": "L/min"}}, "units.P1", "no unit of pressure"),
        ({"start": None}, None, "`start` and `rate_hz`"),
        ({"start": "2026-01-31T08:00:00"}, "start", "timezone"),
        ({"rate_hz": 0}, "rate_hz", "greater than"),
        ({"times": [0.0]}, "rate_hz", "not both"),
        ({"rate_hz": None, "times": [1.0, 1.0], "readings": {"P1": [1.0, 2.0]}}, "times[1]", "same as the one before"),
        ({"rate_hz": None, "times": [0.0, 1e-8], "readings": {"P1": [1.0, 2.0]}}, "times[1]", ""),
        ({"baseline": 1}, "baseline", "Extra inputs"),
    ],
)
async def test_wrong_json_is_refused_whole_with_its_place(
    change: Any, where: str | None, said: str, plant: httpx2.AsyncClient
):
    answer = await plant.post(PATH, json=sent(P1=[100.0]) | change)
    assert answer.status_code == 422, answer.text
    assert answer.json().get("where") == where
    assert said in answer.json()["detail"]
    assert (await columns(plant))["times"] == []


@pytest.mark.parametrize(
    "content, where, said",
    [
        ("", "body", "empty"),
        ("ts,P1\n", "body", "no rows"),
        ("ts,P1\n2026-01-31T08:00:00Z,abc\n", "body: line 2, column P1", "'abc' is not a number"),
        ("ts,P1\n2026-01-31T08:00:00Z,1e39\n", "body: line 2, column P1", "not finite"),
        ("ts,P1\nyesterday,1\n", "body: line 2, column ts", "is not a time"),
        ("ts,P1\n2026-01-31T08:00:01Z,1\n2026-01-31T08:00:00Z,2\n", "body: line 3, column ts", "goes backwards"),
        ("ts,P1,P1\n2026-01-31T08:00:00Z,1,2\n", "body", "stands there twice"),
        ("ts,P1,P1 [MPa]\n2026-01-31T08:00:00Z,1,2\n", "body", "stands there twice"),
        ("ts,P9\n2026-01-31T08:00:00Z,1\n", "body", "'P9' is no sensor"),
        ("ts,P1 [L/min]\n2026-01-31T08:00:00Z,1\n", "body: column P1", "no unit of pressure"),
        ("P1\n1\n", "body", "column 'ts' is missing"),
        ("ts,P1\n2026-01-31T08:00:00Z,1,2\n", "body", "no whole csv"),
        (b"ts,P1\n\xff\xfe\xff,1\n", "body", "no whole csv"),
        ("ts,P1\n2026-01-31T08:00:00Z,\n", "readings", "every value is missing"),
    ],
)
async def test_a_wrong_csv_is_refused_whole_with_its_place(
    content: Any, where: str, said: str, plant: httpx2.AsyncClient
):
    answer = await plant.post(PATH, content=content, headers={"content-type": CSV})
    assert answer.status_code == 422, answer.text
    assert answer.json()["where"] == where
    assert said in answer.json()["detail"]
    assert (await columns(plant))["times"] == []


def zipped(rows: int) -> bytes:
    """A small Parquet file of many rows."""
    packed = io.BytesIO()
    pq.write_table(
        pa.table({"ts": pa.array(np.zeros(rows, np.int64), pa.timestamp("us")), "P1": np.zeros(rows)}), packed
    )
    return packed.getvalue()


def stream(compression: str | None, **arrays: Any) -> bytes:
    written = io.BytesIO()
    made = pa.table(arrays)
    with pa.ipc.new_stream(written, made.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as out:
        out.write_table(made)
    return written.getvalue()


NOW = pa.array([START], pa.timestamp("us", tz="UTC"))


@pytest.mark.parametrize(
    "content, media, said",
    [
        (b"PAR1 is how it begins", PARQUET, "no whole parquet"),
        (readings_bytes(table(), "parquet")[:-20], PARQUET, "no whole parquet"),
        (zipped(3_000_000), PARQUET, "too many"),
        (b"\xff\xff\xff\xff\x10\x00\x00\x00", ARROW, "no whole arrow"),
        (readings_bytes(table(), "arrow")[:200], ARROW, "no whole arrow"),
        (stream("zstd", ts=NOW, P1=pa.array([1.0])), ARROW, "compressed"),
        (stream(None, ts=NOW, P1=pa.array([[1.0]])), ARROW, "must not hold list"),
        (stream(None, ts=NOW, P1=pa.array(["1"])), ARROW, "must not hold string"),
        (stream(None, ts=NOW, P1=pa.array([1.0]), phase=pa.array(["x" * 65])), ARROW, "65 characters"),
        (stream(None, ts=pa.array([1.5]), P1=pa.array([1.0])), ARROW, "must be a timestamp"),
    ],
)
async def test_a_wrong_table_is_refused_before_it_is_unpacked(
    content: bytes, media: str, said: str, plant: httpx2.AsyncClient
):
    answer = await plant.post(PATH, content=content, headers={"content-type": media})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    assert (await columns(plant))["times"] == []


async def test_bodies_of_another_kind_or_none_at_all_are_refused(plant: httpx2.AsyncClient):
    other = await plant.post(PATH, content=b"<x/>", headers={"content-type": "application/xml"})
    assert told(other) == (415, "unsupported-media-type")
    assert ARROW in other.json()["detail"]
    packed = await plant.post(PATH, content=b"x", headers={"content-type": CSV, "content-encoding": "gzip"})
    assert told(packed) == (415, "unsupported-media-type")
    assert told(await plant.post(PATH, content=b"")) == (400, "malformed-body")
    assert told(await plant.post(PATH, content=b"{", headers={"content-type": "application/json"})) == (
        400,
        "malformed-body",
    )
    assert told(await plant.post("/v1/machines/nobody/readings", json=sent(P1=[1.0]))) == (404, "unknown-machine")


async def test_a_stretch_is_read_by_time_and_sensor(plant: httpx2.AsyncClient):
    await plant.post(PATH, json=sent(P1=[float(value) for value in range(60)], T1=[40.0] * 60))
    await plant.post(PATH, json={**sent(S1=[5.0, 6.0]), "rate_hz": 0.1})
    part = {"from": "2026-01-31T08:00:10Z", "to": "2026-01-31T08:00:12Z"}
    assert (await columns(plant, **part, sensors="P1"))["P1"] == [10.0, 11.0]
    slow = await columns(plant, sensors="S1")
    assert (slow["S1"], slow["times"]) == ([5.0, 6.0], ["2026-01-31T08:00:00Z", "2026-01-31T08:00:10Z"])
    assert slow.keys() == {"times", "S1"}
    both = await columns(plant, sensors="T1,P1")
    assert list(both) == ["times", "T1", "P1"]


async def test_what_was_read_can_be_sent_again(plant: httpx2.AsyncClient):
    await plant.post(PATH, json=sent(P1=[1.0, None, 3.0], T1=[40.0, 41.0, None]))
    part = (await plant.get(PATH, params=ALL)).json()["parts"][0]
    again = await plant.post(PATH, json=part)
    assert again.json()["frames"] == {"stored": 0, "merged": 0, "unchanged": 3}
    csv = await plant.get(PATH, params=ALL, headers={"accept": "text/csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text.splitlines()[:2] == ["ts,P1,T1,S1", "2026-01-31T08:00:00.000000Z,1,40,"]
    again = await plant.post(PATH, content=csv.content, headers={"content-type": CSV})
    assert again.json()["frames"] == {"stored": 0, "merged": 0, "unchanged": 3}


async def test_a_long_stretch_comes_in_parts(plant: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gnn_service.db.readings.CHUNK_VALUES", 30)
    await plant.post(PATH, json=sent(P1=[float(value) for value in range(100)]))
    answer = (await plant.get(PATH, params=ALL)).json()
    assert len(answer["parts"]) > 5
    assert [value for part in answer["parts"] for value in part["readings"]["P1"]] == list(range(100))
    csv = await plant.get(PATH, params={**ALL, "sensors": "P1"}, headers={"accept": "text/csv"})
    assert len(csv.text.splitlines()) == 101


async def test_buckets_tell_what_was_shown(plant: httpx2.AsyncClient):
    await plant.post(PATH, json=sent(P1=[1.0, 2.0, 3.0, 10.0], T1=[40.0, None, None, None]))
    query = {**ALL, "to": "2026-01-31T08:10:00Z", "from": "2026-01-31T08:00:00Z", "every": "2s", "sensors": "P1,T1"}
    found = (await plant.get(PATH, params=query)).json()
    assert (found["block"], found["source"], found["every_s"]) == ("data_manipulation", "raw", 2.0)
    assert found["times"] == ["2026-01-31T08:00:00Z", "2026-01-31T08:00:02Z"]
    assert found["buckets"]["P1"] == {"count": [2, 2], "low": [1, 3], "mean": [1.5, 6.5], "high": [2, 10]}
    assert found["buckets"]["T1"]["count"] == [1, 0]
    assert found["buckets"]["T1"]["low"] == [40.0, None]
    csv = await plant.get(PATH, params=query, headers={"accept": "text/csv"})
    head, first, *_ = csv.text.splitlines()
    assert head.startswith("ts,P1.count,P1.low,P1.mean,P1.high,T1.count")
    assert first.startswith("2026-01-31T08:00:00.000000Z,2,1,1.5,2,1,40,40,40")


@pytest.mark.parametrize(
    "query, status",
    [
        ({"from": "yesterday"}, 422),
        ({"from": "2026-01-31T08:00:00"}, 422),
        ({"from": ALL["to"], "to": ALL["from"]}, 422),
        ({"sensors": "X9"}, 422),
        ({"sensors": ""}, 422),
        ({"sensors": "P1,\x00"}, 422),
        ({"every": "soon"}, 422),
        ({"every": "0"}, 422),
        ({"every": "999999999d"}, 422),
        ({"every": "1", "from": "2001-01-01T00:00:00Z"}, 422),
        ({"every": "-5s"}, 422),
    ],
)
async def test_a_wrong_question_is_refused(query: Any, status: int, plant: httpx2.AsyncClient):
    answer = await plant.get(PATH, params={**ALL, **query})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_answer_that_is_not_made_here_is_not_acceptable(plant: httpx2.AsyncClient):
    assert told(await plant.get(PATH, headers={"accept": "image/png"})) == (406, "not-acceptable")


async def test_many_at_once_are_all_kept_once(plant: httpx2.AsyncClient):
    def one(number: int) -> dict[str, Any]:
        return {"times": [(START + timedelta(seconds=number)).isoformat()], "readings": {"P1": [float(number)]}}

    answers = await asyncio.gather(*(plant.post(PATH, json=one(number % 50)) for number in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await columns(plant))["P1"] == [float(number) for number in range(50)]
