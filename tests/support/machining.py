"""Machining centres to test: a batch of them with given faults, sites and operating states, and what they showed."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.cnc import MODES
from gnn_service.demo.machines.cnc.plant import CncPlant
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Frames, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.domain.shipped import shipped_machine

INDEX = {sensor: place for place, sensor in enumerate(shipped_machine("cnc").sensor_ids)}
STATE = {name: number for number, name in enumerate(CncPlant.STATES)}
PHASE = {name: number for number, name in enumerate(CncPlant.PHASES)}
ENTRIES = {kind: [i for i, e in enumerate(CncPlant.LEDGER) if e.kind == kind] for kind in (
    "input", "useful", "loss", "ambient", "stored", "heat_stored",
)}  # fmt: skip
ALUMINIUM, STEEL, TITANIUM = 0.5, 1.5, 2.5


def machining_centres(
    size: int = 1,
    *,
    state: str | Sequence[str] = "production",
    severity: Mapping[str, Sequence[float] | NDArray[np.float64] | float] | None = None,
    machine: int | None = None,
    kind: type[CncPlant] = CncPlant,
    schedule: Schedule | None = None,
    settled: bool = True,
    **site: float | Sequence[float] | NDArray[np.float64],
) -> CncPlant:
    """Machining centres, settled unless told; ``machine`` gives all of them the random numbers of one."""
    faults = {mode: np.broadcast_to(np.asarray(value, float), (size,)) for mode, value in (severity or {}).items()}
    states = [state] * size if isinstance(state, str) else list(state)
    usual = {name: np.full(size, factor.default) for name, factor in kind.SITE.items()}
    plant = kind(
        Setting(
            tuple(Key(7, number if machine is None else machine) for number in range(size)),
            degrade(alike(nominal("cnc"), size), MODES, faults),
            usual | {name: np.broadcast_to(np.asarray(value, float), (size,)).copy() for name, value in site.items()},
            schedule or Schedule.constant([STATE[one] for one in states]),
        )
    )
    if settled:
        plant.settle()
    return plant


def seen(frames: Frames, sensor: str) -> NDArray[np.float64]:
    """What a sensor showed, (N, B)."""
    return frames.values[:, INDEX[sensor]].astype(np.float64)


def ledger_sum(frames: Frames, kind: str) -> NDArray[np.float64]:
    """All entries of a kind, (N, B)."""
    assert frames.ledger is not None
    return frames.ledger[:, ENTRIES[kind]].sum(axis=1)


def starts(frames: Frames) -> NDArray[np.int64]:
    """How often the charging pump started, (B,)."""
    return np.asarray((np.diff(seen(frames, "hydraulic_unit.pump_on"), axis=0) > 0).sum(axis=0))
