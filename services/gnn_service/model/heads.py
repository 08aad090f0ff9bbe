"""What the network answers for each component and for the machine."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

THRESHOLDS = 11
"""Severity is read at k/12, k = 1..11: fine enough to separate levels that lie thirds or halves apart."""


class Answers(NamedTuple):
    """Raw answers of one batch: B machines of N components, M failure modes, K severity thresholds."""

    severity: Tensor  # (B, N, M, K) logits of severity > k/12, falling with k
    health: Tensor  # (B, N, 3) quantiles .05, .5, .95 of health in 0..1, rising
    anomaly: Tensor  # (B, N) logits that the component has any fault
    machine_anomaly: Tensor  # (B,) logits that any component has a fault
    root: Tensor  # (B, N + 1) logits of where the trouble starts; the last is "nothing, or from outside"


class OrdinalSeverity(nn.Module):
    """Cumulative-link severity for every failure mode: logit P(s > k/12) = z_m - tau_mk with tau_m rising in k.

    Rank consistency by construction, after Cao, Mirjalili, Raschka, *Rank consistent ordinal regression* (CORAL),
    Pattern Recognition Letters 140, 2020. Shapes: (B, N, D) -> (B, N, M, K).
    """

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.latent = nn.Linear(width, modes)
        self.first = nn.Parameter(torch.full((modes, 1), -4.0))
        self.gaps = nn.Parameter(torch.full((modes, THRESHOLDS - 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        rising = torch.cumsum(nn.functional.softplus(self.gaps), dim=1)  # (M, K-1)
        tau = torch.cat([self.first, self.first + rising], dim=1)  # (M, K)
        return self.latent(x)[..., None] - tau  # (B, N, M, K)


class HealthQuantiles(nn.Module):
    """Three quantiles of health that never cross: the middle one, and positive distances to the outer ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        middle, below, above = self.raw(x).unbind(-1)
        low = middle - nn.functional.softplus(below)
        high = middle + nn.functional.softplus(above)
        return torch.sigmoid(torch.stack([low, middle, high], dim=-1))  # (B, N, 3)


class Heads(nn.Module):
    """All heads on component states (B, N, D) and the machine state (B, D)."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.severity = OrdinalSeverity(width, modes)
        self.health = HealthQuantiles(width)
        self.anomaly = nn.Linear(width, 1)
        self.machine_anomaly = nn.Linear(width, 1)
        self.root = nn.Linear(width, 1)
        self.outside = nn.Linear(width, 1)

    def forward(self, components: Tensor, machine: Tensor, mask: Tensor) -> Answers:
        root = self.root(components).squeeze(-1).masked_fill(mask < 0.5, -1e4)  # (B, N)
        return Answers(
            severity=self.severity(components),
            health=self.health(components),
            anomaly=self.anomaly(components).squeeze(-1),
            machine_anomaly=self.machine_anomaly(machine).squeeze(-1),
            root=torch.cat([root, self.outside(machine)], dim=1),
        )
