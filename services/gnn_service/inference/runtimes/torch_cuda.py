"""The network on an NVIDIA GPU: one CUDA graph a batch size, pinned staging memory, one synchronisation a batch.

Sources: https://docs.pytorch.org/docs/2.13/notes/cuda.html (CUDA graphs, streams, pinned memory, caching allocator).
"""

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn_service.core import devices
from gnn_service.core.errors import DeviceUnavailableError, EngineFailedError, EngineStoppedError
from gnn_service.inference.runtimes.base import Batch, DeviceMemoryError, RuntimeLostError
from gnn_service.inference.runtimes.buckets import in_buckets, powers
from gnn_service.inference.runtimes.failures import first_line, sorted_out

PROGRAMS_MAX: Final = 64
"""Shapes of batches kept ready, at most; the one that was used longest ago goes first."""
_BASE: Final = 2
_EAGER_RUNS: Final = 3  # before a capture, so that cuBLAS and the allocator have what they need
_log = logging.getLogger(__name__)

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Staging:
    """Where one shape of batch goes in and out: host memory that the GPU can copy from by itself, and device memory."""

    host_in: tuple[Tensor, ...]
    device_in: tuple[Tensor, ...]

    @classmethod
    def of(cls, batch: Sequence[NDArray[Any]], device: str, *, pinned: bool) -> "Staging":
        """Room for batches like this one."""
        host = tuple(torch.empty(a.shape, dtype=torch.from_numpy(a).dtype, pin_memory=pinned) for a in batch)
        return cls(host, tuple(torch.empty_like(tensor, device=device) for tensor in host))

    def write(self, batch: Sequence[NDArray[Any]]) -> None:
        """Put a batch into the host's side."""
        for room, array in zip(self.host_in, batch, strict=True):
            room.numpy()[...] = array

    def upload(self) -> None:
        """Copy it to the device, in the current stream, without waiting."""
        for there, here in zip(self.device_in, self.host_in, strict=True):
            there.copy_(here, non_blocking=True)


@dataclass(frozen=True, slots=True)
class _Program:
    """One shape of batch, ready to run: ``launch`` computes ``device_out`` from what was uploaded."""

    staging: Staging
    launch: Callable[[], None]
    device_out: tuple[Tensor, ...]
    host_out: tuple[Tensor, ...]
    done: torch.cuda.Event


class CudaRuntime:
    """A network whose inputs and outputs have the batch as first axis, on one GPU.

    A batch is padded to a power of two, so that few programs are captured. The first batch of a new shape captures
    its CUDA graph (tens of milliseconds); the warm-up does so for the sizes in `buckets`.

    Args:
        network: takes the arrays of ``inputs`` in that order; in evaluation mode.
        inputs: names of its inputs.
        outputs: names of its outputs.
        device: ``cuda``, ``cuda:N`` or ``auto``.
        batch_max: graphs in a batch, at most.
        memory_fraction: share of the GPU's memory that this process may use, 0..1.
        graphs: capture CUDA graphs; without them each kernel is launched from Python, which is slower.

    Raises:
        DeviceUnavailableError: the device is not there.
    """

    name = "torch"

    def __init__(
        self,
        network: nn.Module,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        device: str = "cuda",
        batch_max: int = 16,
        memory_fraction: float = 0.8,
        graphs: bool = True,
    ) -> None:
        self.device = devices.resolve(device, "torch")
        if not self.device.startswith("cuda"):
            raise DeviceUnavailableError(f"device {device!r} is no GPU here; torch offers: {self.device}")
        self.buckets: tuple[int, ...] = powers(_BASE, batch_max)
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._graphs = graphs
        self._programs: OrderedDict[Shapes, _Program] = OrderedDict()
        try:
            torch.cuda.set_device(self.device)
            torch.cuda.set_per_process_memory_fraction(memory_fraction, self.device)
            self._stream = torch.cuda.Stream(self.device)
            self._network: nn.Module | None = network.to(self.device)
            torch.cuda.synchronize(self.device)  # the weights were copied on the default stream
        except Exception as error:
            raise _translated(error) from error

    @property
    def memory_peak_bytes(self) -> int:
        """The most memory that torch has held on this GPU, in bytes."""
        return torch.cuda.max_memory_reserved(self.device)

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Compute a batch: arrays [B, ...] in, arrays [B, ...] out; see `Runtime.run`."""
        if self._network is None:
            raise EngineStoppedError("the runtime is closed; build a new one")
        try:
            return in_buckets(self._run_bucket, batch, self.buckets)
        except Exception as error:
            meant = _translated(error)
            if meant is error:
                raise
            raise meant from error

    def release_memory(self) -> None:
        """Drop every captured graph and give cached memory back to the driver; graphs are captured anew when used."""
        self._stream.synchronize()
        self._programs.clear()
        torch.cuda.empty_cache()

    def close(self) -> None:
        """Drop the network and the graphs, and give their memory back."""
        self._network = None
        with contextlib.suppress(Exception):  # a lost device has nothing left to give back
            self.release_memory()
        self._programs.clear()

    def _run_bucket(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        arrays = [np.ascontiguousarray(batch[name]) for name in self._inputs]
        program = self._program(arrays)
        with torch.cuda.stream(self._stream):
            program.staging.write(arrays)
            program.staging.upload()
            program.launch()
            for here, there in zip(program.host_out, program.device_out, strict=True):
                here.copy_(there, non_blocking=True)
            program.done.record(self._stream)
        program.done.synchronize()  # the one wait of a batch: its answers have arrived in the host's memory
        return {name: here.numpy().copy() for name, here in zip(self._outputs, program.host_out, strict=True)}

    def _program(self, arrays: Sequence[NDArray[Any]]) -> _Program:
        shapes: Shapes = tuple([array.shape for array in arrays])
        found = self._programs.get(shapes)
        if found is None:
            while len(self._programs) >= PROGRAMS_MAX:
                self._programs.popitem(last=False)
            found = self._programs[shapes] = self._prepared(arrays)
        self._programs.move_to_end(shapes)
        return found

    def _prepared(self, arrays: Sequence[NDArray[Any]]) -> _Program:
        staging = Staging.of(arrays, self.device, pinned=True)
        staging.write(arrays)
        with torch.cuda.stream(self._stream), torch.inference_mode():
            staging.upload()
            answers = self._compute(staging)
            for _ in range(_EAGER_RUNS - 1):
                answers = self._compute(staging)
            self._stream.synchronize()
        device_out = tuple(torch.empty_like(answer) for answer in answers)
        host_out = tuple(torch.empty(a.shape, dtype=a.dtype, pin_memory=True) for a in answers)
        del answers  # the capture allocates in a pool of its own
        launch = self._captured(staging, device_out) if self._graphs else self._eager(staging, device_out)
        done = torch.cuda.Event(blocking=True)  # a waiting thread sleeps and lets others have its core
        return _Program(staging, launch, device_out, host_out, done)

    def _compute(self, staging: Staging) -> tuple[Tensor, ...]:
        if self._network is None:
            raise EngineStoppedError("the runtime is closed; build a new one")
        return tuple(self._network(*staging.device_in))

    def _eager(self, staging: Staging, device_out: tuple[Tensor, ...]) -> Callable[[], None]:
        @torch.inference_mode()
        def launch() -> None:
            for room, answer in zip(device_out, self._compute(staging), strict=True):
                room.copy_(answer)

        return launch

    def _captured(self, staging: Staging, device_out: tuple[Tensor, ...]) -> Callable[[], None]:
        """The network's kernels as one CUDA graph.

        Raises:
            EngineFailedError: they cannot be captured; the text says how to do without.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: another thread that uses CUDA meanwhile, such as a second instance, does no harm
            with (
                torch.inference_mode(),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                for room, answer in zip(device_out, self._compute(staging), strict=True):
                    room.copy_(answer)
        except Exception as error:
            meant = _translated(error)
            if isinstance(meant, DeviceMemoryError | RuntimeLostError):
                raise meant from error
            text = f"the network cannot be captured as a CUDA graph ({first_line(error)}); set model.cuda_graphs=false"
            raise EngineFailedError(text) from error

        def launch() -> None:
            graph.replay()

        return launch


def _translated(error: Exception) -> Exception:
    """The error as the engine knows it, by the first cause: a failed capture ends in an error about the capture."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, torch.OutOfMemoryError):
            return DeviceMemoryError(f"no memory for this batch: {first_line(cause)}")
        cause = cause.__context__
    return sorted_out(error)
