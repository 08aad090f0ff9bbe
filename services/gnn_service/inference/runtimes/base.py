"""What the engine asks of a model runtime, and the two failures that it treats in a way of their own."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from gnn_service.core.errors import EngineFailedError

Item = Mapping[str, NDArray[Any]]
"""One graph's arrays by input name, without a batch axis."""

Batch = Mapping[str, NDArray[Any]]
"""Graphs of one shape, stacked along a new first axis."""

Output = dict[str, NDArray[Any]]
"""One graph's answers by output name, without a batch axis."""


class DeviceMemoryError(EngineFailedError, MemoryError):
    """The device, or the host, had no memory left for this batch; a smaller one may fit."""


class RuntimeLostError(EngineFailedError):
    """The runtime cannot be used any more (a lost device, a sticky driver error) and must be built anew."""


class Runtime(Protocol):
    """A loaded model. Built, run and closed on one thread, never on the event loop."""

    @property
    def name(self) -> str:
        """What computes, e.g. ``onnxruntime``."""
        ...

    @property
    def device(self) -> str:
        """Where it computes: ``cpu``, ``cuda:0`` ..."""
        ...

    @property
    def buckets(self) -> tuple[int, ...] | None:
        """Batch sizes that it computes, rising; others are padded up to the next of them. None: any size, unpadded.

        A warm-up has run everything when it has run each of these once.
        """
        ...

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Compute a batch; blocks.

        Args:
            batch: arrays [B, ...] by input name, B >= 1.

        Returns:
            arrays [B, ...] by output name, in the order of the batch.

        Raises:
            MemoryError: the batch did not fit (`DeviceMemoryError` where the library has a kind of its own).
            RuntimeLostError: nothing will work until the runtime is built anew.
            Exception: this batch failed; others may not.
        """
        ...

    def close(self) -> None:
        """Give back everything; the runtime is not used afterwards."""
        ...


@runtime_checkable
class MemoryAware(Protocol):
    """What a runtime may offer besides, so that the engine can shed memory and report it."""

    @property
    def memory_peak_bytes(self) -> int:
        """The most memory held so far, in bytes."""
        ...

    def release_memory(self) -> None:
        """Give cached memory back, now or with the next run."""
        ...
