"""A bundle's network for other programs: as ONNX, OpenVINO's files, or a torch program, each checked against torch.

All of them take any number of windows, components and sensors, in single precision.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from gnn_service.core import devices
from gnn_service.core.errors import BundleError
from gnn_service.inference.runtimes.torch_runtime import network_of
from gnn_service.model.bundle import Bundle
from gnn_service.model.heads import Answers
from gnn_service.model.network import INPUTS, MachineNetwork, factored
from gnn_service.training.export import BATCHES, Arrays, example_of, export_onnx, padded, worst_difference

Format = Literal["onnx", "openvino", "torch-export"]
FILES: Final[Mapping[Format, tuple[str, ...]]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch-export": ("model.pt2",),
}
"""What is written for each format."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far its answers are from torch's at most, in 0..1.

    ``batches`` and ``machines`` (components, sensors) are what was tried, each with each.
    """

    format: Format
    files: tuple[Path, ...]
    worst_difference: float
    batches: tuple[int, ...]
    machines: tuple[tuple[int, int], ...]


def export_as(bundle: Bundle, form: Format, folder: Path) -> Exported:
    """Export a bundle's network into a folder, which is made where it is not there.

    What is written is read back and checked; nothing is left of an export that answers otherwise.

    Raises:
        BundleError: the export does not answer as torch does, or the folder cannot be written to.
        ConfigurationError: the format needs a package that is not installed.
    """
    devices.available("openvino" if form == "openvino" else "torch")  # says which extra brings it
    network, (item, _) = network_of(bundle), bundle.canary
    files = tuple(folder / name for name in FILES[form])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run = {"onnx": _onnx, "openvino": _openvino, "torch-export": _torch_program}[form](network, item, files[0])
    except OSError as error:
        raise BundleError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    try:
        worst = worst_difference(network, item, run)
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    machines = tuple(window["membership"].shape for window in (item, padded(item, 2)))
    return Exported(form, files, worst, BATCHES, machines)


Run = Callable[[Arrays], Mapping[str, Any]]


def _onnx(network: MachineNetwork, item: Arrays, path: Path) -> Run:
    from gnn_service.inference.runtimes.onnx import OnnxRuntime  # noqa: PLC0415 - each format's own runtime

    path.write_bytes(export_onnx(network, item)[0])
    return OnnxRuntime(path, "cpu").run


def _openvino(network: MachineNetwork, item: Arrays, path: Path) -> Run:
    import openvino  # noqa: PLC0415 - an extra

    from gnn_service.inference.runtimes.openvino import OpenVinoRuntime  # noqa: PLC0415 - an extra

    model = openvino.Core().read_model(export_onnx(network, item)[0])
    openvino.save_model(model, path, compress_to_fp16=False)
    return OpenVinoRuntime(path).run


def _torch_program(network: MachineNetwork, item: Arrays, path: Path) -> Run:
    traced = example_of({name: np.stack([value] * 3) for name, value in item.items()})
    by_position = {**traced, "dynamic_shapes": (traced["dynamic_shapes"],)}  # one parameter takes them all
    with warnings.catch_warnings(), factored(network):
        warnings.simplefilter("ignore")  # the exporter talks about its own workings
        torch.export.save(torch.export.export(_Plain(network), **by_position), path)
        program = torch.export.load(path).module()

    def run(inputs: Arrays) -> Arrays:
        answers = program(*(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in INPUTS))
        return {name: value.detach().numpy() for name, value in zip(Answers._fields, answers, strict=True)}

    return run


class _Plain(torch.nn.Module):
    """The network with a plain tuple of answers, which a program without this package can hold."""

    def __init__(self, network: MachineNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As the network's."""
        return tuple(self.network(*arrays))
