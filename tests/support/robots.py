"""Robots to test: a batch of them with given faults, sites and operating states, and what they showed."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot import MODES
from gnn_service.demo.machines.robot.plant import RobotPlant
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Frames, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.domain.shipped import shipped_machine

INDEX = {sensor: place for place, sensor in enumerate(shipped_machine("robot").sensor_ids)}
STATE = {name: number for number, name in enumerate(RobotPlant.STATES)}
PHASE = {name: number for number, name in enumerate(RobotPlant.PHASES)}
ENTRIES = {kind: [i for i, e in enumerate(RobotPlant.LEDGER) if e.kind == kind] for kind in (
    "input", "useful", "loss", "ambient", "stored", "heat_stored",
)}  # fmt: skip


def robots(
    size: int = 1,
    *,
    state: str | Sequence[str] = "handling",
    severity: Mapping[str, Sequence[float] | float] | None = None,
    parameters: Mapping[str, float] | None = None,
    machine: int | None = None,
    kind: type[RobotPlant] = RobotPlant,
    schedule: Schedule | None = None,
    **site: float,
) -> RobotPlant:
    """Robots, settled; ``machine`` gives all of them the random numbers of one, ``parameters`` are factors."""
    healthy = alike(nominal("robot"), size)
    for name, factor in (parameters or {}).items():
        healthy = {**healthy, name: healthy[name] * factor}
    faults = {mode: np.broadcast_to(np.asarray(value, float), (size,)) for mode, value in (severity or {}).items()}
    states = [state] * size if isinstance(state, str) else list(state)
    plant = kind(
        Setting(
            tuple(Key(11, number if machine is None else machine) for number in range(size)),
            degrade(healthy, MODES, faults),
            {name: np.full(size, value) for name, value in site.items()},
            schedule or Schedule.constant([STATE[one] for one in states]),
        )
    )
    plant.settle()
    return plant


def seen(frames: Frames, sensor: str) -> NDArray[np.float64]:
    """What a sensor showed, (N, B)."""
    return frames.values[:, INDEX[sensor]].astype(np.float64)


def root_mean_square(frames: Frames, sensor: str) -> NDArray[np.float64]:
    """Of what a sensor showed, (B,)."""
    return np.sqrt((seen(frames, sensor) ** 2).mean(0))


def mean_seen(frames: Frames, sensor: str) -> NDArray[np.float64]:
    """Mean of what a sensor showed while it showed something, (B,)."""
    values = seen(frames, sensor)
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(0) / known.sum(0)
