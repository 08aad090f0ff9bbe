"""One training run: seeded, with early stopping on validation groups, resumable after a kill."""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn_service.core.errors import InvalidInputError
from gnn_service.model.encode import Structure, Vocabulary
from gnn_service.model.heads import Answers
from gnn_service.model.judge import level_probabilities, severities_of
from gnn_service.model.network import INPUTS, Architecture, MachineNetwork
from gnn_service.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gnn_service.training.dataset import UNKNOWN
from gnn_service.training.losses import Targets, make_targets, total_loss
from gnn_service.training.prepare import Examples

SENSOR_DROPOUT = 0.08
"""Share of sensors blinded in a training step, so that a missing one is nothing new."""

EVIDENCE_DROPOUT = 0.15
NOISE = 0.03
WARM_UP = 0.05
CLIP = 1.0
EVALUATION_BATCH = 256
FLOOR = 1e-4

Progress = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast to train. Rates are those of AdamW with a cosine that ends at 2 % of the peak."""

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    patience: int = 15
    seed: int = 0
    device: str = "cpu"


@dataclass(slots=True)
class Fitted:
    """A trained network, its best validation loss and a row of metrics an epoch."""

    network: MachineNetwork
    best_loss: float = math.inf
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batchable:
    """Examples of one kind of machine as tensors, without the padding that serving needs."""

    examples: Examples
    static: dict[str, Tensor]
    moving: dict[str, Tensor]
    targets: dict[str, Tensor]

    @classmethod
    def of(cls, examples: Examples) -> "Batchable":
        """Strip the padding and make targets."""
        structure = examples.structure
        nodes, sensors = len(structure.machine.components), len(structure.rows)
        static, moving = structure.arrays, examples.arrays
        cut: dict[str, NDArray[np.float32]] = {
            "component_type": static["component_type"][:nodes],
            "component_mask": static["component_mask"][:nodes],
            "edges": static["edges"][:nodes, :nodes],
            "membership": static["membership"][:nodes, :sensors],
            "sensor_features": static["sensor_features"][:sensors],
        }
        changing = {
            "readings": moving["readings"][:, :sensors],
            "sensor_mask": moving["sensor_mask"][:, :sensors],
            "evidence": moving["evidence"][:, :nodes],
            "context": moving["context"],
        }
        targets: Targets = make_targets(structure, examples.levels, moving["context"][:, -1])
        return cls(examples, _tensors(cut), _tensors(changing), _tensors(targets))

    def draw(self, generator: torch.Generator) -> Tensor:
        """Every window once, in random order, each with one of the baselines it appears with."""
        order = torch.randperm(len(self.examples), generator=generator)
        window = torch.from_numpy(self.examples.row)[order]
        _, first = np.unique(window.numpy(), return_index=True)
        return order[torch.from_numpy(np.sort(first))]

    def inputs(self, rows: Tensor) -> dict[str, Tensor]:
        """The network's inputs for some examples."""
        fixed = {name: value[None].expand(len(rows), *value.shape) for name, value in self.static.items()}
        return {**fixed, **{name: value[rows] for name, value in self.moving.items()}}


def fit_network(
    vocabulary: Vocabulary,
    architecture: Architecture,
    train: Sequence[Examples],
    validation: Sequence[Examples],
    recipe: Recipe,
    *,
    initial: Mapping[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Train until validation stops improving; the best epoch's weights are returned.

    With ``checkpoint`` the state after each epoch is kept there and a run that was killed goes on where it was.
    ``progress`` hears of each epoch after that. Raises InvalidInputError when no validation window has a known level,
    when training diverges, and for a checkpoint that is damaged or of another run.
    """
    torch.manual_seed(recipe.seed)
    network = MachineNetwork(vocabulary, architecture).to(recipe.device)
    if initial is not None:
        network.load_state_dict(initial)
    learn = [Batchable.of(examples) for examples in train]
    check = [Batchable.of(examples) for examples in validation]
    if not any(bool(part.targets["weight"].any()) for part in check):
        raise InvalidInputError("no validation window has a known level; give more groups with truth")
    run = _Run(network, learn, check, recipe)
    start = 0
    if checkpoint is not None:
        run.fingerprint = fingerprint_of(network, recipe, train, validation)
        if (found := load_checkpoint(checkpoint, run.fingerprint)) is not None:
            start = run.restore(found)
    for epoch in range(start, recipe.epochs):
        if epoch - run.fitted.best_epoch > recipe.patience and run.fitted.best_epoch >= 0:
            break
        row = run.epoch(epoch)
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.state(epoch))
        if progress is not None:
            progress(epoch + 1, recipe.epochs, row)
    return run.finish()


def fingerprint_of(
    network: MachineNetwork, recipe: Recipe, train: Sequence[Examples], validation: Sequence[Examples]
) -> str:
    """Names a run by all that its weights depend on: the network as it begins, the recipe, and every example."""
    facts = {**asdict(recipe), "architecture": network.architecture.to_dict(), "words": asdict(network.vocabulary)}
    digest = hashlib.sha256(orjson.dumps({name: value for name, value in facts.items() if name != "device"}))
    for _, value in sorted(network.state_dict().items()):
        digest.update(value.detach().cpu().numpy().tobytes())
    for examples in (*train, *validation):
        digest.update(examples.structure.machine.fingerprint.encode())
        arrays: dict[str, NDArray[Any]] = {**examples.structure.arrays, **examples.arrays}
        arrays |= {**examples.levels, "row": examples.row}
        for name, array in sorted(arrays.items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Run:
    """The moving parts of one training run."""

    def __init__(self, network: MachineNetwork, learn: list[Batchable], check: list[Batchable], recipe: Recipe) -> None:
        self.network, self.learn, self.check, self.recipe = network, learn, check, recipe
        self.optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        self.steps = sum(math.ceil(len(np.unique(b.examples.row)) / recipe.batch_size) for b in learn) * recipe.epochs
        self.done = 0
        self.fingerprint = ""
        self.fitted = Fitted(network)
        self.best = copy.deepcopy(network.state_dict())

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over all examples in seeded random order, then validation."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 100_003 + epoch)
        self.network.train()
        torch.manual_seed(self.recipe.seed * 100_003 + epoch)
        batches = [
            (k, rows)
            for k, part in enumerate(self.learn)
            for rows in part.draw(generator).split(self.recipe.batch_size)
        ]
        totals: dict[str, float] = {}
        for index in torch.randperm(len(batches), generator=generator).tolist():
            kind, rows = batches[index]
            for name, value in self._step(self.learn[kind], rows, generator).items():
                totals[name] = totals.get(name, 0.0) + value / len(batches)
        score = validation_loss(self.network, self.check, self.recipe.device)
        if not math.isfinite(score):
            raise InvalidInputError(f"training diverged in epoch {epoch + 1}; lower the learning rate")
        row = {"epoch": float(epoch), **totals, "validation": score, "learning_rate": self._rate()}
        self.fitted.history.append(row)
        if score < self.fitted.best_loss:
            self.fitted.best_loss, self.fitted.best_epoch = score, epoch
            self.best = copy.deepcopy(self.network.state_dict())
        return row

    def _step(self, part: Batchable, rows: Tensor, generator: torch.Generator) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        inputs = augment(part.inputs(rows), generator)
        inputs = {name: value.to(self.recipe.device) for name, value in inputs.items()}
        targets = {name: value[rows].to(self.recipe.device) for name, value in part.targets.items()}
        loss, each = total_loss(self.network(*(inputs[name] for name in INPUTS)), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.done += 1
        return {"loss": float(loss.detach()), **each}

    def _rate(self) -> float:
        share = self.done / max(1, self.steps)
        rising = min(1.0, share / WARM_UP) if WARM_UP else 1.0
        return self.recipe.learning_rate * rising * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))

    def state(self, epoch: int) -> Checkpoint:
        """All that is needed to go on after this epoch."""
        return Checkpoint(
            epoch=epoch,
            steps=self.done,
            best_loss=self.fitted.best_loss,
            best_epoch=self.fitted.best_epoch,
            history=self.fitted.history,
            network=self.network.state_dict(),
            best=self.best,
            optimizer=self.optimizer.state_dict(),
            fingerprint=self.fingerprint,
        )

    def restore(self, found: Checkpoint) -> int:
        """Take over a checkpoint; returns the epoch to go on with."""
        self.network.load_state_dict(found.network)
        self.optimizer.load_state_dict(found.optimizer)
        self.best, self.done = found.best, found.steps
        self.fitted.best_loss, self.fitted.best_epoch = found.best_loss, found.best_epoch
        self.fitted.history = found.history
        return found.epoch + 1

    def finish(self) -> Fitted:
        """The network with the weights of its best epoch."""
        self.network.load_state_dict(self.best)
        self.network.eval()
        return self.fitted


def augment(inputs: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Blind some sensors and some physics, and add a little noise, so that neither is missed when it is gone."""
    readings, mask, evidence = inputs["readings"], inputs["sensor_mask"], inputs["evidence"]
    kept = mask * (torch.rand(mask.shape, generator=generator) >= SENSOR_DROPOUT)
    noise = NOISE * torch.randn(readings[:, :, :-1].shape, generator=generator)
    noisy = torch.cat([readings[:, :, :-1] + noise * readings[:, :, -1:], readings[:, :, -1:]], dim=2)
    trusted = (torch.rand(evidence.shape[:3], generator=generator) >= EVIDENCE_DROPOUT)[..., None]
    return {**inputs, "readings": noisy * kept[:, :, None, None], "sensor_mask": kept, "evidence": evidence * trusted}


@torch.no_grad()
def answers_of(network: MachineNetwork, part: Batchable, device: str) -> Answers:
    """Answers to all examples, on the CPU."""
    network.eval()
    parts = []
    for rows in torch.arange(len(part.examples)).split(EVALUATION_BATCH):
        inputs = part.inputs(rows)
        parts.append([a.cpu() for a in network(*(inputs[name].to(device) for name in INPUTS))])
    return Answers(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def validation_loss(network: MachineNetwork, parts: Sequence[Batchable], device: str) -> float:
    """Mean negative log-likelihood of the true levels, averaged over failure modes."""
    losses = []
    for part in parts:
        logits = answers_of(network, part, device).severity.numpy()
        for mode, levels in part.examples.levels.items():
            known = np.flatnonzero(levels != UNKNOWN)
            chosen = mode_logits(part.examples.structure, logits, mode)
            if chosen is None or not len(known):
                continue
            severities = severities_of(next(m for m in part.examples.structure.machine.failure_modes if m.id == mode))
            likely = level_probabilities(chosen[known].astype(float), severities)[np.arange(len(known)), levels[known]]
            losses.append(float(-np.log(np.maximum(likely, FLOOR)).mean()))
    return float(np.mean(losses)) if losses else math.inf


def mode_logits(structure: Structure, logits: NDArray[np.float32], mode_id: str) -> NDArray[np.float32] | None:
    """The cumulative logits (E, K) of one failure mode of the machine; None where the network does not know it."""
    mode = next(m for m in structure.machine.failure_modes if m.id == mode_id)
    kind = next(c.type for c in structure.machine.components if c.id == mode.component)
    index = structure.mode_index(kind, mode.mode)
    return None if index is None else logits[:, structure.node_of[mode.component], index]


def _tensors(arrays: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
