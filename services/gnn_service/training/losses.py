"""What the network is trained to answer."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn_service.model.encode import Structure
from gnn_service.model.heads import THRESHOLDS, Answers
from gnn_service.model.judge import severities_of
from gnn_service.training.dataset import UNKNOWN

QUANTILES = (0.05, 0.5, 0.95)
WEIGHTS = {"severity": 1.0, "health": 0.5, "anomaly": 0.2, "machine_anomaly": 0.1, "root": 0.2}

Targets = dict[str, NDArray[np.float32]]


def make_targets(structure: Structure, levels: Mapping[str, NDArray[np.int64]], relief: NDArray[np.float32]) -> Targets:
    """Targets of E examples on N unpadded components.

    ``exceeds`` (E, N, M, K): severity above k/12; ``weight`` (E, N, M): 0 where unknown, else balanced over the
    levels of the mode and over relief and normal mode, so that the operating mode is no shortcut;
    ``health`` (E, N) and ``known`` (E, N); ``root`` (E, N + 1): share of the trouble that starts at each component.
    """
    examples, nodes = len(relief), len(structure.machine.components)
    modes = len(structure.vocabulary.modes)
    steps = np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
    exceeds = np.zeros((examples, nodes, modes, THRESHOLDS), np.float32)
    weight = np.zeros((examples, nodes, modes), np.float32)
    worst, known = np.zeros((examples, nodes), np.float32), np.zeros((examples, nodes), np.float32)
    types = {c.id: c.type for c in structure.machine.components}
    for mode in structure.machine.failure_modes:
        index = structure.mode_index(types[mode.component], mode.mode)
        level = levels[mode.id]
        if index is None or (level == UNKNOWN).all():
            continue
        node = structure.node_of[mode.component]
        severity = np.asarray(severities_of(mode))[np.maximum(level, 0)]
        exceeds[:, node, index] = severity[:, None] > steps
        weight[:, node, index] = balanced_weights(level, relief > 0)
        worst[:, node] = np.maximum(worst[:, node], np.where(level == UNKNOWN, 0.0, severity))
        known[:, node] = np.maximum(known[:, node], level != UNKNOWN)
    trouble = worst.sum(1, keepdims=True)
    root = np.concatenate([worst / np.maximum(trouble, 1e-6), (trouble == 0).astype(np.float32)], axis=1)
    return {"exceeds": exceeds, "weight": weight, "health": 1 - worst, "known": known, "root": root.astype(np.float32)}


def balanced_weights(level: NDArray[np.int64], relief: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Weight of each example: inverse to the root of its cell's size, cell = level x mode; mean 1, 0 = unknown."""
    known = level != UNKNOWN
    cell = np.where(known, level * 2 + relief, -1)
    _, inverse, counts = np.unique(cell, return_inverse=True, return_counts=True)
    weight = np.where(known, 1.0 / np.sqrt(counts[inverse]), 0.0)
    return np.asarray(weight / max(weight[known].mean(), 1e-9) if known.any() else weight, np.float32)


def total_loss(answers: Answers, targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of all heads' losses, and each by itself."""
    weight, known = targets["weight"], targets["known"]
    binary = nn.functional.binary_cross_entropy_with_logits
    exceeds = binary(answers.severity, targets["exceeds"], reduction="none").mean(-1)
    faulty = (targets["health"] < 1).float()
    quantiles = torch.tensor(QUANTILES, dtype=answers.health.dtype, device=answers.health.device)
    gap = targets["health"][..., None] - answers.health
    pinball = torch.maximum(quantiles * gap, (quantiles - 1) * gap).mean(-1)
    anomaly = binary(answers.anomaly, faulty, reduction="none")
    complete = (known.sum(1) > 0).float()
    losses = {
        "severity": (exceeds * weight).sum() / weight.sum().clamp(min=1.0) * 4,
        "health": (pinball * known).sum() / known.sum().clamp(min=1.0) * 10,
        "anomaly": (anomaly * known).sum() / known.sum().clamp(min=1.0),
        "machine_anomaly": (
            binary(answers.machine_anomaly, (faulty * known).amax(1), reduction="none") * complete
        ).mean(),
        "root": (-(targets["root"] * torch.log_softmax(answers.root, 1)).sum(1) * complete).mean(),
    }
    total = sum((WEIGHTS[name] * value for name, value in losses.items()), torch.zeros(()))
    return total, {name: float(value.detach()) for name, value in losses.items()}
