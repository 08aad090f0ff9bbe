"""A model as the runtimes take it: the graph, known answers, and how each runtime opens it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from gnn_service.core import devices
from gnn_service.core.config import Settings
from gnn_service.core.errors import BundleError
from gnn_service.inference.runtimes.base import Item, Output, Runtime
from gnn_service.inference.runtimes.onnx import OnnxRuntime
from gnn_service.inference.runtimes.references import Known, References, Shapes
from gnn_service.model import padding
from gnn_service.model.bundle import Bundle

NAMES: Final[tuple[devices.Runtime, ...]] = ("onnxruntime", "openvino", "torch")
"""Every runtime; of two that are equally fast the earlier is taken."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to run.

    Attributes:
        graph: the ONNX graph, as bytes or its file.
        references: graphs whose answers are known.
        version: names exactly this model, in caches and logs.
        bundle: where the graph comes from; without one torch cannot run it.
    """

    graph: bytes | Path
    references: References
    version: str
    bundle: Bundle | None = field(default=None, repr=False)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "Source":
        """A trained bundle; its canary is known at the size of every machine, as what is not there is masked."""
        item, answer = bundle.canary
        references = References(Known(item, answer), partial(_grown, item, answer))
        return cls(bundle.onnx, references, bundle.version, bundle)

    @classmethod
    def of_graph(cls, graph: bytes | Path, item: Item, answer: Output, version: str) -> "Source":
        """A plain ONNX graph, with one item that it takes and what it answers."""
        return cls(graph, References(Known(item, answer)), version)


def open_runtime(name: devices.Runtime, source: Source, settings: Settings) -> Runtime:
    """Load a source into the runtime of that name, on the device that the settings name.

    Raises:
        BundleError: the source is damaged, or nothing that this runtime can run.
        ConfigurationError: the runtime is not installed.
        DeviceUnavailableError: an explicit device that is not there.
    """
    device, inference = settings.model.device, settings.inference
    if name == "onnxruntime":
        return OnnxRuntime(source.graph, device, inference.threads, inference.memory_fraction)
    devices.available(name)  # says which extra brings it, where it is not installed
    return (_openvino if name == "openvino" else _torch)(source, settings)


def _openvino(source: Source, settings: Settings) -> Runtime:
    from gnn_service.inference.runtimes.openvino import OpenVinoRuntime  # noqa: PLC0415 - an extra

    inference, cache = settings.inference, settings.model.cache_dir
    return OpenVinoRuntime(
        source.graph,
        inference.threads,
        inference.batch_max,
        source.references,
        None if cache is None else cache / "openvino",
        settings.model.device,
    )


def _torch(source: Source, settings: Settings) -> Runtime:
    from gnn_service.inference.runtimes import torch_cuda, torch_runtime  # noqa: PLC0415 - an extra; takes seconds
    from gnn_service.model.heads import Answers  # noqa: PLC0415
    from gnn_service.model.network import INPUTS, set_factored  # noqa: PLC0415

    if source.bundle is None:
        raise BundleError("torch runs bundles only, and this is a plain ONNX graph")
    inference = settings.inference
    network = torch_runtime.network_of(source.bundle)
    set_factored(network, on=True)
    device = devices.resolve(settings.model.device, "torch", where="model.device")
    if not device.startswith("cuda"):
        return torch_runtime.TorchRuntime(network, device, inference.threads)
    return torch_cuda.CudaRuntime(
        network,
        INPUTS,
        Answers._fields,
        device=device,
        batch_max=inference.batch_max,
        memory_fraction=inference.memory_fraction,
        graphs=settings.model.cuda_graphs,
    )


def candidates(settings: Settings) -> tuple[devices.Runtime, ...]:
    """The runtimes among which `auto` chooses: those that have the device, and are quick to load on it.

    On a CPU torch is left out: it is slower there than ONNX Runtime, and takes seconds and 300 MB to import.

    Raises:
        DeviceUnavailableError: an explicit device that no runtime has.
    """
    device, _ = settings.model.resolve_device(where="model.device")
    installed: Callable[[devices.Runtime], bool] = devices.is_installed
    if device == "cpu":
        return tuple(name for name in NAMES if name != "torch" and installed(name))
    return tuple(name for name in NAMES if name != "openvino" and installed(name) and device in devices.available(name))


def _grown(item: Item, answer: Output, shapes: Shapes) -> Known | None:
    nodes, _ = padding.sizes({name: value.shape for name, value in item.items()})
    try:
        larger = padding.pad(item, *padding.sizes(shapes))
    except (KeyError, ValueError):  # smaller than the known one, or nothing that the network takes
        return None
    if any(value.shape != tuple(shapes.get(name, ())) for name, value in larger.items()):
        return None
    return Known(larger, answer, partial(padding.cut, nodes=nodes))
