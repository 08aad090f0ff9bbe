"""What a plain ONNX graph takes and gives, read from the file, and whether its first axis really is a batch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gnn_service.core.errors import GraphError
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.tensors import TensorSpec

_TYPES: Final = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
}
_OPEN_SIZES: Final = (16, 8, 2, 1)  # of axes that the graph leaves open, tried in this order
# of floating point and of integer inputs, for two items that differ where the graph can take that
_FILLS: Final = (((1.0, 0), (0.5, 1)), ((1.0, 0), (0.5, 0)), ((1.0, 1), (0.5, 1)), ((0.0, 0), (0.25, 0)))
_TOLERANCE: Final = 1e-3
_FATAL_ONLY: Final = 4


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A graph that can be served: each of its tensors has the batch as first axis.

    ``canary`` is one item, without the batch axis, and ``answer`` what the graph says to it, all finite. ``batches``
    says whether it computes several items in a run; one whose first axis is 1 does not.
    """

    path: Path
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    canary: Item
    answer: Output
    batches: bool

    @classmethod
    def read(cls, path: Path, name: str) -> "OnnxGraph":
        """Read a graph and try it out; blocks. ``name`` is what errors call it by.

        Raises:
            GraphError: there is none, it is damaged, or it is not one that can be served; says why.
        """
        try:
            version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise GraphError(f"{path} cannot be read: {error.strerror}", where=name) from error
        session = _open(path, name)
        inputs, outputs = _specs(session, name)
        batches = _has_batches(inputs, outputs, name)
        canary, answer = _tried(session, inputs, outputs, name, batches=batches)
        return cls(path, version, inputs, outputs, canary, answer, batches)


def read_specs(graph: bytes, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs that a graph declares. Raises GraphError where it is none that can be served."""
    return _specs(_open(graph, name), name)


def _open(graph: bytes | Path, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # loads three times as fast
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise GraphError(f"it is no ONNX graph that can be loaded: {_first_line(error)}", where=name) from error


def _specs(session: onnxruntime.InferenceSession, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    inputs = tuple(_spec(value, name, "input") for value in session.get_inputs())
    outputs = tuple(_spec(value, name, "output") for value in session.get_outputs())
    if not inputs or not outputs:
        raise GraphError("a graph needs inputs and outputs to be served", where=name)
    return inputs, outputs


def _spec(value: Any, name: str, kind: str) -> TensorSpec:
    if value.type not in _TYPES:
        raise GraphError(f"{kind} {value.name} is a {value.type}; only numbers and booleans are served", where=name)
    shape = tuple(size if isinstance(size, int | str) else None for size in value.shape)
    if not shape:
        raise GraphError(f"{kind} {value.name} has no axes; its first must be the batch", where=name)
    if any(isinstance(size, int) and size < 1 for size in shape):
        raise GraphError(f"{kind} {value.name} has shape {list(shape)}, which holds nothing", where=name)
    return TensorSpec(value.name, _TYPES[value.type], shape)


def _has_batches(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], name: str) -> bool:
    """Whether the first axes are open, or all 1. Raises GraphError where they cannot be the batch."""
    first = {spec.name: spec.shape[0] for spec in (*inputs, *outputs)}
    if all(size == 1 for size in first.values()):
        return False
    fixed = [f"{key} has {size}" for key, size in first.items() if isinstance(size, int)]
    if fixed:
        raise GraphError(
            f"the first axis must be the batch and open in every tensor, but {', '.join(fixed)}; "
            "export the graph with a batch axis, or with 1 there in all of them",
            where=name,
        )
    symbols = {spec.shape[0] for spec in inputs}
    for spec in inputs:
        for axis, size in enumerate(spec.shape[1:], start=1):
            if isinstance(size, str) and size in symbols:
                raise GraphError(
                    f"axis {axis} of {spec.name} has the size of a first axis, {size!r}: that is no batch; "
                    "export the graph with a batch axis",
                    where=name,
                )
    return True


def _tried(
    session: onnxruntime.InferenceSession,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    name: str,
    *,
    batches: bool,
) -> tuple[Item, Output]:
    """An item that the graph answers with finite numbers, the same alone and beside another; and that answer.

    Raises:
        GraphError: it answers none of those that were tried, or mixes the items of a batch.
    """
    reason = "its answers are not finite"
    for size, fills in product(_OPEN_SIZES, _FILLS):
        items = [{spec.name: _filled(spec, size, *fill) for spec in inputs} for fill in fills]
        try:
            alone = [_run(session, {key: array[None] for key, array in item.items()}) for item in items]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has many, and another item may do
            reason = _first_line(error)
            continue
        if all(np.isfinite(array).all() for answer in alone for array in answer):
            if batches:
                _check_rows(session, items, alone, [spec.name for spec in outputs], name)
            return items[0], {spec.name: array[0] for spec, array in zip(outputs, alone[0], strict=True)}
    raise GraphError(f"the graph answers no input of ones or zeros that was tried: {reason}", where=name)


def _check_rows(
    session: onnxruntime.InferenceSession,
    items: Sequence[Item],
    alone: Sequence[list[NDArray[Any]]],
    outputs: Sequence[str],
    name: str,
) -> None:
    try:
        together = _run(session, {key: np.stack([item[key] for item in items]) for key in items[0]})
    except Exception as error:
        raise GraphError(f"the graph fails on a batch of {len(items)}: {_first_line(error)}", where=name) from error
    for output, rows, *answers in zip(outputs, together, *alone, strict=True):
        wanted = np.concatenate(answers)
        if rows.shape != wanted.shape:
            raise GraphError(
                f"output {output} has shape {rows.shape} for a batch of {len(items)} and {answers[0].shape} for one; "
                "its first axis is no batch",
                where=name,
            )
        if not np.allclose(rows, wanted, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise GraphError(f"output {output} of an item depends on what else is in its batch", where=name)


def _filled(spec: TensorSpec, open_size: int, number: float, integer: int) -> NDArray[Any]:
    shape = tuple(size if isinstance(size, int) else open_size for size in spec.shape[1:])
    value = {"f": number, "b": True}.get(spec.dtype.kind, integer)
    return np.full(shape, value, spec.dtype)


def _run(session: onnxruntime.InferenceSession, batch: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    answers: list[NDArray[Any]] = session.run(None, batch)
    return answers


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
