"""OpenVINO on the CPU behind the engine's interface (https://docs.openvino.ai/2026/api/ie_python_api/api.html).

OpenVINO is fastest where it knows every size in advance, so a graph is compiled for each shape of item at a few batch
sizes, and other batches are put together from these. It always computes in single precision: left to itself it takes
bfloat16 where the CPU has it, which moves answers by about 1e-2.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from gnn_service.core.errors import BundleError, DeviceUnavailableError, EngineFailedError, EngineStoppedError
from gnn_service.inference.runtimes.base import Batch
from gnn_service.inference.runtimes.buckets import in_buckets, powers
from gnn_service.inference.runtimes.failures import first_line, peak_resident_bytes, sorted_out
from gnn_service.inference.runtimes.references import References

COMPILED_MAX: Final = 24
"""Shapes compiled in advance of their batches, at most (about 17 MB each); others share one graph of any shape."""
_BASE: Final = 4
_RUN_COSTS: Final = 0.5  # what one more run costs, in graphs: measured on the shipped bundle
_log = logging.getLogger(__name__)

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class OpenVinoRuntime:
    """An ONNX graph whose inputs and outputs have the batch as first axis.

    Args:
        model: the graph as bytes, or its file.
        threads: threads inside one run; one a model instance is fastest for small graphs.
        batch_max: graphs in a batch, at most.
        references: known answers that what was compiled has to give before it is used.
        cache: folder for compiled graphs, so that the next start compiles less; None keeps nothing.
        device: ``auto`` or ``cpu``.

    Raises:
        BundleError: the graph is damaged.
        DeviceUnavailableError: another device than the CPU.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        model: bytes | Path,
        threads: int = 1,
        batch_max: int = 16,
        references: References | None = None,
        cache: Path | None = None,
        device: str = "cpu",
    ) -> None:
        if device not in ("auto", "cpu"):
            raise DeviceUnavailableError(f"device {device!r} is not there; openvino computes on: cpu")
        self.buckets: tuple[int, ...] = powers(_BASE, batch_max)
        self._threads = threads
        self._cache = cache
        self._references = references
        self._compiled: dict[Shapes, _Compiled] = {}
        self._any_shape: _Compiled | None = None
        self._core: Any = openvino.Core()
        try:
            self._model = self._core.read_model(model)
        except Exception as error:
            reason = first_line(error)
            text = f"the ONNX graph cannot be loaded, rebuild or re-download the bundle: {reason}"
            raise BundleError(text) from error
        self._names = tuple(value.get_any_name() for value in self._model.inputs)

    @property
    def memory_peak_bytes(self) -> int:
        """The most memory that this process has had resident."""
        return peak_resident_bytes()

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Compute a batch: arrays [B, ...] in, arrays [B, ...] out; see `Runtime.run`."""
        if self._core is None:
            raise EngineStoppedError("the runtime is closed; build a new one")
        if unknown := set(batch) ^ set(self._names):
            raise ValueError(f"the graph takes {', '.join(self._names)}; wrong: {', '.join(sorted(unknown))}")
        try:
            return in_buckets(self._run_bucket, batch, self.buckets, _RUN_COSTS)
        except Exception as error:
            meant = sorted_out(error)
            if meant is error:
                raise
            raise meant from error

    def release_memory(self) -> None:
        """Give back what runs keep between them."""
        for compiled in (*self._compiled.values(), self._any_shape):
            if compiled is not None:
                compiled.release_memory()

    def close(self) -> None:
        """Drop every compiled graph; OpenVINO frees its memory with them."""
        self._compiled.clear()
        self._any_shape = None
        self._model = self._core = None

    def _run_bucket(self, batch: Batch) -> dict[str, NDArray[Any]]:
        shapes: Shapes = tuple([(name, batch[name].shape) for name in self._names])
        compiled = self._compiled.get(shapes)
        if compiled is None:
            compiled = self._compile(shapes)
        return compiled.run(batch)

    def _compile(self, shapes: Shapes) -> "_Compiled":
        """The graph for these shapes; the shared one where there are too many shapes to compile each."""
        if len(self._compiled) >= COMPILED_MAX:
            if self._any_shape is None:
                _log.info("more than %d shapes of batches: further ones share a slower graph", COMPILED_MAX)
                self._any_shape = self._built(self._model)
            return self._any_shape
        fixed = self._model.clone()
        fixed.reshape({name: list(shape) for name, shape in shapes})
        self._compiled[shapes] = compiled = self._checked(fixed, dict(shapes))
        return compiled

    def _checked(self, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> "_Compiled":
        compiled = self._built(model)
        if (flaw := self._flaw(compiled, shapes)) is not None and self._cache is not None:
            _log.warning("a compiled graph in %s answers wrongly (%s); it is compiled anew", self._cache, flaw)
            compiled = self._built(model, cached=False)
            flaw = self._flaw(compiled, shapes)
        if flaw is not None:
            raise EngineFailedError(f"OpenVINO does not give the model's reference answers: {flaw}")
        return compiled

    def _flaw(self, compiled: "_Compiled", shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        if self._references is None:
            return None
        size = next(iter(shapes.values()))[0]
        return self._references.flaw(compiled.run, size, {name: shape[1:] for name, shape in shapes.items()})

    def _built(self, model: Any, *, cached: bool = True) -> "_Compiled":
        options: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # two instances, or two services, would be pinned to the same core
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if self._cache is not None and cached:
            try:
                return _Compiled(self._core.compile_model(model, "CPU", {**options, "CACHE_DIR": str(self._cache)}))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the cache, without it may go well
                _log.warning("the cache %s cannot be used: %s", self._cache, first_line(error))
        return _Compiled(self._core.compile_model(model, "CPU", options))


class _Compiled:
    """One compiled graph and the request that runs it.

    A graph of fixed shapes keeps its arrays: writing into them costs a third less of a batch of one than handing
    arrays over, which OpenVINO looks through one by one.
    """

    def __init__(self, compiled: Any) -> None:
        self._graph = compiled
        self._names = tuple(value.get_any_name() for value in compiled.inputs)
        self._outputs = tuple(value.get_any_name() for value in compiled.outputs)
        self._fixed = not any(value.get_partial_shape().is_dynamic for value in (*compiled.inputs, *compiled.outputs))
        self._request: Any = None
        self._rooms: list[tuple[str, NDArray[Any]]] = []
        self._open()

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Answers, in arrays of their own: OpenVINO's are overwritten by the next run."""
        if self._fixed:
            for name, room in self._rooms:
                room[...] = batch[name]
            self._request.infer()
        else:
            # Shared inputs are read in place; that needs them in one piece.
            whole = {name: np.ascontiguousarray(value) for name, value in batch.items()}
            self._request.infer(whole, share_inputs=True)
        tensors = self._request.output_tensors
        return {name: np.array(tensor.data) for name, tensor in zip(self._outputs, tensors, strict=True)}

    def release_memory(self) -> None:
        """Give back buffers between runs."""
        self._request = None  # it and its arrays hold some of them
        self._rooms.clear()
        self._graph.release_memory()
        self._open()

    def _open(self) -> None:
        self._request = self._graph.create_infer_request()
        if self._fixed:
            tensors = (tensor.data for tensor in self._request.input_tensors)
            self._rooms = list(zip(self._names, tensors, strict=True))
