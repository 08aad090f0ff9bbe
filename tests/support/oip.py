"""A small model of two inputs as the Open Inference Protocol sees it, and requests for it."""

from typing import Any

import numpy as np
import orjson

from gnn_service.api.oip.tensors import DATATYPE_OF, DATATYPES, TensorModelView
from gnn_service.inference.tensors import TensorSpec

F4, I8 = np.dtype(np.float32), np.dtype(np.int64)


def view(*inputs: TensorSpec, batch_max: int = 8) -> TensorModelView:
    """``x`` FP32 [-1, n, 3] and ``i`` INT64 [-1, n], where n is one size; answers ``y`` FP32 and ``k`` INT64."""
    taken = inputs or (TensorSpec("x", F4, ("batch", "n", 3)), TensorSpec("i", I8, ("batch", "n")))
    given = (TensorSpec("y", F4, ("batch", "n")), TensorSpec("k", I8, ("batch",)))
    return TensorModelView.of("small", "7", "onnxruntime_onnx", taken, given, batch_max)


def one_input(datatype: str, *shape: int | str) -> TensorModelView:
    return view(TensorSpec("x", DATATYPES[datatype], ("batch", *shape)))


def tensor(name: str, array: np.ndarray[Any, Any], **changes: Any) -> dict[str, Any]:
    flat = array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": DATATYPE_OF[array.dtype], "data": flat} | changes


def good() -> dict[str, Any]:
    """A request of two items; tests spoil one thing of it."""
    x = np.arange(12, dtype=F4).reshape(2, 2, 3) / 8
    return {"inputs": [tensor("x", x), tensor("i", np.array([[1, 2], [3, -4]]))]}


def packed(request: dict[str, Any]) -> tuple[bytes, int]:
    """The request with its tensors as bytes behind the JSON, and the length of that."""
    tail, inputs = [], []
    for each in request["inputs"]:
        array = np.array(each["data"], DATATYPES[each["datatype"]])
        told = {key: value for key, value in each.items() if key != "data"}
        inputs.append(told | {"parameters": {"binary_data_size": array.nbytes}})
        tail.append(array.tobytes())
    text = orjson.dumps(request | {"inputs": inputs})
    return b"".join((text, *tail)), len(text)
