"""Batches of moulding machines for tests: some severities, sites and operating states, advanced together."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.demo.machines.moulding import MODES, PLANT
from gnn_service.demo.machines.moulding.plant import MouldingPlant
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Frames, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.domain.shipped import shipped_machine

IDS = shipped_machine("moulding").sensor_ids
PRODUCTION, IDLE, HEAT_UP, LEAK_TEST = range(4)
CYCLE_STEPS = 740


def plant(
    size: int,
    *,
    state: int = PRODUCTION,
    severity: Mapping[str, ArrayLike] | None = None,
    parameters: Mapping[str, ArrayLike] | None = None,
    site: Mapping[str, ArrayLike] | None = None,
    keys: Sequence[Key] | None = None,
    kind: type[MouldingPlant] = PLANT,
    schedule: Schedule | None = None,
    settled: bool = True,
) -> MouldingPlant:
    """``size`` machines with the same random numbers unless ``keys`` are given."""
    healthy = dict(alike(nominal("moulding"), size))
    for name, value in (parameters or {}).items():
        healthy[name] = np.broadcast_to(np.asarray(value, dtype=float), (size,)).copy()
    severities = {mode: np.asarray(values, dtype=float) for mode, values in (severity or {}).items()}
    around = {name: np.full(size, factor.default) for name, factor in PLANT.SITE.items()}
    for name, value in (site or {}).items():
        around[name] = np.broadcast_to(np.asarray(value, dtype=float), (size,)).copy()
    made = kind(
        Setting(
            tuple(keys or [Key(7, 0)] * size),
            degrade(healthy, MODES, severities),
            around,
            schedule or Schedule.constant([state] * size),
        )
    )
    if settled:
        made.settle()
    return made


@cache
def _settled() -> MouldingPlant:
    return plant(1)


def healthy() -> MouldingPlant:
    """One settled healthy machine; settled once for all tests of a process."""
    return deepcopy(_settled())


def column(frames: Frames, sensor: str) -> NDArray[np.float64]:
    """One sensor of all machines, (N, B)."""
    return frames.values[:, IDS.index(sensor)].astype(np.float64)


def during(frames: Frames, sensor: str, phase: str) -> NDArray[np.float64]:
    """Mean of a sensor over a phase, (B,)."""
    there = frames.phase == PLANT.PHASES.index(phase)
    return (column(frames, sensor) * there).sum(axis=0) / there.sum(axis=0)
