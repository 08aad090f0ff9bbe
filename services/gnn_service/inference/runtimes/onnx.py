"""ONNX Runtime behind the engine's interface (https://onnxruntime.ai/docs/api/python/api_summary.html)."""

import ctypes
from pathlib import Path
from typing import Any, Final

import onnxruntime
from numpy.typing import NDArray

from gnn_service.core import devices
from gnn_service.core.errors import BundleError, DeviceUnavailableError, EngineStoppedError
from gnn_service.inference.runtimes.base import Batch
from gnn_service.inference.runtimes.failures import first_line, peak_resident_bytes, sorted_out

_FATAL_ONLY: Final = 4


class OnnxRuntime:
    """An ONNX graph whose inputs and outputs have the batch as first axis.

    Args:
        model: the graph as bytes, or its file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads inside one operator; one a model instance is fastest for small graphs.
        memory_fraction: share of a GPU's memory that may be used, 0..1; no effect on a CPU.

    Raises:
        BundleError: the graph is damaged, or answers something other than tensors.
        DeviceUnavailableError: an explicit device that is not there.
    """

    name = "onnxruntime"
    buckets = None

    def __init__(
        self, model: bytes | Path, device: str = "auto", threads: int = 1, memory_fraction: float = 0.8
    ) -> None:
        self.device = devices.resolve(device, "onnxruntime")
        providers = _providers(self.device, memory_fraction)
        self._session: onnxruntime.InferenceSession | None = _open(model, threads, providers)
        self.inputs: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.outputs: tuple[str, ...] = _tensor_names(self._session.get_outputs())
        self._shrink = False

    @property
    def memory_peak_bytes(self) -> int:
        """The most memory that this process has had resident (ONNX Runtime does not report a GPU's)."""
        return peak_resident_bytes()

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Compute a batch: arrays [B, ...] in, arrays [B, ...] out; see `Runtime.run`."""
        if self._session is None:
            raise EngineStoppedError("the runtime is closed; build a new one")
        options = self._run_options()
        try:
            answers = self._session.run(self.outputs, dict(batch), options)
        except Exception as error:
            raise sorted_out(error) from error
        return dict(zip(self.outputs, answers, strict=True))

    def release_memory(self) -> None:
        """Have the next run give the arena's free chunks back to the system."""
        self._shrink = True

    def close(self) -> None:
        """Drop the session; ONNX Runtime frees its memory with it."""
        self._session = None

    def _run_options(self) -> onnxruntime.RunOptions | None:
        if not self._shrink:
            return None
        self._shrink = False
        options = onnxruntime.RunOptions()
        arena = self.device.replace("cuda", "gpu") if self.device != "cpu" else "cpu:0"
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
        return options


def _open(model: bytes | Path, threads: int, providers: list[Any]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY  # every error is raised; printed as well it would only be noise
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:
        meant = sorted_out(error)
        if meant is not error:
            raise meant from error
        reason = first_line(error)
        raise BundleError(f"the ONNX graph cannot be loaded, rebuild or re-download the bundle: {reason}") from error


def _providers(device: str, memory_fraction: float) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2])
    cuda = {
        "device_id": index,
        "gpu_mem_limit": int(memory_fraction * _gpu_memory_bytes(index)),
        "arena_extend_strategy": "kSameAsRequested",  # doubling would take memory that nobody asked for
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]


def _gpu_memory_bytes(index: int) -> int:
    """Memory of a GPU (CUDA Driver API: cuInit, cuDeviceGet, cuDeviceTotalMem)."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, size = ctypes.c_int(0), ctypes.c_size_t(0)
    asked = (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), index),
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), device),
    )
    if any(asked):
        raise DeviceUnavailableError(f"the driver does not tell the memory of cuda:{index}; check it with nvidia-smi")
    return size.value


def _tensor_names(values: Any) -> tuple[str, ...]:
    for value in values:
        if not value.type.startswith("tensor("):
            raise BundleError(f"output {value.name!r} of the ONNX graph is a {value.type}; export it as a tensor")
    return tuple(value.name for value in values)
