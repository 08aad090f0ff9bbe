"""Tensor requests beside bad ones: changed bodies, callers who leave, and a graph that fails on some of its inputs."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from gnn_service.core.config import load_settings
from tests.support.onnx_graphs import doubling, reciprocal_of_root
from tests.support.served import served

LENGTH = "inference-header-content-length"
SEED = 20_261_123


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "double.onnx").write_bytes(doubling())
    (folder / "reciprocal.onnx").write_bytes(reciprocal_of_root())
    graphs = {name: folder / f"{name}.onnx" for name in ("double", "reciprocal")}
    breaker = {"minimum_calls": 5, "window_s": 60.0}
    with served(load_settings(api={"port": 0}, inference={"tensor_models": graphs, "breaker": breaker})) as address:
        yield address


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def request(values: list[float], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    x = np.array(values, np.float32).reshape(-1, 3)
    tensor: dict[str, Any] = {"name": "x", "shape": list(x.shape), "datatype": "FP32"}
    if not binary:
        return orjson.dumps({"inputs": [tensor | {"data": x.ravel().tolist()}]}), {}
    text = orjson.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": x.nbytes}}]})
    return text + x.tobytes(), {LENGTH: str(len(text))}


async def ask(http: httpx2.AsyncClient, body: bytes, headers: dict[str, str], model: str = "double") -> httpx2.Response:
    return await http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


def spoiled(body: bytes, draw: random.Random) -> bytes:
    text = bytearray(body)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text))
        match draw.randrange(4):
            case 0:
                text[at] = draw.randrange(256)
            case 1:
                del text[at : at + draw.randint(1, 20)]
            case 2:
                text[at:at] = draw.choice([b"[", b"]", b"{", b",", b"-", b"1e99", b"null", b"NaN", b'"', b"\x00"])
            case _:
                text[at:at] = text[at : at + draw.randint(1, 20)]
        if not text:
            break
    return bytes(text)


async def test_changed_bodies_are_refused_and_everybody_else_gets_its_own_answer(http: httpx2.AsyncClient):
    draw = random.Random(SEED)

    async def good(number: int) -> None:
        values = [float(number), number + 0.5, -float(number)]
        answer = await ask(http, *request(values, binary=number % 2 == 0))
        assert answer.json()["outputs"][0]["data"] == [2 * value for value in values]

    def changed(number: int) -> tuple[bytes, dict[str, str]]:
        body, headers = request([1.5, 2.5, number], binary=number % 3 != 0)
        if headers and draw.random() < 0.3:
            headers = {LENGTH: str(max(0, int(headers[LENGTH]) + draw.randint(-20, 20)))}
        return spoiled(body, draw), headers

    async def bad(body: bytes, headers: dict[str, str]) -> int:
        answer = await ask(http, body, headers)
        assert answer.status_code in {200, 400, 422}, answer.text
        return answer.status_code

    gate = asyncio.Semaphore(32)

    async def at_most(work: Any) -> Any:
        async with gate:
            return await work

    work = [at_most(each) for number in range(300) for each in (good(number), bad(*changed(number)))]
    seen = [status for status in await asyncio.gather(*work) if status is not None]
    assert seen.count(422) > 10
    assert seen.count(400) > 100


async def test_an_item_that_the_graph_cannot_compute_fails_its_own_request_alone(http: httpx2.AsyncClient):
    good = request([1.0, 4.0, 16.0], binary=True)
    for _ in range(5):  # far more failures than the breaker would stand, were they the model's
        poison = [ask(http, *request([1, 1, 1, 1, -1, 1], binary=True), model="reciprocal") for _ in range(8)]
        answers = await asyncio.gather(*poison, *(ask(http, *good, model="reciprocal") for _ in range(8)))
        assert [answer.status_code for answer in answers] == [422] * 8 + [200] * 8
        for answer in answers[:8]:
            assert "not finite" in answer.json()["error"]
            assert "retry-after" not in answer.headers
        for answer in answers[8:]:
            assert answer.json()["outputs"][0]["data"] == [1.0, 0.5, 0.25]
    assert (await http.get("/v2/models/reciprocal/ready")).status_code == 200


async def test_callers_who_leave_disturb_nobody(url: str, http: httpx2.AsyncClient):
    host, port = url.removeprefix("http://").split(":")
    body, _ = request([1.0] * 300, binary=False)
    head = f"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for cut in (len(body), len(body) // 2):
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head + body[:cut])
            await writer.drain()
            writer.transport.abort()
        answers = await asyncio.gather(*(ask(http, *request([n, 0, 1], binary=False)) for n in range(20)))
        assert [each.json()["outputs"][0]["data"] for each in answers] == [[2.0 * n, 0.0, 2.0] for n in range(20)]
    metrics = (await http.get("/metrics")).text
    assert 'gnn_engine_waiting_windows{model="double"} 0.0' in metrics
    assert 'gnn_engine_in_flight_windows{model="double"} 0.0' in metrics


async def test_a_graph_that_fails_does_not_touch_the_others(http: httpx2.AsyncClient):
    failing = [ask(http, *request([-1.0] * 3, binary=True), model="reciprocal") for _ in range(60)]
    others = [ask(http, *request([2.0] * 3, binary=True)) for _ in range(20)]
    answers = await asyncio.gather(*failing, *others)
    assert all(answer.status_code == 422 for answer in answers[:60])
    assert [answer.status_code for answer in answers[60:]] == [200] * 20
    assert (await http.get("/health/ready")).status_code == 200
