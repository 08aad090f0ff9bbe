"""Compressed air of the robot: the gripper's chamber in closed form over a cycle, the supply step by step."""

import numpy as np

from gnn_service.demo.machines.robot.duty import TABLES
from gnn_service.demo.machines.robot.pace import Place
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.robot import REFERENCE_PRESSURE, filling_pressure, free_flow

ATMOSPHERE = 1.01325e5
CLOSED_SHARE = 0.85
"""Of the supply's pressure (absolute), at which the gripper's switch tells that it holds."""
DWELL_S = 0.3
"""How long the program waits after that."""


class Air:
    """Gripper and air supply of B robots.

    Closing fills the chamber through the valve (ISO 6358) while the leak takes its part; the chamber is then locked
    and loses pressure exponentially through the leak, which is choked; a pressure switch fills it again.
    """

    atmosphere = ATMOSPHERE

    def __init__(self, parameters: Parameters) -> None:
        self.take(parameters)
        self.reservoir = self.supply
        self.inflow = np.zeros_like(self.supply)

    def take(self, parameters: Parameters) -> None:
        """Take over changed parameters; the pressure of the reservoir stays."""
        self.supply = parameters["pneumatic_supply.pressure"] + ATMOSPHERE
        self.reservoir_m3 = parameters["pneumatic_supply.reservoir"]
        self.line = parameters["pneumatic_supply.line_conductance"]
        self.line_leak = parameters["pneumatic_supply.leak"] / self.supply
        self.critical = parameters["gripper.critical_ratio"]
        volume, valve = parameters["gripper.volume"], parameters["gripper.conductance"]
        leak = parameters["gripper.leak"] / self.supply
        self.volume, self.leak = volume, parameters["gripper.leak"]
        self.stroke, self.exhaust = parameters["gripper.stroke_time"], parameters["gripper.exhaust_time"]
        self.filling = REFERENCE_PRESSURE * np.maximum(valve - leak, 0.05 * valve) / volume
        self.decay = REFERENCE_PRESSURE * leak / volume
        self.close_s = self._fill_time(self.filling)
        self.open_s = self._fill_time(REFERENCE_PRESSURE * valve / volume) - self.exhaust / 2
        self.top_up_s = np.log(self.supply / (parameters["gripper.top_up"] + ATMOSPHERE)) / self.decay

    @property
    def grip_s(self) -> Array:
        """How long gripping takes with its dwell, s."""
        return self.close_s + DWELL_S

    def _fill_time(self, rate: Array) -> Array:
        choked = np.maximum(self.critical - ATMOSPHERE / self.supply, 0.0) / rate
        arc = np.arcsin((CLOSED_SHARE - self.critical) / (1.0 - self.critical))
        return np.asarray(self.stroke + choked + arc * (1.0 - self.critical) / rate)

    def gripper(self, place: Place) -> tuple[Array, Array, Array]:
        """Pressure (Pa, gauge), loss of pressure while locked (Pa/s, NaN otherwise), air taken (m3/s free), (K, B)."""
        grips, releases = TABLES.grips[place.segment], TABLES.releases[place.segment]
        holds = TABLES.holds[place.segment]
        closing = filling_pressure(
            np.full_like(self.supply, ATMOSPHERE),
            self.supply,
            self.filling,
            np.maximum(place.into - self.stroke, 0.0),
            self.critical,
        )
        since = np.mod(place.held + place.into, self.top_up_s)
        locked = self.supply * np.exp(-self.decay * since)
        opening = ATMOSPHERE + (self.supply - ATMOSPHERE) * np.exp(-place.into / self.exhaust)
        pressure = np.where(grips, closing, np.where(holds, locked, np.where(releases, opening, ATMOSPHERE)))
        loss = np.where(holds, self.decay * locked, np.nan)
        stroke = self.volume * self.supply / REFERENCE_PRESSURE
        taken = np.where(grips & (place.into < self.close_s), stroke / self.close_s, 0.0)
        taken = taken + np.where(releases & (place.into < self.open_s), stroke / self.open_s, 0.0)
        return pressure - ATMOSPHERE, loss, taken + np.where(grips | holds, self.leak, 0.0)

    def draw(self, taken: Array, step_s: float) -> None:
        """Move the reservoir on by one step in which ``taken`` (B,) m3/s of free air leave it."""
        self.inflow = free_flow(self.line, self.supply, self.reservoir, self.critical)
        leaving = taken + self.line_leak * self.reservoir
        change = (self.inflow - leaving) * (REFERENCE_PRESSURE * step_s / self.reservoir_m3)
        self.reservoir = np.clip(self.reservoir + change, ATMOSPHERE, self.supply)
