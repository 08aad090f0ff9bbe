"""A small recording of the hydraulic rig, made up from the physics that its virtual sensors read.

Blocks of cycles at one state each; the cooler's level changes between long stretches, the other faults from block to
block. Every cycle of one seed is the same whatever else is asked for, so recordings can be compared cycle by cycle.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnn_service.core.config import InferenceSettings
from gnn_service.domain.machine import FailureMode, Level
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording, Truth
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.engine import Engine
from gnn_service.inference.spec import ModelSpec
from gnn_service.model.encode import Structure, Vocabulary
from gnn_service.model.network import Architecture
from gnn_service.physics.gas import filling_deficit, gas_volume
from gnn_service.training.dataset import WindowSet, window_set
from gnn_service.training.export import TorchRuntime
from gnn_service.training.fit import Model, fit_model, make_bundle, vocabulary_of
from gnn_service.training.loop import Recipe
from gnn_service.training.partition import Partition, partition
from gnn_service.training.splits import Split, group_folds

TINY = Architecture(sensor_width=8, width=16, attention_heads=2, queries=1, layers=1)
PERIOD_S = 60
EPOCH = 1_577_836_800 * MICROSECONDS
COMPONENTS = ("cooler", "valve", "pump", "accumulator")
LABELS = {"cooler": (100, 20, 3), "valve": (100, 90, 80, 73), "pump": (0, 1, 2), "accumulator": (130, 115, 100, 90)}

BAR = 1e5
LITRE_PER_MINUTE = 1e-3 / 60
PRESSURE = np.array([190.0, 151.0, 147.0, 141.0, 155.0, 161.0])
PLATEAUS = ((0, 9), (9, 19), (19, 29), (29, 39), (39, 49), (49, 60))
OIL_C = (36.0, 45.0, 55.0)
SWITCHING_DELAY_S = (0.30, 0.37, 0.48, 0.61)
LOST_PERCENT = (0.0, 3.0, 4.3)
CHARGE_BAR = (130.0, 115.0, 100.0, 90.0)
LOAD_FLOW = np.array([0.0, 7.7, 7.5, 7.2, 7.8, 8.0])
FLOW_SLOPE_PER_K = -0.002
SHELL_M3 = 0.55e-3
EXPONENT = 1.2
FILL_DELAY_S = 0.12
SWITCH_FRACTION = 0.2

# What happens to valve, pump and accumulator from block to block while the cooler stays as it is.
STATES = (
    (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1),
    (0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2),
    (0, 0, 0), (3, 0, 0), (0, 0, 3), (0, 0, 0),
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Cycles run in one state: levels of cooler, valve, pump and accumulator."""

    levels: tuple[int, int, int, int]
    cycles: int = 4


def rig_blocks(coolers: Sequence[int] = (2, 0), cycles: int = 4) -> list[Block]:
    """Every fault at every level, and four healthy blocks, under each cooler level in turn."""
    return [Block((cooler, *state), cycles) for cooler in coolers for state in STATES]


def rig_recording(
    blocks: Sequence[Block] | None = None, *, seed: int = 0, truth: bool = True, rate_hz: int = 1
) -> Recording:
    """The recording of some blocks, `rig_blocks()` by default; the first cycle of each block is not settled."""
    chosen = rig_blocks() if blocks is None else blocks
    machine = shipped_machine(RIG)
    levels = np.repeat([b.levels for b in chosen], [b.cycles for b in chosen], axis=0)
    count = len(levels)
    values = np.stack([rig_cycle(tuple(row), seed, cycle) for cycle, row in enumerate(levels)])  # (C, S, 60)
    values = np.repeat(values, rate_hz, axis=2)
    step = MICROSECONDS // rate_hz
    times = EPOCH + np.arange(count * PERIOD_S * rate_hz, dtype=np.int64) * step
    readings = Readings(
        times=times,
        sensors=machine.sensor_ids,
        values=np.ascontiguousarray(values.transpose(0, 2, 1).reshape(-1, values.shape[1])),
        cycle=np.repeat(np.arange(count), PERIOD_S * rate_hz),
    )
    return Recording(machine, readings, _truth(chosen, levels) if truth else None, {"source": "made up", "seed": seed})


def cut_short(recording: Recording, seconds: int = 20) -> Recording:
    """The recording at 1 Hz as it is when its writer is stopped ``seconds`` into the last cycle."""
    readings = recording.readings
    assert readings.cycle is not None
    kept = slice(0, len(readings.times) - PERIOD_S + seconds)
    part = replace(readings, times=readings.times[kept], values=readings.values[kept], cycle=readings.cycle[kept])
    return replace(recording, readings=part)


def with_cavitation(recording: Recording) -> Recording:
    """The recording with a second failure mode of the pump, of two levels: it cavitates in every other cycle.

    What the pump takes in then pulses, so that there is something to learn.
    """
    machine, readings, truth = recording.machine, recording.readings, recording.truth
    assert readings.cycle is not None
    assert truth is not None
    steps = (Level(name="quiet", severity=0.0), Level(name="cavitates", severity=1.0))
    mode = FailureMode(id="pump_cavitation", component="pump", mode="cavitation", levels=steps)
    own = np.flatnonzero((truth.component == "pump") & (truth.extra["cycle"] % 2 == 1))
    rows = np.concatenate([np.arange(len(truth.start)), own])
    columns = {name: getattr(truth, name)[rows] for name in ("start", "end", "component", "group")}
    fault = np.concatenate([truth.fault, np.full(len(own), mode.id)])
    severity = np.concatenate([truth.severity, np.ones(len(own), np.float32)])
    extra = {name: column[rows] for name, column in truth.extra.items()}
    values = readings.values.copy()
    values[readings.cycle % 2 == 1, readings.sensors.index("EPS1")] += 300.0
    return Recording(
        machine.model_copy(update={"failure_modes": (*machine.failure_modes, mode)}),
        replace(readings, values=values),
        Truth(**columns, fault=fault, severity=severity, extra=extra),
        recording.info,
    )


def _truth(blocks: Sequence[Block], levels: NDArray[np.int64]) -> Truth:
    machine = shipped_machine(RIG)
    count, width = len(levels), len(COMPONENTS)
    modes = [machine.modes_of(component)[0] for component in COMPONENTS]
    block = np.repeat([f"block-{k:03d}" for k in range(len(blocks))], [b.cycles for b in blocks])
    settled = np.concatenate([np.arange(b.cycles) > 0 for b in blocks])
    start = np.repeat(EPOCH + np.arange(count, dtype=np.int64) * PERIOD_S * MICROSECONDS, width)
    fault = [[mode.id if level else "" for mode, level in zip(modes, row, strict=True)] for row in levels]
    severity = [[mode.levels[level].severity for mode, level in zip(modes, row, strict=True)] for row in levels]
    extra = {name: np.repeat(np.array(LABELS[name])[levels[:, k]], width) for k, name in enumerate(COMPONENTS)}
    return Truth(
        start=start,
        end=start + PERIOD_S * MICROSECONDS,
        component=np.tile(np.array(COMPONENTS), count),
        fault=np.array(fault).reshape(-1),
        severity=np.array(severity, np.float32).reshape(-1),
        group=np.repeat(block, width),
        extra={**extra, "stable": np.repeat(settled, width), "cycle": np.repeat(np.arange(count), width)},
    )


def rig_cycle(levels: tuple[int, ...], seed: int, cycle: int) -> NDArray[np.float32]:
    """One cycle in the machine's units, (S, 60): plateaus, load steps, switching and filling of the accumulator."""
    random = np.random.default_rng([seed, cycle])
    cooler, valve, pump, accumulator = levels
    oil = OIL_C[cooler] + random.normal(0, 1.0)
    plateau_flow = LOAD_FLOW * np.exp(FLOW_SLOPE_PER_K * (oil - OIL_C[0])) * (1 - LOST_PERCENT[pump] / 100)
    charge = CHARGE_BAR[accumulator] * BAR
    volume = gas_volume(PRESSURE * BAR, charge, oil + 273.15, shell_m3=SHELL_M3, exponent=EXPONENT)
    ps1, fs1, ps2 = np.zeros(PERIOD_S), np.zeros(PERIOD_S), np.zeros(PERIOD_S)
    for k, (first, last) in enumerate(PLATEAUS):
        ps1[first:last], fs1[first:last] = PRESSURE[k], plateau_flow[k]
        ps2[first:last] = PRESSURE[k] - 20.0 if k else 0.0
        if k > 1:
            fs1[first] += (volume[k] - volume[k - 1]) / LITRE_PER_MINUTE
            fs1[first] += SWITCH_FRACTION * (plateau_flow[k - 1] - plateau_flow[k])
    ps2[9] = ps2[13] * (1 - SWITCHING_DELAY_S[valve])
    filling = filling_deficit(
        PRESSURE[-1] * BAR, PRESSURE[0] * BAR, charge, oil + 273.15,
        flow_m3s=plateau_flow[1] * LITRE_PER_MINUTE, shell_m3=SHELL_M3, exponent=EXPONENT,
    )  # fmt: skip
    ps1[0] = PRESSURE[0] - FILL_DELAY_S * (PRESSURE[0] - PRESSURE[-1]) - float(filling) / BAR
    ones = np.ones(PERIOD_S)
    values = {
        "PS1": (ps1, 0.05), "PS2": (ps2, 0.05), "PS3": (0.29 * fs1, 0.01), "PS4": (0.0 * ones, 0.01),
        "PS5": ((9.9 - 0.4 * cooler) * ones, 0.01), "PS6": ((9.8 - 0.4 * cooler) * ones, 0.01),
        "EPS1": (2300 + 8 * (ps1 - 140), 5.0), "FS1": (fs1, 0.01), "FS2": ((10.2 - 0.3 * cooler) * ones, 0.01),
        "TS1": (oil * ones, 0.05), "TS2": ((oil + 5.5) * ones, 0.05), "TS3": ((oil + 3.0) * ones, 0.05),
        "TS4": ((oil - 5.0 + 2.0 * cooler) * ones, 0.05), "VS1": (0.6 * ones, 0.01),
        "CE": ((47.0, 28.0, 18.0)[cooler] * ones, 0.5), "CP": ((2.2, 1.8, 1.4)[cooler] * ones, 0.02),
        "SE": (60.0 * (ps1 < 189), 0.5),
    }  # fmt: skip
    noise = random.normal(0, 1, (len(values), PERIOD_S))
    order = shipped_machine(RIG).sensor_ids
    rows = {name: mean + spread * noise[k] for k, (name, (mean, spread)) in enumerate(values.items())}
    return np.stack([rows[sensor] for sensor in order]).astype(np.float32)


@cache
def rig_windows(coolers: tuple[int, ...] = (2, 0), cycles: int = 4, seed: int = 0) -> WindowSet:
    """The windows of the recording of `rig_blocks`, shared by all that only read them."""
    return window_set(rig_recording(rig_blocks(coolers, cycles), seed=seed))


def rig_vocabulary() -> Vocabulary:
    """The words of a network trained on the whole recording."""
    return vocabulary_of([rig_windows()])


def rig_structure() -> Structure:
    """The rig in those words."""
    return Structure(shipped_machine(RIG), rig_vocabulary())


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of floats depend on how they are shared out: on one thread the same run gives the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rig_split() -> Split:
    """A third of the groups held out; every fault level is trained on."""
    windows = rig_windows()
    return group_folds(windows.group, windows.level_table(), 3, 0, validation_fraction=0.35)[0]


def fit_tiny(part: Partition, *, epochs: int = 1, seed: int = 0, **options: Any) -> Model:
    """A network trained just long enough to depend on everything that it is shown."""
    with one_thread():
        return fit_model([part], Recipe(epochs=epochs, batch_size=32, seed=seed), TINY, **options)


def weights_of(model: Model) -> dict[str, bytes]:
    """The weights, bit by bit."""
    return {name: value.numpy().tobytes() for name, value in model.network.state_dict().items()}


@cache
def rig_model() -> Model:
    """A network trained for one epoch on `rig_split`, shared by all that only ask it."""
    return fit_tiny(partition(rig_windows(), rig_split()))


@asynccontextmanager
async def asking(model: Model) -> AsyncIterator[Diagnoser]:
    """The path of the service, on the network itself."""
    bundle = make_bundle(model, {}, export=False)
    item, expected = bundle.canary
    spec = ModelSpec(lambda: TorchRuntime(model.network), item, expected)
    async with Engine(spec, InferenceSettings()) as engine:
        yield Diagnoser(bundle, engine)
