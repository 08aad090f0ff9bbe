"""The clamping hydraulics: a pump that charges an accumulator between two pressures, and what drinks from it."""

from typing import NamedTuple

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.fluid import Walther, kinematic_viscosity, walther
from gnn_service.physics.gas import charge_at
from gnn_service.physics.pumps import leakage_flow

LEAK_PRESSURE = 110e5
LEAK_TEMPERATURE_K = 313.15
MOST_FLOW = 15e-3 / 60.0
"""What valves and lines let through to one consumer after the other, m3/s."""


class HydraulicLoad(NamedTuple):
    """What the unit did in a step, (B,): Pa, 0 or 1, and W."""

    pressure: Array
    pump_on: Array
    power: Array
    pump_loss: Array
    motor_loss: Array
    throttled: Array


class Hydraulics:
    """Accumulator, pump and pending demands of B machines."""

    def __init__(self, size: int) -> None:
        self.oil, self.pending = np.zeros(size), np.zeros(size)
        self.pump_on = np.zeros(size)
        self.clamped = np.ones((2, size))
        self.t_release, self.t_clamp = np.zeros(size), np.zeros(size)
        self.pressure = np.zeros(size)
        self._charged = np.zeros(size)

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of the unit, the clamps and the drawbar."""
        self.p = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("hydraulic_unit.")}
        self.c = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("tool_clamp.")}
        self.seals = np.stack([p["a_axis.clamp_leak"], p["c_axis.clamp_leak"]])
        self.volumes = np.stack([p["a_axis.clamp_volume"], p["c_axis.clamp_volume"]])
        self.grade: Walther = walther(self.p["viscosity_40"], self.p["viscosity_100"])
        self.reference = kinematic_viscosity(LEAK_TEMPERATURE_K, self.grade)
        self.exponent = self.p["polytropic_exponent"]
        charge = self.p["charge"]
        self._anew, self._charged = charge != self._charged, charge

    def warm(self, oil_k: Array) -> None:
        """Charge and viscosity at the oil's temperature (K), once a second; another charge leaves the pressure."""
        self.charge = charge_at(self.p["charge"], oil_k)
        self.full = self.oil_at(self.p["relief"])
        if self._anew.any():
            held = self.oil_at(np.maximum(self.pressure, self.charge))
            self.oil = np.where(self._anew, held, self.oil)
            self.pressure = np.where(self._anew, self.gas_pressure(self.oil), self.pressure)
            self._anew = np.zeros_like(self._anew)
        self.thinning = self.reference / kinematic_viscosity(oil_k, self.grade)

    def gas_pressure(self, oil: Array) -> Array:
        """Pressure over this oil volume (m3) in the accumulator, Pa: p0 (V0 / (V0 - V_oil))^n."""
        shell = self.p["accumulator_volume"]
        return np.asarray(self.charge * (shell / (shell - oil)) ** self.exponent)

    def oil_at(self, pressure: Array) -> Array:
        """Oil volume (m3) in the accumulator at a pressure (Pa)."""
        shell = self.p["accumulator_volume"]
        ratio = np.minimum(self.charge / pressure, 1.0)
        return np.asarray(shell * (1.0 - ratio ** (1.0 / self.exponent)))

    def leakage(self, pressure: Array, clamped: Array) -> Array:
        """Oil that leaks off, m3/s: valves always, the rotary seals while their clamps are under pressure."""
        at_reference = self.p["leak"] + self.seals[0] * clamped[0] + self.seals[1] * clamped[1]
        return np.asarray(leakage_flow(at_reference / LEAK_PRESSURE, pressure, self.thinning))

    def release_times(self, pressure: Array) -> tuple[Array, Array]:
        """Seconds until the tool is free, and until it is clamped again.

        Flow through the valve goes with the root of the pressure that the springs leave over; the springs alone push
        the oil back.
        """
        c = self.c

        def left_to_release(supply: Array | float, force: Array, friction: Array) -> Array:
            return np.maximum(supply * c["piston_area"] - c["release_force_ratio"] * force - friction, 0.5e3)

        def left_to_clamp(force: Array, friction: Array) -> Array:
            return np.maximum(force - friction - c["back_force"], 0.5e3)

        rated = left_to_release(LEAK_PRESSURE, c["rated_force"], c["rated_friction"])
        actual = left_to_release(pressure, c["clamp_force"], c["drawbar_friction"])
        release = c["valve_delay"] + (c["release_time"] - c["valve_delay"]) * np.sqrt(rated / actual)
        rated = left_to_clamp(c["rated_force"], c["rated_friction"])
        actual = left_to_clamp(c["clamp_force"], c["drawbar_friction"])
        clamp = c["valve_delay"] + (c["clamp_time"] - c["valve_delay"]) * np.sqrt(rated / actual)
        return np.asarray(release), np.asarray(clamp)

    def demand(self, clamped: Array, releases: Array, clamps: Array) -> None:
        """Oil asked for in this step: clamps (2, B) that changed, drawbars that release or close (B,), each 0 or 1."""
        moved = abs(clamped - self.clamped) * self.volumes
        self.pending = self.pending + moved[0] + moved[1] + 0.5 * self.c["release_volume"] * (releases + clamps)
        self.clamped = clamped
        if releases.any():
            release, clamp = self.release_times(self.pressure)
            self.t_release = np.where(releases > 0, release, self.t_release)
            self.t_clamp = np.where(releases > 0, clamp, self.t_clamp)

    def step(self, step_s: float) -> HydraulicLoad:
        """Charge, drink and leak for one step."""
        q = self.p
        start = self.pressure
        drunk = np.minimum(np.minimum(self.pending / step_s, MOST_FLOW), 0.5 * self.oil / step_s)
        leak = np.minimum(self.leakage(start, self.clamped), 0.5 * self.oil / step_s)
        pumped = q["pump_flow"] * self.pump_on
        self.pending = self.pending - drunk * step_s
        wanted = self.oil + (pumped - drunk - leak) * step_s
        self.oil = np.minimum(wanted, self.full)
        relieved = (wanted - self.oil) / step_s
        end = self.gas_pressure(self.oil)
        on = np.where(end <= q["pressure_on"], 1.0, np.where(end >= q["pressure_off"], 0.0, self.pump_on))
        mean = 0.5 * (start + end)
        hydraulic = mean * pumped
        shaft = hydraulic / q["pump_efficiency"]
        power = shaft / q["motor_efficiency"] + q["standby_power"]
        load = HydraulicLoad(
            end, self.pump_on, power, hydraulic * (1.0 / q["pump_efficiency"] - 1.0) + q["standby_power"],
            shaft * (1.0 / q["motor_efficiency"] - 1.0), mean * (drunk + leak + relieved),
        )  # fmt: skip
        self.pressure, self.pump_on = end, on
        return load

    def settled_heat(self, uses: Array, clamped: Array) -> Array:
        """Mean heat (W) into the oil with this oil consumption (m3/s) and these shares of time clamped (2, B)."""
        q = self.p
        mean = np.full_like(uses, LEAK_PRESSURE)
        flow = np.minimum(uses + self.leakage(mean, clamped), q["pump_flow"])
        return np.asarray(mean * flow / q["pump_efficiency"] + q["standby_power"])

    def gas_energy(self) -> Array:
        """Work stored in the gas, J: (p V - p0 V0) / (n - 1)."""
        shell = self.p["accumulator_volume"]
        return np.asarray((self.pressure * (shell - self.oil) - self.charge * shell) / (self.exponent - 1.0))
