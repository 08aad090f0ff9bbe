"""Bodies of a few megabytes that are all structure: they cost those beside them no time, and the service no memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import httpx2
import pytest

from gnn_service.core.config import load_settings
from tests.support.served import served

NEIGHBOUR_S = 1.5
GROWTH_MIB = 400
ITEMS = 300_000
JSON = {"content-type": "application/json"}
WINDOW = b'"window":{"start":"2026-01-31T08:00:00Z","rate_hz":1.0,"readings":{"PS1":[1,2]}}'
OPEN = b'{"machine":"uci-hydraulic-rig","window":{"start":"2026-01-31T08:00:00Z",'
DESCRIBED = b'{"machine":{"id":"m","name":"m","components":['


def row(item: bytes, count: int = ITEMS) -> bytes:
    return b",".join([item] * count)


def keys(value: bytes = b"1", count: int = ITEMS) -> bytes:
    return b",".join([b'"k%d":%b' % (number, value) for number in range(count)])


def bodies() -> Iterator[tuple[str, str, bytes]]:
    yield "components", "/v1/diagnose", DESCRIBED + row(b"{}") + b"]}," + WINDOW + b"}"
    yield (
        "keys of components",
        "/v1/diagnose",
        DESCRIBED + row(b"{" + keys(count=ITEMS // 100) + b"}", 100) + b"]}," + WINDOW + b"}",
    )
    yield "keys", "/v1/diagnose", b"{" + keys() + b"}"
    yield "keys of a machine", "/v1/diagnose", b'{"machine":{' + keys() + b"}," + WINDOW + b"}"
    yield "keys of a baseline", "/v1/diagnose", b'{"machine":"m",' + WINDOW + b',"baseline":{' + keys() + b"}}"
    yield "units", "/v1/diagnose", OPEN + b'"rate_hz":1,"readings":{"PS1":[1]},"units":{' + keys() + b"}}}"
    yield "readings", "/v1/diagnose", OPEN + b'"rate_hz":1,"readings":{' + keys(b'["a"]') + b"}}}"
    yield "windows", "/v1/commission", b'{"machine":"m","windows":[' + row(b"{}") + b"]}"
    yield "numbers for windows", "/v1/commission", b'{"machine":"m","windows":[' + row(b"1", 3_500_000) + b"]}"
    yield (
        "texts in a baseline",
        "/v1/diagnose",
        b'{"machine":"m",' + WINDOW + b',"baseline":{"centre":{"PS1":[' + row(b'"a"', 1_500_000) + b"]}}}",
    )
    yield "keys below the bound", "/v1/diagnose", b"{" + keys(count=100_000) + b"}"


async def pinging(http: httpx2.AsyncClient, waits: list[float]) -> None:
    while True:
        began = time.monotonic()
        assert (await http.get("/health/live")).status_code == 200
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.005)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.fixture(scope="module", params=[True, False], ids=["lane", "application"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with served(load_settings(api={"port": 0, "hot_lane_enabled": request.param})) as address:
        yield address


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=50) as client:
        yield client


def cases() -> Iterable[object]:
    return [pytest.param(path, body, id=name) for name, path, body in bodies()]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc for the memory that is held")
@pytest.mark.parametrize(("path", "body"), cases())
async def test_a_body_that_is_all_structure_is_refused_while_others_are_answered(
    http: httpx2.AsyncClient, path: str, body: bytes
):
    waits: list[float] = []
    before = resident_mib()
    beside = asyncio.create_task(pinging(http, waits))
    await asyncio.sleep(0.1)
    answer = await http.post(path, content=body, headers=JSON)
    await asyncio.sleep(0.1)
    grown = resident_mib() - before
    beside.cancel()
    assert answer.status_code in {413, 422}, answer.text
    assert len(answer.content) < 10_000
    assert max(waits) < NEIGHBOUR_S
    assert grown < GROWTH_MIB
