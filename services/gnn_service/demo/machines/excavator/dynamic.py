"""The boom circuit in time: pumps, line, relief valve, spool, cylinders with their oil columns, and a moving mass.

Leap-frog: velocities live half a step beside pressures and places, so that the oil spring is neither damped nor driven
by the method. Valve, relief and leakage flows enter by the linearised trapezoidal rule, pump line and head side
together; friction and end stops by the midpoint rule. Lags of swash plates and spool are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import fluid, pumps
from gnn_service.physics.lines import pressure_rate
from gnn_service.physics.valves import orifice_flow, orifice_slope, relief_flow, spool_opening

STATES: Final = ("pump", "head", "rod", "velocity", "place", "spool", "stroke")
"""Pressures in Pa above the tank's, m/s, m, spool position -1..1, stroke 0..1 of both pumps together."""
CAPTURE_HZ: Final = 100
LINE_M3, HOSE_PA, STIFFNESS_AT_PA = 4e-3, 1.0e9, 60e5
DENSITY, DISCHARGE = 850.0, 0.65
RATED_RETURN, LOWERING_DROP = 300e-3 / 60.0, 100e5
SMOOTH_M_S, STOP_STIFFNESS, STOP_DAMPING = 0.004, 6e7, 4e5
CHECK_SLOPE = 2e-8
CRACKING_PA = 8e5
"""Difference at which the load check is open."""
SIGNALLED = 0.25
"""Opening of the spool at which the load signal reaches the pumps undiminished."""
UNLOADING = 0.2
"""Slope of the unloading valve over that of the relief valve."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the boom cylinders carry: force against extension (N) and mass (kg, J / r^2), both (B,)."""

    force: Array
    mass: Array


def _edge(flow: Array, drop: Array | float) -> Array:
    """Area of an orifice that passes this flow at this drop, m2."""
    return np.asarray(flow / (DISCHARGE * np.sqrt(2.0 * drop / DENSITY)))


class BoomCircuit:
    """Boom circuits of B machines with warm oil; the state is (7, B) in the order of ``STATES``.

    ``carried`` tells the load at a place of the pistons (m); without it, the load stays as it is.
    """

    def __init__(
        self,
        parameters: Parameters,
        load: Load,
        *,
        oil_k: float = 333.15,
        carried: Callable[[Array], Load] | None = None,
    ) -> None:
        def of(component: str, *names: str) -> tuple[Array, ...]:
            return tuple(parameters[f"{component}.{name}"] for name in names)

        count, bore, rod, self.stroke, self._dead = of("boom_cylinder", "count", "bore", "rod", "stroke", "dead_volume")
        self.head_area = count * np.pi / 4.0 * bore * bore
        self.rod_area = count * np.pi / 4.0 * (bore * bore - rod * rod)
        self._seal, self._coulomb, self._viscous = of(
            "boom_cylinder", "seal_leakage", "coulomb_friction", "viscous_friction"
        )
        grade = fluid.walther(*of("hydraulic_tank", "viscosity_40", "viscosity_100"))
        self._viscosity = fluid.dynamic_viscosity(oil_k, grade)
        self._thinning = fluid.REFERENCE_VISCOSITY_PA_S / self._viscosity
        liquid = fluid.liquid_bulk_modulus(oil_k, STIFFNESS_AT_PA)
        absolute = STIFFNESS_AT_PA + fluid.ATMOSPHERE_PA
        self.modulus = fluid.effective_bulk_modulus(absolute, liquid, parameters["hydraulic_tank.air"], walls=HOSE_PA)
        flow, margin, lowering, back = of(
            "main_control_valve", "boom_flow", "margin", "boom_lowering_flow", "back_pressure"
        )
        self._flow = flow
        self._raise, self._lower = _edge(flow, margin), _edge(lowering, LOWERING_DROP)
        self._return = _edge(np.full_like(flow, RATED_RETURN), back)
        self._set, self._slope, self._check, self._power = of(
            "main_control_valve", "main_relief", "relief_slope", "make_up_pressure", "shared_power"
        )
        self._dead_band, self._spool_lag, self._share = of(
            "main_control_valve", "boom_dead_band", "boom_spool_lag", "boom_opening"
        )
        swept, self._speed, lag = of("pump_main_1", "displacement", "speed", "stroke_lag")
        other, slower = of("pump_main_2", "displacement", "stroke_lag")
        self._swept, self._filled = swept + other, parameters["hydraulic_tank.filling"]
        reach = swept * parameters["pump_main_1.max_stroke"] + other * parameters["pump_main_2.max_stroke"]
        self._most = reach / self._swept
        self._stroke_lag = (swept * lag + other * slower) / self._swept
        self._leak = (parameters["pump_main_1.leakage"] + parameters["pump_main_2.leakage"]) * self._thinning
        self._standby = parameters["pump_main_1.standby_pressure"]
        self._losses = of("pump_main_1", "friction", "drag", "idle_torque")
        self.load, self._carried = load, carried

    def at_rest(self, share: float = 0.3) -> Array:
        """The state of a held boom at a share of its stroke, (7, B)."""
        state = np.zeros((len(STATES), len(self.stroke)))
        state[0], state[2], state[4] = self._standby, self._check, share * self.stroke
        if self._carried is not None:
            self.load = self._carried(state[4])
        state[1] = (self.load.force + state[2] * self.rod_area) / self.head_area
        return state

    def _pump_flow(self, stroke: Array) -> Array:
        return np.asarray(stroke * self._swept * self._speed * self._filled)

    def _asked(self, pump: Array, opening: Array) -> Array:
        """Stroke that load sensing and the torque limit ask for."""
        friction, drag, idle = self._losses
        torque = self._power / (2.0 * np.pi * self._speed)
        reach = pumps.torque_limited_stroke(
            torque, self._swept, np.maximum(pump, 1e6), self._speed,
            viscosity=self._viscosity, friction=friction, drag=drag, idle=2.0 * idle,
        )  # fmt: skip
        wanted = np.maximum(opening, 0.0) * self._flow + self._leak * pump
        full = self._swept * self._speed * self._filled
        return np.asarray(np.minimum(np.minimum(wanted / full, reach), self._most))

    def _flows(self, state: Array, opening: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Net flows into pump line, head and rod side without the piston's motion, and their slopes by pressure."""
        pump, head, rod = state[0], state[1], state[2]
        up, down = np.maximum(opening, 0.0) * self._raise, np.maximum(-opening, 0.0) * self._lower
        out = self._return * (opening > 0.0)
        up = up * np.clip((pump - head) / CRACKING_PA, 0.0, 1.0)  # the load check
        feed, feed_slope = orifice_flow(up, pump - head, DENSITY), orifice_slope(up, pump - head, DENSITY)
        lowered, lowered_slope = orifice_flow(down, head, DENSITY), orifice_slope(down, head, DENSITY)
        left, left_slope = orifice_flow(out, rod, DENSITY), orifice_slope(out, rod, DENSITY)
        seal = self._seal * self._thinning
        drawn = relief_flow(self._check, rod, CHECK_SLOPE)
        # without a load signal the unloading valve lets the pumps idle at stand-by
        signal = np.minimum(np.maximum(opening, 0.0) / SIGNALLED, 1.0)
        setting = self._standby + (self._set - self._standby) * signal
        gain = self._slope * (UNLOADING + (1.0 - UNLOADING) * signal)
        relief_slope = gain * (pump > setting) + self._leak
        supply = self._pump_flow(state[6]) - feed - relief_flow(pump, setting, gain) - self._leak * pump
        flows = supply, feed - lowered - seal * (head - rod), seal * (head - rod) - left + drawn
        slopes = (
            feed_slope, relief_slope, lowered_slope + seal, left_slope + seal + CHECK_SLOPE * (rod < self._check),
        )  # fmt: skip
        return flows, slopes

    def _volumes(self, place: Array) -> tuple[Array, Array]:
        return self._dead + self.head_area * place, self._dead + self.rod_area * (self.stroke - place)

    def _resistance(self, velocity: Array, place: Array) -> Array:
        """Friction and end stops against motion, N."""
        rubbing = self._coulomb * np.tanh(velocity / SMOOTH_M_S) + self._viscous * velocity
        return np.asarray(rubbing + self._stop(velocity, place))

    def _stop(self, velocity: Array, place: Array) -> Array:
        deep = np.maximum(place - self.stroke, 0.0) + np.minimum(place, 0.0)
        return np.asarray(STOP_STIFFNESS * deep + STOP_DAMPING * velocity * (deep != 0.0))

    def _push(self, state: Array) -> Array:
        return np.asarray(state[1] * self.head_area - state[2] * self.rod_area - self.load.force)

    def derivative(self, state: Array, command: Array) -> Array:
        """Time derivative (7, B) of a state under spool commands (B,): the equations that the steps solve."""
        opening = spool_opening(state[5], self._dead_band, self._share)
        flows, _ = self._flows(state, opening)
        head, rod = self._volumes(state[4])
        velocity = state[3]
        return np.stack((
            pressure_rate(flows[0], LINE_M3, self.modulus),
            pressure_rate(flows[1] - self.head_area * velocity, head, self.modulus),
            pressure_rate(flows[2] + self.rod_area * velocity, rod, self.modulus),
            (self._push(state) - self._resistance(velocity, state[4])) / self.load.mass,
            velocity,
            (command - state[5]) / self._spool_lag,
            (self._asked(state[0], opening) - state[6]) / self._stroke_lag,
        ))  # fmt: skip

    def run(self, state: Array, commands: Array, step_s: float) -> Array:
        """States (N + 1, 7, B) at the ends of N steps, from a start and the spool command (N, B) of each step."""
        states = np.empty((len(commands) + 1, *state.shape))
        states[0] = state
        now = state.copy()
        half = now[3] + 0.5 * step_s * self.derivative(now, commands[0])[3]
        for index, command in enumerate(commands):
            now, half = self._advance(now, half, command, step_s)
            states[index + 1] = now
        return states

    def _advance(self, state: Array, half: Array, command: Array, step: float) -> tuple[Array, Array]:
        """One leap: the state at the next whole step and the velocity half a step beyond it."""
        after = state.copy()
        after[5] = command + (state[5] - command) * np.exp(-step / self._spool_lag)
        middle = command + (state[5] - command) * np.exp(-0.5 * step / self._spool_lag)
        opening = spool_opening(middle, self._dead_band, self._share)
        asked = self._asked(state[0], opening)
        after[6] = asked + (state[6] - asked) * np.exp(-step / self._stroke_lag)
        after[4] = state[4] + half * step
        if self._carried is not None:
            self.load = self._carried(after[4])
        mean = state.copy()
        mean[4], mean[6] = 0.5 * (state[4] + after[4]), 0.5 * (state[6] + after[6])
        after[:3] = self._press(mean, half, opening, step)
        velocity = self._kick(after, half, step)
        after[3] = 0.5 * (half + velocity)
        return after, velocity

    def _press(self, state: Array, velocity: Array, opening: Array, step: float) -> Array:
        """Pressures (3, B) after a step: (1 - dt/2 J) dp = dt f, J of pump line and head side as one 2 x 2 block."""
        flows, (feed, relief, lowered, left) = self._flows(state, opening)
        head, rod = self._volumes(state[4])
        line, head_rate, rod_rate = (step * self.modulus / volume for volume in (LINE_M3, head, rod))
        pump_push = line * flows[0]
        head_push = head_rate * (flows[1] - self.head_area * velocity)
        rod_push = rod_rate * (flows[2] + self.rod_area * velocity)
        a, b = 1.0 + 0.5 * line * (feed + relief), 0.5 * line * feed
        c, d = 0.5 * head_rate * feed, 1.0 + 0.5 * head_rate * (feed + lowered)
        whole = a * d - b * c
        pump = (d * pump_push + b * head_push) / whole
        inner = (a * head_push + c * pump_push) / whole
        outer = rod_push / (1.0 + 0.5 * rod_rate * left)
        # the make-up valve that opens within the step
        gap = self._check - state[2]
        opens = (gap <= 0.0) & (outer < gap)
        drawn = (rod_push + rod_rate * CHECK_SLOPE * gap) / (1.0 + 0.5 * rod_rate * (left + CHECK_SLOPE))
        change = np.stack((pump, inner, np.where(opens, drawn, outer)))
        return np.asarray(state[:3] + change)

    def _kick(self, state: Array, velocity: Array, step: float) -> Array:
        """Velocity after a kick by the pressures; the resistance acts with the mean velocity (two Newton steps)."""
        inertia = 2.0 * self.load.mass / step
        push, mean = self._push(state), velocity
        for _ in range(2):
            ratio = np.tanh(mean / SMOOTH_M_S)
            slope = inertia + self._coulomb / SMOOTH_M_S * (1.0 - ratio * ratio) + self._viscous
            slope = slope + STOP_DAMPING * ((state[4] > self.stroke) | (state[4] < 0.0))
            rest = inertia * (mean - velocity) + self._resistance(mean, state[4]) - push
            mean = mean - rest / slope
        return np.asarray(2.0 * mean - velocity)


def capture(circuit: BoomCircuit, state: Array, commands: Array, *, steps: int = 2) -> Array:
    """States (N, 7, B) at 100 Hz under spool commands (N, B), each held for 10 ms and solved in ``steps`` steps."""
    fine = np.repeat(commands, steps, axis=0)
    return circuit.run(state, fine, 1.0 / (CAPTURE_HZ * steps))[steps::steps]
