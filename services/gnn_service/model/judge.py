"""Late fusion: what the network and the physics each say about the levels of a failure mode, and both together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import FailureMode
from gnn_service.model.baseline import Baseline
from gnn_service.model.encode import Structure
from gnn_service.model.evidence import Calibration, Evidence
from gnn_service.model.regime import RegimeMap

CONTINUOUS_LEVELS = tuple(k / 6 for k in range(7))
"""Severities at which a mode without named levels is read."""

TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of one failure mode: log p = network log p_net + physics log p_phys, fitted on validation groups.

    ``temperature`` divides the network's cumulative logits first (Guo et al., *On Calibration of Modern Neural
    Networks*, 2017). ``alone`` is the weight of physics where the network has no say.
    """

    temperature: float = 1.0
    network: float = 1.0
    physics: float = 1.0
    alone: float = 1.0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a bundle knows of one kind of machine beyond the network's weights; all fitted on training groups."""

    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    fusion: Mapping[str, Fusion] = field(default_factory=dict)
    regime: RegimeMap | None = None
    reference: Baseline | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "calibrations": {key: c.to_dict() for key, c in self.calibrations.items()},
            "fusion": {mode: asdict(f) for mode, f in self.fusion.items()},
            "regime": self.regime and self.regime.to_dict(),
            "reference": self.reference and self.reference.model_dump(mode="json"),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Knowledge":
        """Inverse of `to_dict`."""
        return cls(
            {key: Calibration.from_dict(c) for key, c in stored["calibrations"].items()},
            {mode: Fusion(**f) for mode, f in stored["fusion"].items()},
            stored["regime"] and RegimeMap.from_dict(stored["regime"]),
            stored["reference"] and Baseline.model_validate(stored["reference"]),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """Level probabilities of one failure mode over W windows, (W, L) each; None where a source has no say."""

    mode: FailureMode
    severities: tuple[float, ...]
    fused: NDArray[np.float64]
    network: NDArray[np.float64] | None
    physics: NDArray[np.float64] | None


def judge(
    structure: Structure,
    knowledge: Knowledge,
    severity_logits: NDArray[np.float32],
    evidence: Sequence[Evidence],
    support: NDArray[np.float64],
) -> tuple[Judgement, ...]:
    """Judge every failure mode that the network or a virtual sensor can speak of.

    ``severity_logits`` (W, N, M, K) as the network gives them, ``support`` (W,) how far training has seen each
    window's regime: where it has not, only physics speaks, and the network only where physics is silent.
    """
    judged = []
    for mode in structure.machine.failure_modes:
        component = next(c for c in structure.machine.components if c.id == mode.component)
        severities = severities_of(mode)
        index = structure.mode_index(component.type, mode.mode)
        fusion = knowledge.fusion.get(mode.id, Fusion())
        network = None
        if index is not None:
            logits = severity_logits[:, structure.node_of[component.id], index].astype(float)
            network = level_probabilities(logits / fusion.temperature, severities)
        about = next((e for e in evidence if speaks_of(e, mode)), None)
        usable = np.zeros(len(support), bool) if about is None else about.usable
        physics = None
        if about is not None and about.log_levels is not None:
            # An estimate that cannot be used tells no level from another.
            physics = np.where(usable[:, None], np.exp(about.log_levels), 1.0 / len(severities))
        if network is not None or physics is not None:
            fused = fuse(network, physics, usable, support, fusion)
            judged.append(Judgement(mode, severities, fused, network, physics))
    return tuple(judged)


def severities_of(mode: FailureMode) -> tuple[float, ...]:
    """The severities at which a failure mode is read."""
    return tuple(level.severity for level in mode.levels) or CONTINUOUS_LEVELS


def speaks_of(evidence: Evidence, mode: FailureMode) -> bool:
    """Whether a virtual sensor is evidence for this failure mode."""
    return evidence.binding.component == mode.component and evidence.binding.sensor.mode == mode.mode


def level_probabilities(logits: NDArray[np.float64], severities: Sequence[float]) -> NDArray[np.float64]:
    """Cumulative logits of severity > k/(K+1), (W, K) -> probabilities of the levels, (W, L).

    A level owns the severities nearest to it, so its bounds lie half-way to its neighbours; the logit there is
    interpolated between the thresholds.
    """
    steps = np.arange(1, logits.shape[1] + 1) / (logits.shape[1] + 1)
    bounds = (np.asarray(severities[1:]) + np.asarray(severities[:-1])) / 2
    right = np.clip(np.searchsorted(steps, bounds), 1, len(steps) - 1)
    share = np.clip((bounds - steps[right - 1]) / (steps[right] - steps[right - 1]), 0.0, 1.0)
    at = logits[:, right - 1] * (1 - share) + logits[:, right] * share
    above = 1.0 / (1.0 + np.exp(-np.clip(at, -40, 40)))
    ones, zeros = np.ones((len(logits), 1)), np.zeros((len(logits), 1))
    probability = np.concatenate([ones, above], axis=1) - np.concatenate([above, zeros], axis=1)
    probability = np.maximum(probability, TINY)
    return np.asarray(probability / probability.sum(1, keepdims=True))


def fuse(
    network: NDArray[np.float64] | None,
    physics: NDArray[np.float64] | None,
    usable: NDArray[np.bool_],
    support: NDArray[np.float64],
    fusion: Fusion,
) -> NDArray[np.float64]:
    """Log-linear pool of both sources, (W, L).

    In a seen regime the fitted weights hold; as support falls to 0 the network's fades and physics speaks with its
    own voice. Where physics is not usable the network stands alone, and the other way round.
    """
    if network is None or physics is None:
        only = network if physics is None else physics
        if only is None:
            raise ValueError("neither source speaks")
        flat = np.full_like(only, 1.0 / only.shape[1])
        return only if physics is None else np.where(usable[:, None], only, flat)
    seen = support[:, None]
    pooled = seen * fusion.network * np.log(np.maximum(network, TINY))
    pooled += (seen * fusion.physics + (1 - seen) * fusion.alone) * np.log(np.maximum(physics, TINY))
    pooled = np.exp(pooled - pooled.max(1, keepdims=True))
    pooled /= pooled.sum(1, keepdims=True)
    return np.asarray(np.where(usable[:, None], pooled, network))
