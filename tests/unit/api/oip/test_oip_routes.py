"""The routes of the Open Inference Protocol, in the hot lane and behind it: the same answers and the same errors."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from onnx import TensorProto, helper

from gnn_service.core.config import load_settings
from tests.support.onnx_graphs import declared, doubling, message_passing
from tests.support.served import served

LENGTH = "inference-header-content-length"
X = {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4.5, 5, 6]}]}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "double.onnx").write_bytes(doubling())
    (folder / "mp.onnx").write_bytes(message_passing())
    add = helper.make_node("Add", ["x", "x"], ["y"])
    wide = declared([add], {"x": (TensorProto.FLOAT, ["b", "n"])}, {"y": (TensorProto.FLOAT, ["b", "n"])})
    (folder / "wide.onnx").write_bytes(wide)
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["s"], keepdims=1),
        helper.make_node("Add", ["s", "zeros"], ["y"]),
    ]
    copies = declared(
        nodes, {"x": (TensorProto.FLOAT, ["b", 3])}, {"y": (TensorProto.FLOAT, ["b", 100_000])},
        one=np.array([1]), zeros=np.zeros((1, 100_000), np.float32),
    )  # fmt: skip
    (folder / "copies.onnx").write_bytes(copies)
    return {name: folder / f"{name}.onnx" for name in ("double", "mp", "wide", "copies")}


@pytest.fixture(scope="module", params=[True, False], ids=["hot", "behind"])
def url(request: Any, graphs: dict[str, Path]) -> Iterator[str]:
    """The service with two graphs, with the hot lane and without."""
    api = {"port": 0, "hot_lane_enabled": request.param, "windows_max": 50}
    with served(load_settings(api=api, inference={"tensor_models": graphs, "queue_max": 200})) as address:
        yield address


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def binary(request: dict[str, Any] | None = None, tail: bytes | None = None) -> dict[str, Any]:
    """Arguments of a post whose one tensor follows as bytes."""
    x = np.array([[1, 2, 3], [4.5, 5, 6]], np.float32)
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
    text = orjson.dumps({"inputs": [tensor], **(request or {})})
    return {"content": text + (x.tobytes() if tail is None else tail), "headers": {LENGTH: str(len(text))}}


async def infer(http: httpx2.AsyncClient, model: str = "double", **arguments: Any) -> httpx2.Response:
    return await http.post(f"/v2/models/{model}/infer", **arguments)


async def test_everything_of_the_protocol_in_one_service(http: httpx2.AsyncClient):
    server = (await http.get("/v2")).json()
    assert server["name"] == "gnn-service"
    assert server["extensions"] == ["binary_tensor_data"]
    assert (await http.get("/v2/health/live")).json() == {"live": True}
    assert (await http.get("/v2/health/ready")).json() == {"ready": True, "live": True}
    told = (await http.get("/v2/models/mp")).json()
    assert told["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, -1, 4]},
        {"name": "adjacency", "datatype": "FP32", "shape": [-1, -1, -1]},
    ]
    (version,) = told["versions"]
    assert (await http.get(f"/v2/models/mp/versions/{version}")).json() == told
    for path in ("/v2/models/mp/ready", f"/v2/models/mp/versions/{version}/ready", "/v2/models/bundle/ready"):
        assert (await http.get(path)).json()["ready"] is True
    (other,) = (await http.get("/v2/models/double")).json()["versions"]
    answered = [await infer(http, json=X), await http.post(f"/v2/models/double/versions/{other}/infer", json=X)]
    for answer in answered:
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert answer.json() == {
            "model_name": "double",
            "model_version": other,
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [2.0, 4.0, 6.0, 9.0, 10.0, 12.0]}],
        }


async def test_bytes_in_and_bytes_out(http: httpx2.AsyncClient):
    asked = binary({"id": "7", "parameters": {"binary_data_output": True}})
    answer = await infer(http, **asked)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    told = orjson.loads(answer.content[:length])
    assert (told["id"], told["outputs"][0]["parameters"]) == ("7", {"binary_data_size": 24})
    assert np.frombuffer(answer.content[length:], np.float32).tolist() == [2.0, 4.0, 6.0, 9.0, 10.0, 12.0]


async def test_the_network_of_the_bundle_answers_to_its_own_tensors(http: httpx2.AsyncClient):
    told = (await http.get("/v2/models/bundle")).json()
    sensors, nodes = 6, 4
    sizes = {"readings": [sensors], "sensor_mask": [sensors], "sensor_features": [sensors],
             "membership": [nodes, sensors], "edges": [nodes, nodes]}  # fmt: skip
    inputs = []
    for tensor in told["inputs"]:
        name, fixed = tensor["name"], [size for size in tensor["shape"] if size > 0]
        opened = sizes.get(name, [nodes] * (tensor["shape"].count(-1) - 1))
        shape = [1, *opened, *fixed]
        data = np.ones(shape, np.float32).ravel().tolist()
        inputs.append({"name": name, "shape": shape, "datatype": tensor["datatype"], "data": data})
    answer = await infer(http, "bundle", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs = {each["name"]: each["shape"] for each in answer.json()["outputs"]}
    assert outputs["root"] == [1, nodes + 1]  # one for none of them
    next(each for each in inputs if each["name"] == "component_mask").update(shape=[1, 3], data=[1.0] * 3)
    refused = await infer(http, "bundle", json={"inputs": inputs})
    assert refused.status_code == 422
    assert "they must be the same" in refused.json()["error"]


async def test_a_large_request_is_answered_and_disturbs_nobody(http: httpx2.AsyncClient):
    nodes = 300
    x = np.random.default_rng(1).normal(size=(1, nodes, 4)).astype(np.float32)
    adjacency = np.eye(nodes, dtype=np.float32)[None]
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in {"x": x, "adjacency": adjacency}.items()
    ]
    body = orjson.dumps({"inputs": inputs})
    assert len(body) > 256 * 1024
    answers = await asyncio.gather(infer(http, "mp", content=body), *(infer(http, json=X) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 9
    assert answers[0].json()["outputs"][0]["shape"] == [1, nodes, 1]
    sent = np.random.default_rng(2).normal(size=(40, 3000)).astype(np.float32)
    head = {"name": "x", "shape": list(sent.shape), "datatype": "FP32", "parameters": {"binary_data_size": sent.nbytes}}
    text = orjson.dumps({"inputs": [head]})
    wide = await infer(http, "wide", content=text + sent.tobytes(), headers={LENGTH: str(len(text))})
    np.testing.assert_array_equal(np.array(wide.json()["outputs"][0]["data"], np.float32), (sent + sent).ravel())
    copies = await infer(http, "copies", json=X)
    assert copies.json()["outputs"][0]["shape"] == [2, 100_000]
    refused = await infer(http, "mp", content=body.replace(b'"FP32"', b'"FP64"'))
    assert refused.json()["error"] == "inputs[0].datatype: input x takes FP32, not FP64"


ZERO = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0.0] * 3}
TEXT = orjson.dumps(X)
NAN, INF = (np.array([0, 0, value] * 2, np.float32).tobytes() for value in (np.nan, -np.inf))


def one(**changes: Any) -> dict[str, Any]:
    return {"json": {"inputs": [ZERO | changes]}}


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": ({"content": b""}, 400, "the body is empty"),
    "wrong magic": ({"content": b"PAR1\x00\x00"}, 400, "the body is no JSON"),
    "truncated": ({"content": TEXT[:-9]}, 400, "the body is no JSON"),
    "missing": ({"json": {}}, 422, "inputs: is missing; the model takes x"),
    "NaN": ({"content": TEXT.replace(b"4.5", b"NaN")}, 400, "the body is no JSON"),
    "beyond": (one(data=[0, 1e40, 0]), 422, "inputs[0].data[1]: 1e+40 is beyond FP32"),
    "huge": (one(shape=[1, 2**62]), 422, "inputs[0].shape[1]: must be 3, not 4611686018427387904"),
    "wrong type": (one(datatype="INT64"), 422, "input x takes FP32, not INT64"),
    "twice": ({"json": {"inputs": [ZERO, ZERO]}}, 422, "inputs[1].name: input x is there twice"),
    "too many": (one(shape=[51, 3], data=[0] * 153), 422, "51 items are too many; send at most 50"),
    "lying length": ({"content": TEXT, "headers": {LENGTH: "9999"}}, 400, f"{LENGTH} is 9999; the body has"),
    "no length": ({"content": TEXT, "headers": {LENGTH: "ten"}}, 400, "must be a number of bytes, not 'ten'"),
    "negative length": ({"content": TEXT, "headers": {LENGTH: "-1"}}, 400, "must be a number of bytes"),
    "endless length": ({"content": TEXT, "headers": {LENGTH: "1" * 5000}}, 400, "must be a number of bytes"),
    "truncated bytes": (binary(tail=bytes(23)), 400, "inputs[0]: the body ends 1 bytes before the tensor does"),
    "bytes left": (binary(tail=bytes(25)), 400, "1 bytes are left behind the tensors"),
    "NaN bytes": (binary(tail=NAN), 422, "inputs[0].data[2]: must be finite, not nan"),
    "inf bytes": (binary(tail=INF), 422, "inputs[0].data[2]: must be finite, not -inf"),
    "packed": ({"json": X, "headers": {"content-encoding": "gzip"}}, 415, "Content-Encoding gzip is not read here"),
    "late": ({"json": X | {"parameters": {"timeout": -5}}}, 422, "parameters.timeout: must be a whole number"),
}


async def test_bad_requests_are_refused_and_their_neighbours_answered(http: httpx2.AsyncClient):
    answered = 'gnn_engine_windows_total{end="answered",model="double"}'
    before = counted((await http.get("/metrics")).text, answered)
    good = [infer(http, json=X) for _ in range(len(BAD))]
    answers = await asyncio.gather(*(infer(http, **arguments) for arguments, _, _ in BAD.values()), *good)
    for name, answer in zip(BAD, answers, strict=False):
        _, status, reason = BAD[name]
        problem = answer.json()
        assert (name, answer.status_code) == (name, status)
        assert reason in problem["error"], name
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["instance"] == "/v2/models/double/infer"
        assert problem["request_id"] == answer.headers["x-request-id"]
    for answer in answers[len(BAD) :]:
        assert answer.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0, 9.0, 10.0, 12.0]
    metrics = (await http.get("/metrics")).text
    assert counted(metrics, answered) - before == 2 * len(BAD)
    assert counted(metrics, 'gnn_engine_windows_total{end="invalid",model="double"}') == 0
    route = 'method="POST",route="/v2/models/{name}/infer"'
    assert counted(metrics, f'gnn_http_requests_total{{{route},status="200"}}') >= len(BAD)
    assert counted(metrics, f'gnn_http_requests_total{{{route},status="422"}}') >= 9


def counted(metrics: str, name: str) -> float:
    return next((float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name)), 0.0)


@pytest.mark.parametrize(
    "method, path, status, reason",
    [
        ("POST", "/v2/models/none/infer", 404, "there is no model 'none'; there are: double, mp, wide, copies, bundle"),
        ("GET", "/v2/models/none", 404, "there is no model 'none'"),
        ("GET", "/v2/models/none/ready", 404, "there is no model 'none'"),
        ("POST", "/v2/models/mp/versions/1/infer", 404, "'1' is not served"),
        ("GET", "/v2/models/mp/versions/1", 404, "'1' is not served"),
        ("GET", "/v2/models/mp/versions/1/ready", 404, "'1' is not served"),
        ("GET", "/v2/models/mp/infer", 405, "takes POST, not GET"),
        ("GET", "/v2/models/mp/config", 404, "there is nothing at /v2/models/mp/config"),
    ],
)
async def test_paths_that_lead_nowhere(http: httpx2.AsyncClient, method: str, path: str, status: int, reason: str):
    answer = await http.request(method, path, content=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


async def test_a_request_has_the_time_that_it_asks_for(http: httpx2.AsyncClient):
    answer = await infer(http, json=X | {"parameters": {"timeout": 1}})
    assert answer.status_code == 504
    assert "no answer within 1e-06 s" in answer.json()["error"]


async def test_a_body_over_the_limit_is_refused_in_the_words_of_the_protocol(http: httpx2.AsyncClient):
    answer = await infer(http, content=b" " * (8 * 2**20 + 1))
    assert answer.status_code == 413
    assert "the body is over 8 MiB" in answer.json()["error"]
