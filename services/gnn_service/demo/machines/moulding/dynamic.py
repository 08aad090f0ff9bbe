"""The injection circuit in time: speed loop of the pumps, gas, servo valve, oil under compression, screw and melt.

Leap-frog in steps of 2 to 5 ms: the screw's speed lives between the pressures. What is fast and damped (melt, friction,
oil column) is implicit, by the midpoint rule, so that no damping is added that is not there; lags are exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.machines.moulding import duty
from gnn_service.demo.machines.moulding.duty import Segment
from gnn_service.demo.machines.moulding.work import prepared
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import fluid, moulding, valves

CAPTURE_HZ = 100.0
FINE_STEP_S = 1.25e-3
"""Longest step of the oil column between valve and screw."""
STATES = ("supply", "chamber", "speed", "screw", "spool", "pump", "melt")
"""Pressure of pumps and gas, of the cylinders (Pa); screw speed and position (m/s, m); valve opening (-1 to 1);
speed of both pumps (turns a second); melt in the cavity (m3)."""

_KAPPA = 1.4
_AIR_SHARE = 0.005
_DEAD_M3 = 1.5e-3
_SLOW_FLOW = 0.02
_FRICTION_SPEED = 0.002
_HOLD_GAIN = 1.0 / 400e5
_DENSITY = 850.0
_NEWTON = 4
_BLOCKED = 20.0


@dataclass(frozen=True, slots=True)
class Capture:
    """A record at 100 Hz: ``time_s`` (N,), each signal (N, B) by the sensor's id and in its unit."""

    time_s: NDArray[np.float64]
    signals: Mapping[str, Array]


class InjectionCircuit:
    """Injection of B machines from the start of filling: fills with controlled speed, then holds pressure.

    Args:
        parameters: as in `Setting`, SI, (B,).
        site: as in `Setting`; the material's viscosity and the shot count.
        oil_k: temperature of the oil, K.
    """

    def __init__(self, parameters: Parameters, site: Mapping[str, Array], oil_k: float = 318.15) -> None:
        self.p = p = prepared(parameters, site)
        size = len(p["dose"])
        grade = fluid.walther(p["oil_tank.viscosity_40"], p["oil_tank.viscosity_100"])
        self.thinning = fluid.REFERENCE_VISCOSITY_PA_S / fluid.dynamic_viscosity(oil_k, grade)
        self.liquid = fluid.liquid_bulk_modulus(oil_k)
        self.swept = p["servo_pump_1.displacement"] + p["servo_pump_2.displacement"]
        self.leak = (p["servo_pump_1.leakage"] + p["servo_pump_2.leakage"]) * self.thinning
        # the edge that passes the nominal flow at the nominal drop
        self.edge = p["manifold.injection_flow"] / valves.orifice_flow(1.0, p["manifold.injection_drop"], _DENSITY)
        full = p["accumulator.shell"] * p["accumulator.charge"] / p["accumulator.charged_pressure"]
        self.gas = p["accumulator.charged_pressure"] * full**_KAPPA
        self.nominal_flow = p["screw.area"] * duty.FILL_SPEED[Segment.FILL_FAST]
        self.ring = p["screw_unit.ring_leakage"] * p["nominal_shot"]
        self.time = 0.0
        self.held = np.full(size, -1.0)
        self._before = np.zeros(size), np.zeros(size)
        self._fresh = np.ones(size, dtype=np.bool_)
        idle = self.leak * p["accumulator.charged_pressure"] / self.swept
        zero = np.zeros(size)
        self.y = {
            "supply": p["accumulator.charged_pressure"].copy(),
            "chamber": np.full(size, 5e5),
            "speed": zero.copy(),
            "screw": p["dose"].copy(),
            "spool": zero.copy(),
            "pump": idle,
            "melt": zero.copy(),
        }

    def command(self, y: Mapping[str, Array], held: Array) -> Array:
        """Opening that the controller asks for: by speed set point and drop while filling, by pressure in hold."""
        fast = y["screw"] > self.p["slow_from"]
        wanted = np.where(fast, duty.FILL_SPEED[Segment.FILL_FAST], duty.FILL_SPEED[Segment.FILL_SLOW])
        drop = np.maximum(y["supply"] - y["chamber"], 2e5)
        droop = 1.0 - self.p["manifold.injection_droop"] * y["chamber"] / 120e5
        filling = self.p["injection.area"] * wanted * droop / valves.orifice_flow(self.edge, drop, _DENSITY)
        holding = _HOLD_GAIN * (duty.HOLD_PRESSURE - y["chamber"])
        return np.asarray(np.clip(np.where(held >= 0.0, holding, filling), -1.0, 1.0))

    def pump_command(self, y: Mapping[str, Array]) -> Array:
        """Speed that pressure control asks of the pumps, turns a second."""
        gap = np.maximum(duty.FILL_TARGET_PRESSURE - y["supply"], 0.0)
        flow = self.p["manifold.control_gain"] * gap + self.leak * y["supply"]
        return np.asarray(np.minimum(flow / self.swept, self.p["servo_pump_1.speed_max"]))

    def valve_flow(self, spool: Array, supply: Array, chamber: Array) -> tuple[Array, Array]:
        """Flow into the cylinders (m3/s; to the tank where the spool is negative), and its slope in pressure."""
        drop = np.where(spool >= 0.0, supply - chamber, chamber)
        flow = valves.orifice_flow(self.edge * spool, drop, _DENSITY)
        return flow, valves.orifice_slope(self.edge * abs(spool), drop, _DENSITY)

    def supply_compliance(self, supply: Array) -> Array:
        """Oil that gas and lines give a pascal, m3/Pa."""
        gas = (self.gas / supply) ** (1.0 / _KAPPA) / (_KAPPA * supply)
        return np.asarray(gas + self.p["manifold.line_volume"] / self.liquid)

    def stiffness(self, y: Mapping[str, Array]) -> Array:
        """Bulk modulus over volume of the cylinders, Pa/m3."""
        modulus = fluid.effective_bulk_modulus(y["chamber"] + 1e5, self.liquid, _AIR_SHARE, walls=20e9)
        volume = _DEAD_M3 + self.p["injection.area"] * (self.p["dose"] - y["screw"])
        return np.asarray(modulus / volume)

    def melt_pressure(self, speed: Array, melt: Array, since_hold: Array) -> tuple[Array, Array]:
        """Melt pressure at a screw speed and its slope; the gate freezes while holding."""
        filled = melt / self.p["cavity"]
        length = moulding.flow_length(np.minimum(np.maximum(filled, 0.0), 1.0))
        frozen = np.exp(np.minimum(np.maximum(since_hold, 0.0) / self.p["screw_unit.gate_time"], _BLOCKED))
        scale = self.p["screw_unit.fill_pressure"] * length * self.p["material"] * frozen
        flow = self.p["screw.area"] * speed / self.nominal_flow
        size = flow * flow + _SLOW_FLOW * _SLOW_FLOW
        m = self.p["screw_unit.fill_exponent"]
        bent = size ** (0.5 * (m - 1.0))
        crammed = self.p["screw_unit.melt_bulk_modulus"] * np.maximum(filled - 1.0, 0.0)
        slope = scale * bent * (1.0 + (m - 1.0) * flow * flow / size) * self.p["screw.area"] / self.nominal_flow
        return scale * bent * flow + crammed, slope

    def resistance(self, speed: Array, melt: Array, since_hold: Array) -> tuple[Array, Array]:
        """Force of melt and friction against the screw (N) and its slope."""
        pressure, slope = self.melt_pressure(speed, melt, since_hold)
        rubbing = np.tanh(speed / _FRICTION_SPEED)
        friction = self.p["injection_cylinder.friction"]
        force = pressure * self.p["screw.area"] + friction * rubbing
        return force, slope * self.p["screw.area"] + friction * (1.0 - rubbing * rubbing) / _FRICTION_SPEED

    def rates(self, y: Mapping[str, Array], held: Array, time: float) -> dict[str, Array]:
        """Time derivatives of all states: what `step` integrates, for reference solutions."""
        p = self.p
        flow, _ = self.valve_flow(y["spool"], y["supply"], y["chamber"])
        force, _ = self.resistance(y["speed"], y["melt"], np.where(held >= 0.0, time - held, 0.0))
        seal = p["injection_cylinder.seal_leakage"] * self.thinning * y["chamber"]
        taken = np.maximum(flow, 0.0) + p["manifold.injection_null_leakage"] * y["supply"]
        given = self.swept * y["pump"] - self.leak * y["supply"]
        return {
            "supply": (given - taken) / self.supply_compliance(y["supply"]),
            "chamber": self.stiffness(y) * (flow - p["injection.area"] * y["speed"] - seal),
            "speed": (y["chamber"] * p["injection.area"] - force) / p["injection_cylinder.moving_mass"],
            "screw": -y["speed"],
            "spool": (self.command(y, held) - y["spool"]) / p["manifold.injection_lag"],
            "pump": (self.pump_command(y) - y["pump"]) / p["servo_pump_1.speed_time_constant"],
            "melt": p["screw.area"] * y["speed"] - self.back_flow(y, np.where(held >= 0.0, time - held, 0.0)),
        }

    def back_flow(self, y: Mapping[str, Array], since_hold: Array) -> Array:
        """Melt past the check ring, m3/s."""
        pressure, _ = self.melt_pressure(y["speed"], y["melt"], since_hold)
        return np.asarray(moulding.ring_flow(self.ring, 1.0, np.maximum(pressure, 0.0), 60e6))

    def step(self, dt: float) -> None:
        """Move on by ``dt`` seconds."""
        p, y = self.p, self.y
        lag, loop = np.exp(-dt / p["manifold.injection_lag"]), np.exp(-dt / p["servo_pump_1.speed_time_constant"])
        now = self.command(y, self.held), self.pump_command(y)
        before = (np.where(self._fresh, new, old) for new, old in zip(now, self._before, strict=True))
        # in the middle of the step, by extrapolation
        asked, turning = (1.5 * new - 0.5 * old for new, old in zip(now, before, strict=True))
        asked = np.clip(asked, -1.0, 1.0)
        self._before = now
        spool = asked + (y["spool"] - asked) * lag
        pump = turning + (y["pump"] - turning) * loop
        middle_spool, middle_pump = 0.5 * (y["spool"] + spool), 0.5 * (y["pump"] + pump)
        since = np.where(self.held >= 0.0, self.time - self.held, 0.0)
        rest = -p["manifold.injection_null_leakage"] * y["supply"] - self.leak * y["supply"]
        flow, _ = self.valve_flow(middle_spool, y["supply"], y["chamber"])
        give = self.supply_compliance(y["supply"])
        supply = y["supply"] + dt * (self.swept * middle_pump + rest - np.maximum(flow, 0.0)) / give
        middle = 0.5 * (supply + y["supply"])
        mean, speed, chamber = self._screw(y, middle_spool, middle, since, dt)
        screw = np.maximum(y["screw"] - dt * mean, 0.0)
        melt = y["melt"] + dt * (p["screw.area"] * mean - self.back_flow({**y, "speed": mean}, since))
        self.y = dict(zip(STATES, (supply, chamber, speed, screw, spool, pump, melt), strict=True))
        self.time += dt
        switching = (self.held < 0.0) & (screw <= duty.SWITCH_OVER)
        self.held = np.where(switching, self.time, self.held)
        self._fresh = switching

    def _screw(
        self, y: Mapping[str, Array], spool: Array, supply: Array, since: Array, dt: float
    ) -> tuple[Array, Array, Array]:
        """Mean speed of the step, speed and chamber pressure at its end; the oil column takes finer steps."""
        finer = ceil(dt / FINE_STEP_S - 1e-9)
        speed, chamber, way = y["speed"], y["chamber"], np.zeros_like(y["speed"])
        for _ in range(finer):
            speed, chamber = self._column({**y, "speed": speed, "chamber": chamber}, spool, supply, since, dt / finer)
            way = way + speed
        return way / finer, speed, chamber

    def _column(
        self, y: Mapping[str, Array], spool: Array, supply: Array, since: Array, dt: float
    ) -> tuple[Array, Array]:
        """Speed in the middle of a fine step and chamber pressure at its end, both implicit in what is fast."""
        p, area, stiff = self.p, self.p["injection.area"], self.stiffness(y)
        flow, slope = self.valve_flow(spool, supply, y["chamber"])
        seal = p["injection_cylinder.seal_leakage"] * self.thinning
        lift = 0.5 * dt * stiff / (1.0 + 0.5 * dt * stiff * (slope + seal))
        mass = p["injection_cylinder.moving_mass"] / dt
        push = area * (y["chamber"] + lift * (flow - seal * y["chamber"]))
        speed = y["speed"]
        for _ in range(_NEWTON):
            force, gain = self.resistance(speed, y["melt"], since)
            wrong = mass * (speed - y["speed"]) + force + area * area * lift * speed - push
            speed = speed - wrong / (mass + gain + area * area * lift)
        middle = y["chamber"] + lift * (flow - seal * y["chamber"] - area * speed)
        return speed, np.maximum(2.0 * middle - y["chamber"], 0.0)

    def capture(self, seconds: float, step_s: float = 0.002) -> Capture:
        """Run on and record at 100 Hz. InvalidInputError where the step does not divide 10 ms, or is longer than 5."""
        each = round(1.0 / CAPTURE_HZ / step_s) if 0.0 < step_s <= 0.005 else 0
        if abs(each * step_s * CAPTURE_HZ - 1.0) > 1e-9:
            raise InvalidInputError(f"a step of {step_s:g} s does not fit: take 0.001, 0.002 or 0.005")
        times, rows = [], []
        for _ in range(round(seconds * CAPTURE_HZ)):
            for _ in range(each):
                self.step(step_s)
            times.append(self.time)
            rows.append(self.signals())
        signals = {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
        return Capture(np.array(times), signals)

    def signals(self) -> dict[str, Array]:
        """What its sensors show now, by id and in their units, (B,)."""
        y = self.y
        return {
            "manifold.p_sys": y["supply"] * 1e-5,
            "injection_cylinder.p_hyd": y["chamber"] * 1e-5,
            "injection_cylinder.v": y["speed"] * 1e3,
            "injection_cylinder.pos": y["screw"] * 1e3,
            "manifold.inj_cmd": y["spool"] * 100.0,
            "servo_pump_1.n": y["pump"] * 60.0,
        }
