"""Which operating regimes training has seen, so that outside them the network is not believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import Machine, SensorRole

BIN = 0.02
"""Width of a bin of context, as a share of the sensor's measuring range."""

MISSING = np.iinfo(np.int64).min
"""Bin of a sensor without a reading."""

LEAST_GROUPS = 5
LEAST_SHARE = 0.05
"""A regime counts as seen when this many groups, and this share of all, ran in it."""

PASSING = 0.5
"""Up to this share of that the regime was only passed through, in a warm-up say, and counts for nothing."""


@dataclass(frozen=True, slots=True)
class RegimeMap:
    """Training groups that ran in each bin of each context sensor's mean; ``groups`` maps sensor -> bin -> count."""

    total: int
    groups: Mapping[str, Mapping[int, int]]

    def support(self, machine: Machine, grids: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far training supports each window's regime, 0..1, (W,): the worst of its context sensors.

        A context sensor without a reading, or that training never knew, has no say.
        """
        enough = max(LEAST_GROUPS, LEAST_SHARE * self.total)
        worst = np.ones(len(grids))
        for row, bins in context_bins(machine, grids).items():
            seen = self.groups.get(machine.sensors[row].id)
            if seen:
                counts = np.array([enough if b == MISSING else seen.get(int(b), 0) for b in bins])
                worst = np.minimum(worst, np.clip((counts / enough - PASSING) / (1 - PASSING), 0.0, 1.0))
        return worst

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "total": self.total,
            "groups": {s: {str(b): n for b, n in bins.items()} for s, bins in self.groups.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "RegimeMap":
        """Inverse of `to_dict`."""
        return cls(stored["total"], {s: {int(b): n for b, n in bins.items()} for s, bins in stored["groups"].items()})


def fit_regime(machine: Machine, grids: NDArray[np.float32], groups: NDArray[np.str_]) -> RegimeMap:
    """Count the training groups in each bin of context, neighbours included."""
    counts: dict[str, dict[int, int]] = {}
    for row, bins in context_bins(machine, grids).items():
        present = np.unique(bins[bins != MISSING])
        around = {b + offset for b in present for offset in (-1, 0, 1)}
        counts[machine.sensors[row].id] = {
            int(b): len(np.unique(groups[(bins >= b - 1) & (bins <= b + 1)])) for b in sorted(around)
        }
    return RegimeMap(total=len(np.unique(groups)), groups=counts)


def context_bins(machine: Machine, grids: NDArray[np.float32]) -> dict[int, NDArray[np.int64]]:
    """Bin of the window mean of every temperature in the role of context, by row; MISSING where none."""
    found = {}
    for row, sensor in enumerate(machine.sensors):
        if sensor.role is SensorRole.CONTEXT and sensor.quantity == "temperature":
            values = grids[:, row].astype(float)
            present = np.isfinite(values)
            mean = np.where(present, values, 0).sum(1) / np.maximum(present.sum(1), 1)
            width = BIN * (sensor.range.high - sensor.range.low)
            bins = np.floor((mean - sensor.range.low) / width).astype(np.int64)
            found[row] = np.where(present.any(1), bins, MISSING)
    return found
