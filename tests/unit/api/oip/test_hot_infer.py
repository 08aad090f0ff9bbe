"""The handler of tensor requests in the hot lane."""

import asyncio
import threading
from typing import Any

import numpy as np
import orjson
import pytest

from gnn_service.api.hot import Answer, HotRequest, Outcome
from gnn_service.api.oip import hot_infer
from gnn_service.api.oip.service import LARGE_BYTES, TensorService, answer
from gnn_service.core.config import load_settings
from gnn_service.inference.tensor_models import TensorModel, TensorModels
from gnn_service.inference.tensors import TensorSpec

F4 = np.dtype(np.float32)


class Echo:
    """An engine that answers y = x."""

    def submit(self, item: Any, **_: Any) -> asyncio.Future[Any]:
        answered = asyncio.get_running_loop().create_future()
        answered.set_result({"y": item["x"]})
        return answered


@pytest.mark.parametrize("count", [10, LARGE_BYTES // 3])
async def test_the_event_loop_writes_small_answers_only(count: int, monkeypatch: pytest.MonkeyPatch):
    threads = []

    def noting(*given: Any) -> Answer:
        threads.append(threading.current_thread())
        return answer(*given)

    monkeypatch.setattr(hot_infer, "answer", noting)
    x, y = TensorSpec("x", F4, ("batch", "n")), TensorSpec("y", F4, ("batch", "n"))
    model = TensorModel("m", "1", (x,), (y,), Echo(), 8)  # type: ignore[arg-type]
    tensors = TensorService(TensorModels({"m": model}), Echo(), load_settings())  # type: ignore[arg-type]
    tensor = {"name": "x", "shape": [1, count], "datatype": "FP32", "data": [1] * count}
    body = orjson.dumps({"inputs": [tensor]})
    assert len(body) <= LARGE_BYTES
    told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    hot_infer.HotInfer(tensors, "m", None)(HotRequest("/v2/models/m/infer", {}, body), told.set_result)
    written = await told
    assert isinstance(written, Answer)
    assert orjson.loads(written.body)["outputs"][0]["data"] == [1.0] * count
    [thread] = threads
    assert (thread is threading.current_thread()) == (count == 10)
