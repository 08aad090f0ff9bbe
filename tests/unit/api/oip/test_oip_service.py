"""The service behind the protocol's routes: readiness of every engine, deadlines, and models that are exchanged."""

import asyncio
import time
from typing import Any

import numpy as np
import orjson
import pytest

from gnn_service.api.oip import service as oip_service
from gnn_service.api.oip.codec import parse
from gnn_service.api.oip.service import LARGE_BYTES, TensorService
from gnn_service.core.config import load_settings
from gnn_service.core.errors import UnavailableError, UnknownModelError
from gnn_service.inference.stats import Readiness
from gnn_service.inference.tensor_models import TensorModel, TensorModels
from gnn_service.inference.tensors import TensorSpec

F4 = np.dtype(np.float32)


class EngineDouble:
    """Answers y = x + ``more``; ready until a test gives it a reason not to be."""

    def __init__(self, more: float = 0.0) -> None:
        self.more = more
        self.reason: str | None = None
        self.timeouts: list[float | None] = []

    def submit(self, item: Any, *, timeout_s: float | None = None, **_: Any) -> Any:
        self.timeouts.append(timeout_s)
        answer = asyncio.get_running_loop().create_future()
        answer.set_result({"y": item["x"] + np.float32(self.more)})
        return answer

    async def check_ready(self, **_: Any) -> Readiness:
        return Readiness(self.reason is None, self.reason, 0.001)

    def stats(self) -> Any:
        raise NotImplementedError


def model(version: str, more: float = 0.0) -> TensorModel:
    x, y = TensorSpec("x", F4, ("batch", "n")), TensorSpec("y", F4, ("batch", "n"))
    return TensorModel("m", version, (x,), (y,), EngineDouble(more), 8)  # type: ignore[arg-type]


def service(graphs: dict[str, TensorModel]) -> tuple[TensorService, EngineDouble]:
    engine = EngineDouble()
    return TensorService(TensorModels(graphs), engine, load_settings(inference={"request_timeout_s": 5.0})), engine


def request(count: int = 1, **parameters: Any) -> bytes:
    x = {"name": "x", "shape": [1, count], "datatype": "FP32", "data": [0.125] * count}
    return orjson.dumps({"inputs": [x], "parameters": parameters})


async def test_it_is_ready_when_every_engine_is():
    graphs = {"a": model("1"), "b": model("1")}
    tensors, engine = service(graphs)
    await tensors.check_ready()
    await tensors.check_ready("a", "1")
    graphs["b"].engine.reason = "the canary's y is off"  # type: ignore[attr-defined]
    await tensors.check_ready("a")
    for name in ("b", None):
        with pytest.raises(UnavailableError, match="b is not ready: the canary's y is off"):
            await tensors.check_ready(name)
    graphs["b"].engine.reason, engine.reason = None, "hung"  # type: ignore[attr-defined]
    with pytest.raises(UnavailableError, match="bundle is not ready: hung"):
        await tensors.check_ready()


@pytest.mark.parametrize("asked, given", [(2_000_000, 2.0), (50_000_000, 5.0), (0, 5.0)])
async def test_a_request_has_its_own_time_within_the_service_s(asked: int, given: float):
    graphs = {"m": model("1")}
    await service(graphs)[0].infer("m", None, request(timeout=asked), {})
    assert graphs["m"].engine.timeouts == [given]  # type: ignore[attr-defined]


async def test_an_exchanged_model_is_the_one_that_reads_and_answers():
    graphs = {"m": model("1")}
    tensors, _ = service(graphs)
    body = request(LARGE_BYTES // 4)
    assert len(body) > LARGE_BYTES
    asking = asyncio.create_task(tensors.infer("m", None, body, {}))
    pinned = asyncio.create_task(tensors.infer("m", "1", body, {}))
    await asyncio.sleep(0)  # both are being read on another thread
    graphs["m"] = model("2", more=1.0)
    told = orjson.loads((await asking).body)
    assert told["model_version"] == "2"
    assert set(told["outputs"][0]["data"]) == {1.125}
    with pytest.raises(UnknownModelError, match="'1' is not served"):
        await pinned


@pytest.mark.parametrize("iterations", [0, 1])
def test_requests_are_rehearsed_where_there_is_a_warm_up(iterations: int, monkeypatch: pytest.MonkeyPatch):
    read: list[int | None] = []

    def noting(body: bytes, length: int | None, view: Any) -> Any:
        read.append(length)
        return parse(body, length, view)

    monkeypatch.setattr(oip_service, "parse", noting)
    settings = load_settings(inference={"warmup_iterations": iterations})
    TensorService(TensorModels({"m": model("1")}), EngineDouble(), settings).rehearse()
    assert bool(read) == bool(iterations)


async def test_the_time_that_a_large_body_takes_to_be_read_is_part_of_its_request(monkeypatch: pytest.MonkeyPatch):
    def slow(*given: Any) -> Any:
        time.sleep(0.5)
        return parse(*given)

    monkeypatch.setattr(oip_service, "parse", slow)
    graphs = {"m": model("1")}
    await service(graphs)[0].infer("m", None, request(LARGE_BYTES // 4, timeout=2_000_000), {})
    [left_s] = graphs["m"].engine.timeouts  # type: ignore[attr-defined]
    assert left_s <= 1.5
