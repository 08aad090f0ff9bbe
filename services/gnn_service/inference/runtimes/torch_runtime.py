"""The network itself, run by torch: without an export, on any device that torch knows, from safetensors alone.

`TorchRuntime` runs it eagerly on a CPU (or Apple's MPS); on CUDA `torch_cuda.CudaRuntime` does.
"""

from typing import Any

import torch
from numpy.typing import NDArray

from gnn_service.core import devices
from gnn_service.core.errors import BundleError, EngineStoppedError
from gnn_service.inference.runtimes.base import Batch
from gnn_service.inference.runtimes.failures import first_line, peak_resident_bytes, sorted_out
from gnn_service.model.bundle import Bundle
from gnn_service.model.heads import Answers
from gnn_service.model.network import INPUTS, Architecture, MachineNetwork


def network_of(bundle: Bundle) -> MachineNetwork:
    """The bundle's network with its weights, ready to answer; no code of the bundle is run.

    Raises:
        BundleError: the weights do not fit the network that the manifest describes.
    """
    try:
        network = MachineNetwork(bundle.vocabulary, Architecture(**bundle.manifest["architecture"]))
        network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in bundle.weights.items()})
    except (RuntimeError, TypeError, ValueError) as error:
        text = f"the weights do not fit this version's network, train the bundle again: {first_line(error)}"
        raise BundleError(text) from error
    return network.eval().requires_grad_(requires_grad=False)


class TorchRuntime:
    """The network, run eagerly.

    Args:
        network: in evaluation mode.
        device: ``cpu`` or ``mps``; ``auto`` takes the best there is.
        threads: threads inside one operator; torch has one such number in a process.

    Raises:
        DeviceUnavailableError: an explicit device that is not there.
    """

    name = "torch"
    buckets: tuple[int, ...] | None = None

    def __init__(self, network: MachineNetwork, device: str = "cpu", threads: int = 1) -> None:
        self.device = devices.resolve(device, "torch")
        torch.set_num_threads(threads)
        self._network: MachineNetwork | None = network.to(self.device)

    @property
    def memory_peak_bytes(self) -> int:
        """The most memory that this process has had resident."""
        return peak_resident_bytes()

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Compute a batch: arrays [B, ...] in, arrays [B, ...] out; see `Runtime.run`."""
        if self._network is None:
            raise EngineStoppedError("the runtime is closed; build a new one")
        try:
            with torch.inference_mode():
                answers = self._network(*(_tensor(batch[name]).to(self.device) for name in INPUTS))
                return {name: value.cpu().numpy() for name, value in zip(Answers._fields, answers, strict=True)}
        except Exception as error:
            meant = sorted_out(error)
            if meant is error:
                raise
            raise meant from error

    def release_memory(self) -> None:
        """Nothing is kept between runs on a CPU; MPS gives back what its allocator cached."""
        if self.device == "mps":
            torch.mps.empty_cache()

    def close(self) -> None:
        """Drop the network."""
        self._network = None


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())  # torch warns of what it might write to
