"""`tritonclient` from PyPI, as it is, against the running service; and the examples of the protocol's page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from onnx import TensorProto, helper

from gnn_service import __version__
from gnn_service.core.config import load_settings
from tests.support.onnx_graphs import declared, doubling, graph_item, message_passing, reference
from tests.support.served import served

KINDS = {
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP64": TensorProto.DOUBLE,
    "UINT8": TensorProto.UINT8,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("graphs")
    add = helper.make_node("Add", ["x", "x"], ["y"])
    pumps = declared([add], {"x": (TensorProto.FLOAT, ["b", 4])}, {"y": (TensorProto.FLOAT, ["b", 4])})
    flip = helper.make_node("Not", ["x"], ["y"])
    flipped = declared([flip], {"x": (TensorProto.BOOL, ["b", 3])}, {"y": (TensorProto.BOOL, ["b", 3])})
    made = {"mp": message_passing(), "pumps": pumps, "BOOL": flipped}
    made |= {name: doubling(kind) for name, kind in KINDS.items()}
    for name, graph in made.items():
        (folder / f"{name}.onnx").write_bytes(graph)
    graphs = {name: folder / f"{name}.onnx" for name in made}
    with served(load_settings(api={"port": 0}, inference={"tensor_models": graphs})) as address:
        yield address


@pytest.fixture
def triton(url: str, require: Any) -> Iterator[Any]:
    require("tritonclient")
    from tritonclient.http import InferenceServerClient

    with InferenceServerClient(url.removeprefix("http://"), network_timeout=30) as client:
        yield client


def tensors(arrays: dict[str, np.ndarray[Any, Any]], *, binary: bool) -> list[Any]:
    from tritonclient.http import InferInput
    from tritonclient.utils import np_to_triton_dtype

    made = []
    for name, array in arrays.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


def items(count: int) -> dict[str, np.ndarray[Any, Any]]:
    each = [graph_item(seed) for seed in range(count)]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def check(result: Any, count: int) -> None:
    for seed in range(count):
        known = reference(graph_item(seed))
        np.testing.assert_allclose(result.as_numpy("nodes")[seed], known["nodes"], atol=1e-5)
        np.testing.assert_allclose(result.as_numpy("score")[seed], known["score"], atol=1e-5)


def test_it_finds_the_server_and_its_models(triton: Any):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.get_server_metadata() == {
        "name": "gnn-service", "version": __version__, "extensions": ["binary_tensor_data"],
    }  # fmt: skip
    told = triton.get_model_metadata("mp")
    assert told["outputs"] == [
        {"name": "nodes", "datatype": "FP32", "shape": [-1, -1, 1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
    ]
    (version,) = told["versions"]
    assert triton.get_model_metadata("mp", model_version=version) == told
    assert triton.is_model_ready("mp")
    assert triton.is_model_ready("mp", model_version=version)
    assert triton.is_model_ready("bundle")
    assert not triton.is_model_ready("mp", model_version="1")
    assert not triton.is_model_ready("nope")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_it_is_answered_rightly(triton: Any, count: int, binary_in: bool, binary_out: bool | None):
    from tritonclient.http import InferRequestedOutput

    outputs = None
    if binary_out is not None:
        outputs = [InferRequestedOutput(name, binary_data=binary_out) for name in ("score", "nodes")]
    result = triton.infer(
        "mp", tensors(items(count), binary=binary_in), outputs=outputs, request_id="r-1", timeout=20_000_000
    )
    check(result, count)
    assert result.get_response()["id"] == "r-1"
    assert result.get_response()["model_name"] == "mp"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", [*KINDS, "BOOL"])
def test_every_kind_of_number_comes_through(triton: Any, datatype: str, binary: bool):
    from tritonclient.http import InferRequestedOutput
    from tritonclient.utils import triton_to_np_dtype

    x = np.array([[1, 0, 3], [4, 5, 0]]).astype(triton_to_np_dtype(datatype))
    wanted = ~x if datatype == "BOOL" else x + x
    outputs = [InferRequestedOutput("y", binary_data=binary)]
    result = triton.infer(datatype, tensors({"x": x}, binary=binary), outputs=outputs)
    assert result.as_numpy("y").dtype == x.dtype
    assert result.as_numpy("y").tolist() == wanted.tolist()


def test_many_at_once_get_their_own_answers(url: str, require: Any):
    require("tritonclient")
    from tritonclient.http import InferenceServerClient

    with InferenceServerClient(url.removeprefix("http://"), concurrency=8, network_timeout=30) as client:
        asked = []
        for seed in range(60):
            arrays = {name: array[None] for name, array in graph_item(seed, nodes=5 + seed % 3).items()}
            asked.append(client.async_infer("mp", tensors(arrays, binary=seed % 2 == 0)))
        for seed, each in enumerate(asked):
            known = reference(graph_item(seed, nodes=5 + seed % 3))
            np.testing.assert_allclose(each.get_result().as_numpy("nodes")[0], known["nodes"], atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_it_shows_what_went_wrong(triton: Any, binary: bool):
    from tritonclient.utils import InferenceServerException

    x = items(1)["x"]
    cases: list[tuple[str, dict[str, np.ndarray[Any, Any]], str, str]] = [
        ("mp", {"x": x}, "422", "inputs: adjacency is missing"),
        ("mp", items(1) | {"x": x.astype(np.float64)}, "422", "inputs[0].datatype: input x takes FP32, not FP64"),
        ("mp", items(1) | {"x": x[:, :3]}, "422", "inputs: axis 1 of adjacency is 6 and axis 1 of x is 3; they must"),
        ("nope", items(1), "404", "there is no model 'nope'"),
    ]
    if binary:
        cases.append(
            ("mp", items(1) | {"x": x * np.float32(np.nan)}, "422", "inputs[0].data[0]: must be finite, not nan")
        )
    for model, arrays, status, reason in cases:
        with pytest.raises(InferenceServerException) as caught:
            triton.infer(model, tensors(arrays, binary=binary))
        assert caught.value.status() == status
        assert caught.value.message().startswith(reason)
    check(triton.infer("mp", tensors(items(2), binary=binary)), 2)


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/reference/open-inference-protocol.md").read_text(encoding="utf-8")


def test_the_page_s_request_is_answered_as_it_says(page: str, url: str):
    sent = re.search(r"curl -s http://127\.0\.0\.1:8000(\S+) -d '(.*?)'\n```", page, re.DOTALL)
    answered, refused = (orjson.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    assert sent is not None
    given = httpx2.post(url + sent[1], content=sent[2], trust_env=False).json()
    assert given | {"model_version": answered["model_version"]} == answered
    short = orjson.loads(sent[2])
    short["inputs"][0]["data"].pop()
    problem = httpx2.post(url + sent[1], json=short, trust_env=False).json()
    assert problem | {"request_id": refused["request_id"]} == refused


def test_the_page_s_client_works(page: str, url: str, require: Any):
    require("tritonclient")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    known: dict[str, Any] = {}
    exec(code[1].replace("127.0.0.1:8000", url.removeprefix("http://")), known)  # noqa: S102 - our own page
    assert known["y"].tolist() == [[0.0, 2.0, 4.0, 6.0], [8.0, 10.0, 12.0, 14.0]]
