"""The hydraulic rig's duty cycle written by the gas model that its virtual sensors invert: the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.domain.window import Window
from gnn_service.model.virtual.accumulator import TYPICAL
from gnn_service.physics.gas import filling_deficit, gas_volume

BAR = 1e5
LITRE_PER_MINUTE = 1e-3 / 60
SECONDS = 60
PLATEAU_BAR = (188.0, 151.0, 147.0, 141.0, 155.0, 161.0)
LOAD_FLOW = (0.0, 7.7, 7.5, 7.2, 7.8, 8.0)
RELIEF_BAR, RELIEF_FLOW = 187.5, 1.1
CHANGES = (0, 9, 19, 29, 39, 49, SECONDS)
STEADY = {
    "PS4": 9.0, "PS5": 9.9, "PS6": 9.8, "EPS1": 2400.0, "FS2": 10.2, "TS2": 41.0, "TS3": 39.0, "TS4": 31.0,
    "VS1": 0.6, "CE": 47.0, "CP": 2.2, "SE": 60.0,
}  # fmt: skip


@dataclass(frozen=True)
class Cycle:
    """What one cycle is like. ``relief`` names the plateaus on which the relief valve takes the flow."""

    charge_bar: float = 115.0
    oil_c: float = 45.0
    delay_s: float = 0.3
    lost_percent: float = 0.0
    relief: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()


def rig() -> Machine:
    return shipped_machine(RIG)


def grids(cycles: Sequence[Cycle], *, noise: float = 0.0, seed: int = 0) -> NDArray[np.float32]:
    """Readings (W, S, 60) in the rig's units; ``noise`` scales each sensor's own standard deviation."""
    random = np.random.default_rng(seed)
    machine = rig()
    sd = np.array([sensor.noise_sd or 0.0 for sensor in machine.sensors])[:, None]
    written = [_rows(cycle, machine) for cycle in cycles]
    return np.stack([one + noise * sd * random.normal(size=one.shape) for one in written]).astype(np.float32)


def window(cycle: Cycle | None = None, *, noise: float = 1.0, seed: int = 0, start: float = 1.6e9) -> Window:
    machine = rig()
    values = grids([cycle or Cycle()], noise=noise, seed=seed)[0]
    return Window(sensors=machine.sensor_ids, values=values, times=start + np.arange(SECONDS, dtype=float))


def _rows(cycle: Cycle, machine: Machine) -> NDArray[np.float64]:
    pressure, flow = np.array(PLATEAU_BAR), np.array(LOAD_FLOW) * (1 - cycle.lost_percent / 100)
    for plateau in cycle.relief:
        pressure[plateau], flow[plateau] = RELIEF_BAR, RELIEF_FLOW
    ps1, fs1, ps2 = np.empty(SECONDS), np.empty(SECONDS), np.empty(SECONDS)
    for k in range(len(pressure)):
        span = slice(CHANGES[k], CHANGES[k + 1])
        ps1[span], fs1[span], ps2[span] = pressure[k], flow[k], pressure[k] - 20 if k else 0.0
    gas = {"shell_m3": TYPICAL["shell_m3"][0], "exponent": TYPICAL["exponent"][0]}
    kelvin, charge = cycle.oil_c + 273.15, cycle.charge_bar * BAR
    volume = gas_volume(pressure * BAR, charge, kelvin, **gas) / LITRE_PER_MINUTE
    for k in range(2, len(pressure)):
        fs1[CHANGES[k]] += volume[k] - volume[k - 1] + TYPICAL["switch_fraction"][0] * (flow[k - 1] - flow[k])
    filling = filling_deficit(
        pressure[-1] * BAR, pressure[0] * BAR, charge, kelvin, flow_m3s=flow[1] * LITRE_PER_MINUTE, **gas
    )
    ps1[0] -= TYPICAL["delay_s"][0] * (pressure[0] - pressure[-1]) + float(filling) / BAR
    ps2[9] = ps2[13] * (1 - cycle.delay_s)
    values = {name: np.full(SECONDS, value) for name, value in STEADY.items()}
    values |= {"PS1": ps1, "PS2": ps2, "PS3": 0.3 * fs1, "FS1": fs1, "TS1": np.full(SECONDS, cycle.oil_c)}
    values |= {name: np.full(SECONDS, np.nan) for name in cycle.missing}
    return np.stack([values[sensor] for sensor in machine.sensor_ids])
