"""A small network with random weights, and a bundle around it that knows the rig's physics: nothing is trained."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnn_service.core.config import InferenceSettings
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Machine
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.engine import Engine
from gnn_service.inference.spec import ModelSpec
from gnn_service.model.baseline import Baseline, fit_baseline
from gnn_service.model.bundle import Arrays, Bundle
from gnn_service.model.encode import Structure, Vocabulary, encode
from gnn_service.model.evidence import Calibration, VirtualSensors
from gnn_service.model.judge import Fusion, Knowledge
from gnn_service.model.levels import LevelScale
from gnn_service.model.network import INPUTS, Architecture, MachineNetwork
from gnn_service.model.regime import fit_regime
from gnn_service.model.virtual.accumulator import TYPICAL
from gnn_service.training.export import TorchRuntime, run_torch
from gnn_service.training.fit import Model, make_bundle
from gnn_service.training.loop import Fitted, Recipe
from tests.support.duty_cycle import Cycle, grids, rig

SMALL = Architecture(sensor_width=16, width=32, attention_heads=4, queries=2, layers=2)
MODES = (
    "accumulator.gas_loss", "heat_exchanger.fouling", "pump.internal_leakage", "valve_block.switching_lag",
)  # fmt: skip
FOUR = (0.0, 1 / 3, 2 / 3, 1.0)
CALIBRATIONS = {
    "accumulator.gas_charge": Calibration(
        TYPICAL,
        LevelScale(FOUR, (130.0, 115.0, 100.0, 90.0), (2.0,) * 4),
        LevelScale(FOUR, (130.0, 115.0, 100.0, 90.0), (1.5,) * 4),
        {"pressure": "PS1", "flow": "FS1", "temperature": "TS1"},
    ),
    "pump.pump_leakage": Calibration(
        {"slope_per_k": [0.0], "error_percent": [0.1]},
        LevelScale((0.0, 0.5, 1.0), (0.0, 3.0, 4.3), (0.2,) * 3),
        LevelScale((0.0, 0.5, 1.0), (0.0, 3.0, 4.3), (0.2,) * 3),
        {"flow": "FS1", "temperature": "TS1"},
    ),
    "valve.switching_delay": Calibration(
        {"error_s": [0.01]},
        LevelScale(FOUR, (0.30, 0.37, 0.48, 0.61), (0.01,) * 4),
        LevelScale(FOUR, (0.30, 0.37, 0.48, 0.61), (0.01,) * 4),
        {"pressure": "PS2"},
    ),
}
HEALTHY = Cycle(charge_bar=130.0)


def vocabulary(modes: tuple[str, ...] = MODES) -> Vocabulary:
    words = catalogue()
    return Vocabulary(words.component_type_ids, words.connection_type_ids, words.quantity_ids, modes)


@cache
def network(seed: int = 0) -> MachineNetwork:
    """Random weights, the heads' made large: its answers differ from component to component and window to window."""
    with one_thread():
        torch.manual_seed(seed)
        made = MachineNetwork(vocabulary(), SMALL).eval()
        with torch.no_grad():
            made.heads.severity.latent.weight.mul_(8)
            made.heads.severity.first.add_(3)
            for head in (made.heads.anomaly, made.heads.machine_anomaly, made.heads.root, made.heads.health.raw):
                head.weight.mul_(5)
    return made


@cache
def healthy_baseline(origin: Any = "commissioning", charge: float = 130.0) -> Baseline:
    sensors = VirtualSensors.of(rig(), CALIBRATIONS)
    values = grids([Cycle(charge_bar=charge)] * 10, noise=1.0, seed=11)
    return fit_baseline(rig(), values, sensors.bindings, sensors.parameters, origin)


@cache
def knowledge() -> Knowledge:
    seen = grids([Cycle(oil_c=oil) for oil in np.linspace(34.0, 56.0, 60)], noise=1.0, seed=12)
    regime = fit_regime(rig(), seen, np.array([f"group-{k}" for k in range(60)]))
    fusion = {mode.id: Fusion(1.0, 0.5, 1.0) for mode in rig().failure_modes}
    return Knowledge(CALIBRATIONS, fusion, regime, healthy_baseline("reference"))


def encoded(
    machine: Machine, values: NDArray[np.float32], baseline: Baseline | None = None, known: Knowledge | None = None
) -> list[Arrays]:
    """Windows (W, S, 60) as the engine gets them, one by one."""
    structure, told = Structure(machine, vocabulary()), known or knowledge()
    evidence = VirtualSensors.of(machine, told.calibrations).read(values, baseline)
    moving = encode(structure, values, baseline, evidence)
    return [
        {name: {**structure.arrays, **{k: v[row] for k, v in moving.items()}}[name] for name in INPUTS}
        for row in range(len(values))
    ]


def stacked(items: list[Arrays]) -> Arrays:
    return {name: np.stack([item[name] for item in items]) for name in INPUTS}


def answers(items: list[Arrays], seed: int = 0) -> Mapping[str, NDArray[Any]]:
    """The network's answers to a batch."""
    with one_thread():
        return run_torch(network(seed), stacked(items))


@cache
def tiny_bundle(export: bool = False, seed: int = 0) -> Bundle:
    item = encoded(rig(), grids([HEALTHY], noise=1.0), healthy_baseline())[0]
    with one_thread():
        answer = {name: np.array(value[0]) for name, value in run_torch(network(seed), stacked([item])).items()}
        fitted, kinds = Fitted(network(seed)), {rig().id: knowledge()}
        model = Model(vocabulary(), network(seed), {rig().id: rig()}, kinds, fitted, Recipe(), (item, answer))
        return make_bundle(model, {"data": {}, "split_sha256": "none", "metrics": {}}, export=export)


@asynccontextmanager
async def tiny_diagnoser(bundle: Bundle | None = None, **settings: Any) -> AsyncIterator[Diagnoser]:
    chosen = bundle or tiny_bundle()
    with one_thread():
        async with Engine(specification(chosen), InferenceSettings(**settings)) as engine:
            yield Diagnoser(chosen, engine, specification)


def specification(bundle: Bundle) -> ModelSpec:
    """How an engine serves a `tiny_bundle`: on torch, no graph exported."""
    seed = next((seed for seed in (1, 2) if tiny_bundle(seed=seed).version == bundle.version), 0)
    item, expected = bundle.canary
    return ModelSpec(lambda: TorchRuntime(network(seed)), item, expected, name="diagnosis", version=bundle.version)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small batches are slower on several threads, and a busy machine makes them much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
