"""The network as an ONNX graph, and the proof that both answer alike."""

import itertools
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from gnn_service.core.errors import BundleError
from gnn_service.model.decode import in_unit
from gnn_service.model.heads import Answers
from gnn_service.model.network import INPUTS, MachineNetwork, factored
from gnn_service.model.padding import AXES, pad, sizes

BATCHES = (1, 2, 16)
"""Exports have been seen specialised to two graphs and more; both ends of a batch are checked, and a small one."""

LIMITS = {"batch": 256, "nodes": 256, "sensors": 1024}

TOLERANCE = 1e-5
"""Largest difference of answers as they are read, in 0..1."""

Arrays = dict[str, NDArray[Any]]


def run_torch(network: MachineNetwork, batch: Arrays) -> Arrays:
    """Answers of the network itself, by name."""
    with torch.no_grad():
        answers = network(*(torch.from_numpy(np.ascontiguousarray(batch[name])) for name in INPUTS))
    return {name: value.numpy() for name, value in zip(Answers._fields, answers, strict=True)}


def export_onnx(network: MachineNetwork, item: Arrays) -> tuple[bytes, float]:
    """(ONNX graph, largest difference to torch, in 0..1). Any number of graphs, components, sensors goes through it.

    ``item`` is one encoded window. Raises BundleError when answers of graph and network, as they are read, disagree by
    more than 1e-5 on one graph or on several, as they are or padded to the size of a larger machine.
    """
    batch = {name: np.stack([value] * 3) for name, value in item.items()}
    graph = _export(network, batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(Answers._fields, session.run(list(Answers._fields), inputs), strict=True))

    return graph, worst_difference(network, item, run)


def worst_difference(network: MachineNetwork, item: Arrays, run: Callable[[Arrays], Mapping[str, Any]]) -> float:
    """Largest difference of ``run``'s answers to the network's, as they are read, in 0..1.

    Raises BundleError above 1e-5, for any of the batch sizes and machine sizes that are tried.
    """
    gaps = []
    random = np.random.default_rng(0)
    for size, window in itertools.product(BATCHES, (item, padded(item, 2))):
        inputs = {name: np.stack([value] * size) for name, value in window.items()}
        inputs["readings"] = inputs["readings"] + random.normal(0, 0.1, inputs["readings"].shape).astype(np.float32)
        expected = in_unit(run_torch(network, inputs))
        gaps += [np.abs(expected[name] - answer).max() for name, answer in in_unit(run(inputs)).items()]
    worst = float(np.max(gaps))  # unlike max(), this lets no NaN pass
    if not worst <= TOLERANCE:
        raise BundleError(f"the exported graph differs from the network by {worst:.2e}; it was not written")
    return worst


def padded(item: Arrays, times: int) -> Arrays:
    """One encoded window with as many components and sensors again that are not there, ``times`` the size."""
    nodes, sensors = sizes({name: value.shape for name, value in item.items()})
    return pad(item, times * nodes, times * sensors)


def example_of(batch: Arrays) -> dict[str, Any]:
    """What torch's exporters need besides the network: example arguments, and which of their axes vary."""
    dims = {name: torch.export.Dim(name, min=1, max=limit) for name, limit in LIMITS.items()}
    shapes = tuple({k: dims[name] for k, name in enumerate(AXES[each])} for each in INPUTS)
    example = tuple(torch.from_numpy(np.ascontiguousarray(batch[name])) for name in INPUTS)
    return {"args": example, "dynamic_shapes": shapes}


def _export(network: MachineNetwork, batch: Arrays) -> bytes:
    # The exporter talks about packages that it does not need, on logger and warnings alike.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, factored(network):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(Answers._fields),
            verbose=False,
            **example_of(batch),
        )
        if program is None:
            raise BundleError("the network could not be exported; it was not written")
        path = Path(folder) / "model.onnx"
        program.save(str(path))
        return path.read_bytes()


class TorchRuntime:
    """The network itself behind the engine's interface, so that folds are scored without an export each."""

    name = "torch"
    device = "cpu"
    buckets = None

    def __init__(self, network: MachineNetwork) -> None:
        self._network = network

    def run(self, batch: Mapping[str, NDArray[Any]]) -> Arrays:
        """Answers of a batch."""
        return run_torch(self._network, dict(batch))

    def close(self) -> None:
        """Nothing is held."""
