"""From partitions of recordings to a trained model, and from a trained model to a bundle."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from gnn_service import __version__
from gnn_service.core.errors import BundleError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Machine
from gnn_service.model.bundle import Arrays, Bundle, vocabulary_to_dict
from gnn_service.model.calibrate import fit_fusion
from gnn_service.model.encode import Structure, Vocabulary, Wiring
from gnn_service.model.heads import Answers
from gnn_service.model.judge import Fusion, Knowledge, severities_of
from gnn_service.model.network import INPUTS, Architecture, MachineNetwork
from gnn_service.training.dataset import UNKNOWN, WindowSet
from gnn_service.training.export import export_onnx, run_torch
from gnn_service.training.loop import Batchable, Fitted, Progress, Recipe, answers_of, fit_network, mode_logits
from gnn_service.training.partition import Partition
from gnn_service.training.prepare import Examples, learn_kind, make_examples


@dataclass(frozen=True)
class Model:
    """A trained network with what was learned about each machine."""

    vocabulary: Vocabulary
    network: MachineNetwork
    machines: Mapping[str, Machine]
    knowledge: Mapping[str, Knowledge]
    fitted: Fitted
    recipe: Recipe
    canary: tuple[Arrays, Arrays]


def vocabulary_of(sets: Sequence[WindowSet]) -> Vocabulary:
    """The catalogue's words, and the failure modes of which these windows show at least two levels."""
    words = catalogue()
    modes = set()
    for windows in sets:
        types = {c.id: c.type for c in windows.machine.components}
        for mode in windows.modes:
            if len(np.unique(windows.levels[mode.id])) > 1:
                modes.add(f"{types[mode.component]}.{mode.mode}")
    return Vocabulary(words.component_type_ids, words.connection_type_ids, words.quantity_ids, tuple(sorted(modes)))


def fit_model(
    parts: Sequence[Partition],
    recipe: Recipe,
    architecture: Architecture | None = None,
    wiring: Wiring = "true",
    *,
    initial: Bundle | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Model:
    """Learn physics constants, then the network, then the fusion of both; test windows are never looked at.

    With ``initial`` the network starts from that bundle's weights; BundleError when they are of another kind.
    """
    vocabulary = vocabulary_of([part.train for part in parts])
    chosen = architecture or Architecture()
    start = None if initial is None else initial_weights(initial, vocabulary, chosen)
    knowledge, train, validation = {}, [], []
    for part in parts:
        machine = part.train.machine
        structure = Structure(machine, vocabulary, wiring, recipe.seed)
        learned = learn_kind(part.train, part.healthy)
        knowledge[machine.id] = learned
        train.append(make_examples(structure, learned, part.train, part.healthy, recipe.seed))
        validation.append(make_examples(structure, learned, part.validation, part.healthy, recipe.seed + 1))
    fitted = fit_network(
        vocabulary,
        chosen,
        train,
        validation,
        recipe,
        initial=start,
        checkpoint=checkpoint,
        progress=progress,
    )
    for examples in validation:
        machine_id = examples.structure.machine.id
        fusion = fit_fusions(fitted.network, examples, recipe.device)
        knowledge[machine_id] = replace(knowledge[machine_id], fusion=fusion)
    machines = {part.train.machine.id: part.train.machine for part in parts}
    network = fitted.network.to("cpu").eval()
    return Model(vocabulary, network, machines, knowledge, fitted, recipe, make_canary(network, validation[0]))


def initial_weights(bundle: Bundle, vocabulary: Vocabulary, architecture: Architecture) -> dict[str, torch.Tensor]:
    """A bundle's weights to go on from; BundleError when it is of another architecture or speaks of other modes."""
    if bundle.vocabulary != vocabulary or bundle.manifest["architecture"] != architecture.to_dict():
        raise BundleError("it speaks of other failure modes, or is of another architecture; train without --from")
    return {name: torch.from_numpy(value.copy()) for name, value in bundle.weights.items()}


def fit_fusions(network: MachineNetwork, examples: Examples, device: str) -> dict[str, Fusion]:
    """Temperature and weights of every failure mode, on validation examples."""
    logits = answers_of(network, Batchable.of(examples), device).severity.numpy()
    fusion = {}
    for mode in examples.structure.machine.failure_modes:
        known = np.flatnonzero(examples.levels[mode.id] != UNKNOWN)
        own = mode_logits(examples.structure, logits, mode.id)
        if own is None or not len(known):
            continue
        physics, usable = examples.physics.get(mode.id, (None, np.zeros(len(examples), bool)))
        fusion[mode.id] = fit_fusion(
            own[known].astype(float),
            None if physics is None else physics[known],
            usable[known],
            examples.levels[mode.id][known],
            severities_of(mode),
        )
    return fusion


def make_canary(network: MachineNetwork, examples: Examples) -> tuple[Arrays, Arrays]:
    """One validation window as the engine gets it, and torch's answer to it."""
    arrays = {**examples.structure.arrays, **{name: value[0] for name, value in examples.arrays.items()}}
    item: Arrays = {name: np.ascontiguousarray(arrays[name]) for name in INPUTS}
    answer = run_torch(network, {name: value[None] for name, value in item.items()})
    return item, {name: np.array(value[0]) for name, value in answer.items()}


def make_bundle(model: Model, facts: Mapping[str, Any], *, export: bool = True) -> Bundle:
    """Everything about a model in one bundle. ``facts`` are data hashes, splits and metrics for the manifest.

    Without ``export`` there is no ONNX graph: enough to score with torch. Raises BundleError when the exported graph
    does not answer as torch does.
    """
    weights = safetensors.torch.save({name: value.contiguous() for name, value in model.network.state_dict().items()})
    graph, difference = export_onnx(model.network, model.canary[0]) if export else (b"", None)
    manifest = {
        "made_with": {"gnn_service": __version__, "torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "architecture": model.network.architecture.to_dict(),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "vocabulary": vocabulary_to_dict(model.vocabulary),
        "outputs": list(Answers._fields),
        "export_difference": difference,
        "recipe": {name: getattr(model.recipe, name) for name in model.recipe.__slots__},
        "training": {"best_epoch": model.fitted.best_epoch, "best_validation_loss": model.fitted.best_loss},
        "kinds": {
            key: {
                "machine": machine.model_dump(mode="json", exclude_none=True),
                "expects": {
                    s.id: {"quantity": s.quantity, "unit": s.unit, "rate_hz": s.rate_hz} for s in machine.sensors
                },
                "knowledge": model.knowledge[key].to_dict(),
            }
            for key, machine in model.machines.items()
        },
        **facts,
    }
    return Bundle.build(manifest, weights, graph, model.canary)


def data_sha256(windows: WindowSet) -> str:
    """Hash of what was learned from: readings on the grid, and truth."""
    digest = hashlib.sha256()
    arrays: list[NDArray[Any]] = [
        windows.grids,
        np.char.encode(windows.group, "utf-8").astype("S64"),
        *(windows.levels[m] for m in sorted(windows.levels)),
    ]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
