"""What the load consists of: requests for `/v1/diagnose` and for the Open Inference Protocol, JSON and binary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from gnn_service.api.oip.tensors import DATATYPE_OF
from gnn_service.bench.serve_http import request_bytes
from gnn_service.client.payload import machine_value, window_value
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.inference.tensors import TensorSpec
from gnn_service.recordings.folder import read_recording
from gnn_service.recordings.windows import cycle_windows

Wire = Literal["json", "binary"]
Tensors = Mapping[str, NDArray[Any]]
"""Inputs of one request by name, each with a batch axis."""

VARIANTS: Final = 16
"""Different requests that are sent in turn, so that nothing can answer from what it has just seen."""

_JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Message:
    """One POST: where to, what, and how it is labelled."""

    path: str
    body: bytes
    headers: Mapping[str, str]

    def raw(self, host: str) -> bytes:
        """As it goes over the wire."""
        return request_bytes(host, self.path, self.body, self.headers)


def sample_windows() -> tuple[Machine, list[Window]]:
    """The machine of the recording that comes with the package, and some of its cycles, spread over all of it."""
    with as_file(files("gnn_service.demo") / "data" / "uci_hydraulic_slice") as folder:
        recording = read_recording(Path(folder))
    windows = list(cycle_windows(recording))
    return recording.machine, list(islice(windows, 0, None, max(1, len(windows) // VARIANTS)))[:VARIANTS]


def diagnose_message(machine: str | Machine, window: Window) -> Message:
    """A diagnosis of one window; ``machine`` is an id that the service knows, or a whole description."""
    value = {"machine": machine_value(machine), "window": window_value(window)}
    return Message("/v1/diagnose", orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), _JSON)


def infer_message(model: str, tensors: Tensors, wire: Wire) -> Message:
    """Inference on tensors, as JSON or with binary tensors (the protocol's binary tensor data extension)."""
    path = f"/v2/models/{model}/infer"
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": list(value.shape), "datatype": _datatype(name, value)}
        for name, value in tensors.items()
    ]
    arrays = [np.ascontiguousarray(value) for value in tensors.values()]
    if wire == "json":
        for entry, array in zip(inputs, arrays, strict=True):
            entry["data"] = array.ravel()
        return Message(path, orjson.dumps({"inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY), _JSON)
    for entry, array in zip(inputs, arrays, strict=True):
        entry["parameters"] = {"binary_data_size": array.nbytes}
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Message(path, head + b"".join(array.tobytes() for array in arrays), headers)


def random_tensors(inputs: Sequence[TensorSpec], dims: Mapping[str, int]) -> Tensors:
    """One item for the inputs of a graph: normal numbers, zeros where it takes integers.

    The first axis is the batch. Raises InvalidInputError for another axis of open length that ``dims`` does not give.
    """
    rng = np.random.default_rng(0)
    tensors = {}
    for spec in inputs:
        sizes = [1] + [_size(spec.name, axis, dims) for axis in spec.shape[1:]]
        real = spec.dtype.kind == "f"
        tensors[spec.name] = rng.standard_normal(sizes).astype(spec.dtype) if real else np.zeros(sizes, spec.dtype)
    return tensors


def _size(name: str, axis: int | str | None, dims: Mapping[str, int]) -> int:
    if isinstance(axis, int):
        return axis
    if axis is None or axis not in dims:
        raise InvalidInputError(f"input {name!r} has an axis of open length: give it with --dim {axis or 'NAME'}=N")
    return dims[axis]


def _datatype(name: str, value: NDArray[Any]) -> str:
    try:
        return DATATYPE_OF[value.dtype]
    except KeyError:
        raise InvalidInputError(f"input {name!r} is {value.dtype}, which the protocol does not know") from None
