"""A pump, a filter and a relief valve on a tank: the smallest machine that has everything a simulated one needs.

It works in cycles of a dig and a rest; in a stall the relief valve sets the pressure, and only there. The oil's
temperature follows losses and ambient with one time constant.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.cascades import Cascade
from gnn_service.demo.modes import Life, SimulatedMode, falls, linear, rises, times
from gnn_service.demo.plant import Array, Entry, Frames, Parameters, Plant, Schedule, Setting, SiteFactor
from gnn_service.demo.streams import CycleDraws, Key, Purpose
from gnn_service.demo.systems import System
from gnn_service.domain.machine import Machine

DIG_S, CYCLE_S = 2.0, 5.0
HEAT_CAPACITY = 4e4
BAR, LITRE_PER_MINUTE = 1e5, 1e-3 / 60

DESCRIPTION = {
    "id": "tiny",
    "components": [
        {"id": "tank", "type": "reservoir", "parameters": {"surface_ua": {"value": 150, "unit": "W/K"}}},
        {"id": "pump", "type": "pump", "parameters": {
            "k_leak": {"value": 4e-12, "unit": "m3/(s.Pa)"}, "flow": {"value": 100, "unit": "L/min"}}},
        {"id": "valve", "type": "valve_block", "parameters": {
            "relief_pressure": {"value": 350, "unit": "bar"}, "stick_pressure": {"value": 0, "unit": "bar"}}},
        {"id": "filter", "type": "filter", "parameters": {"resistance": {"value": 3e7, "unit": "Pa.s/m3"}}},
    ],
    "connections": [
        {"source": "tank", "target": "pump", "type": "hyd_suction"},
        {"source": "pump", "target": "valve", "type": "hyd_pressure"},
        {"source": "valve", "target": "filter", "type": "hyd_return"},
        {"source": "filter", "target": "tank", "type": "hyd_return"},
    ],
    "sensors": [
        {"id": "pump.p_out", "component": "pump", "quantity": "pressure", "unit": "bar", "rate_hz": 10,
         "range": {"low": 0, "high": 600}, "noise_sd": 0.4, "resolution": 0.1, "time_constant_s": 0.002},
        {"id": "valve.p_a", "component": "valve", "quantity": "pressure", "unit": "bar", "rate_hz": 10,
         "range": {"low": 0, "high": 600}, "noise_sd": 0.4, "resolution": 0.1, "time_constant_s": 0.002},
        {"id": "pump.q_case", "component": "pump", "quantity": "flow", "unit": "L/min", "rate_hz": 10,
         "range": {"low": 0, "high": 60}, "noise_sd": 0.15, "resolution": 0.1, "time_constant_s": 0.05},
        {"id": "filter.dp", "component": "filter", "quantity": "differential_pressure", "unit": "bar", "rate_hz": 10,
         "range": {"low": 0, "high": 5}, "noise_sd": 0.01, "resolution": 0.01, "time_constant_s": 0.05},
        {"id": "tank.t_oil", "component": "tank", "quantity": "temperature", "unit": "Cel", "role": "context",
         "rate_hz": 1, "range": {"low": -40, "high": 150}, "noise_sd": 0.05, "resolution": 0.1, "time_constant_s": 8},
        {"id": "pump.cmd", "component": "pump", "quantity": "command", "unit": "%", "role": "command",
         "rate_hz": 10, "range": {"low": 0, "high": 100}, "noise_sd": 0, "resolution": 0.4},
    ],
    "failure_modes": [
        {"id": "pump_leak", "component": "pump", "mode": "internal_leakage"},
        {"id": "filter_clogging", "component": "filter", "mode": "clogging"},
        {"id": "relief_low", "component": "valve", "mode": "relief_drift"},
        {"id": "spool_sticking", "component": "valve", "mode": "spool_sticking"},
        {"id": "tank_hot", "component": "tank", "mode": "oil_degradation"},
    ],
    "duty_cycle": {"period_s": 5, "phases": [
        {"id": "dig", "start_s": 0, "end_s": 2}, {"id": "rest", "start_s": 2, "end_s": 5}]},
}  # fmt: skip

MODES = (
    SimulatedMode(
        "T1", "pump", "pump_leak", "Pump leaks", (times("pump.k_leak", 16.0),),
        Life("exponential", 2.2, 2_000.0, (400.0, 1_500.0), 4.0), 0.2, 0.5, (rises("pump.q_case"),), "replace the pump",
    ),
    SimulatedMode(
        "T2", "filter", "filter_clogging", "Filter clogs", (times("filter.resistance", 8.0),),
        Life("linear", 2.0, 500.0, (300.0, 600.0)), 0.2, 0.6, (rises("filter.dp"),), "change the element",
    ),
    SimulatedMode(
        "T3", "valve", "relief_low", "Relief opens early", (linear("valve.relief_pressure", 260e5),),
        Life("step", 1.0, 4_000.0, (100.0, 200.0), step=0.6), 0.2, 0.5, (falls("pump.p_out"),), "set the valve",
        needs=("stall",),
    ),
    SimulatedMode(
        "T4", "valve", "spool_sticking", "Spool sticks", (linear("valve.stick_pressure", 60e5),),
        Life("intermittent", 1.5, 3_000.0, (200.0, 800.0)), 0.2, 0.5, (rises("pump.p_out"),), "clean the spool",
    ),
    SimulatedMode(
        "T5", "tank", "tank_hot", "Heat stays", (times("tank.surface_ua", 0.4),),
        Life("seasonal", 1.5, 3_000.0, (300.0, 900.0)), 0.2, 0.5, (rises("tank.t_oil"),), "clean the tank",
    ),
)  # fmt: skip


class TinyPlant(Plant):
    """See the module."""

    STEP_S: ClassVar[float] = 0.1
    STATES: ClassVar[tuple[str, ...]] = ("work", "stall", "idle")
    PHASES: ClassVar[tuple[str, ...]] = ("", "dig", "rest")
    SITE: ClassVar[Mapping[str, SiteFactor]] = {
        "ambient_k": SiteFactor(298.15, 263.15, 313.15, "air"),
        "operator": SiteFactor(0.9, 0.7, 1.1, "how hard people work"),
        "material": SiteFactor(1.0, 0.8, 1.4, "how hard the soil is"),
    }
    LEDGER: ClassVar[tuple[Entry, ...]] = (
        Entry("shaft", "input"), Entry("work", "useful"), Entry("leakage", "loss"), Entry("filter", "loss"),
        Entry("relief", "loss"), Entry("surface", "ambient"), Entry("oil", "heat_stored"),
    )  # fmt: skip

    def __init__(self, setting: Setting) -> None:
        self._setting, self._ambient = setting, setting.site["ambient_k"]
        self._draws = CycleDraws(setting.keys, Purpose.DUTY, 1)
        self._time, self._temperature = 0.0, self._ambient + 30.0
        self._clock, self._cycle = np.zeros(setting.size), np.zeros(setting.size, dtype=np.int64)
        self.set_parameters(setting.parameters)

    def set_parameters(self, parameters: Parameters) -> None:
        self._leak, self._flow = parameters["pump.k_leak"], parameters["pump.flow"]
        self._relief, self._stick = parameters["valve.relief_pressure"], parameters["valve.stick_pressure"]
        self._resistance, self._ua = parameters["filter.resistance"], parameters["tank.surface_ua"]

    def settle(self) -> None:
        self._temperature = self._ambient + 4e3 / self._ua
        self._time, self._clock = 0.0, np.zeros_like(self._clock)
        self._cycle = np.zeros_like(self._cycle)

    def advance(self, steps: int, *, ledger: bool = False) -> Frames:
        size = self._setting.size
        values = np.empty((steps, 6, size), dtype=np.float32)
        state, phase = np.empty((steps, size), dtype=np.int8), np.empty((steps, size), dtype=np.int8)
        cycle = np.empty((steps, size), dtype=np.int32)
        kept = np.empty((steps, len(self.LEDGER), size)) if ledger else None
        for row in range(steps):
            now, cycle[row] = self._setting.schedule.at(self._time), self._cycle
            digs = (self._clock < DIG_S) & (now != 2)
            state[row], phase[row] = now, np.where(now == 2, 0, np.where(digs, 1, 2))
            self._step(now, digs, values[row], None if kept is None else kept[row])
        return Frames(values, state, phase, cycle, kept)

    def _step(self, now: NDArray[np.int64], digs: NDArray[np.bool_], values: NDArray[np.float32], kept: Array | None):
        load = 150e5 * self._setting.site["material"] * (0.9 + 0.2 * self._draws.at(self._cycle)[0])
        wanted = np.where(digs, np.where(now == 1, 400e5, load + self._stick), 30e5)
        pressure = np.minimum(wanted, self._relief)
        pumped = np.where(digs, self._flow, 0.2 * self._flow)
        leak = np.minimum(self._leak * pressure * 2.0 ** ((self._temperature - 333.15) / 25.0), pumped)
        through = pumped - leak
        drop = self._resistance * through
        spilled = np.where(wanted > self._relief, through, 0.0)
        surface = self._ua * (self._temperature - self._ambient)
        losses = leak * pressure, drop * through, spilled * (pressure - drop)
        celsius = self._temperature - 273.15
        self._temperature = self._temperature + (sum(losses) - surface) * self.STEP_S / HEAT_CAPACITY
        if kept is not None:
            useful = (through - spilled) * (pressure - drop)
            stored = HEAT_CAPACITY * self._temperature
            kept[:] = [(leak + through) * pressure, useful, *losses, surface, stored]
        command = np.where(digs, 100.0, 20.0)
        values[:] = [
            pressure / BAR, (pressure - drop) / BAR, leak / LITRE_PER_MINUTE, drop / BAR, celsius, command,
        ]  # fmt: skip
        self._time, clock = self._time + self.STEP_S, self._clock + self.STEP_S * self._setting.site["operator"]
        over = clock >= CYCLE_S
        self._clock, self._cycle = np.where(over, 0.0, clock), self._cycle + over


def tiny_system() -> System:
    """The machine with its modes; a worn pump fills the filter."""
    return System(
        "tiny", Machine.model_validate(DESCRIPTION), TinyPlant, MODES, {"work": 0.8, "stall": 0.1, "idle": 0.1},
        (Cascade("T1", "T2", 4.0),),
    )  # fmt: skip


def tiny_setting(size: int = 3, *, state: int = 0, seed: int = 7) -> Setting:
    """Machines that are all as described, on an ordinary day, in one state of work."""
    system = tiny_system()
    return Setting(
        tuple(Key(seed, machine) for machine in range(size)),
        {name: np.full(size, value) for name, value in system.parameters.items()},
        {name: np.full(size, factor.default) for name, factor in TinyPlant.SITE.items()},
        Schedule.constant([state] * size),
    )
