"""One feed drive in full dynamics, and the waveform of the spindle's vibration: what captures at high rates show.

Rotor and table are two masses on the ball screw's spring, with backlash and friction, in a cascade of position,
velocity and current loops (the last ideal). Integration is a leap-frog whose velocity-dependent terms are trapezoidal
and implicit (E. Hairer, C. Lubich, G. Wanner, *Geometric Numerical Integration*, 2006): of second order, and without
damping of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.demo.streams import Key, Purpose
from gnn_service.physics import axes, bearings

SMOOTH = 2e-3
"""Speed (m/s) below which friction is regularised."""
FINEST = 0.5
"""Longest internal step, in radians of the fastest vibration."""
POSITION_GAIN, VELOCITY_RATE, INTEGRAL_RATE = 50.0, 300.0, 60.0
"""Gains of the loops, 1/s: position, velocity (over the moved mass) and its integral."""
DAMPING = 0.03
"""Damping of the screw's spring, as a share of the critical one."""
WAVEFORM_HZ = 25_600.0
RESONANCE_HZ, RESONANCE_DECAY = 5_200.0, 3_000.0
_WAVEFORM_BLOCK = 1 << 41


class AxisState(NamedTuple):
    """Positions (m), velocities (m/s) of rotor (as a way of the table) and table, and the integrator (m), (B,)."""

    rotor: Array
    rotor_speed: Array
    table: Array
    table_speed: Array
    integral: Array


class Command(NamedTuple):
    """Commanded position (m), velocity (m/s) and acceleration (m/s2)."""

    position: Array
    velocity: Array
    acceleration: Array


@dataclass(frozen=True, slots=True)
class AxisModel:
    """The feed drive of B machines; every field is (B,), forces and masses as the table feels them."""

    rotor_mass: Array
    table_mass: Array
    stiffness: Array
    damping: Array
    backlash: Array
    screw_friction: Array
    screw_viscous: Array
    screw_loss: Array
    guide_friction: Array
    stribeck_rise: Array
    stribeck_velocity: Array
    weight: Array
    most_force: Array
    force_per_ampere: Array

    @classmethod
    def of(cls, parameters: Parameters, axis: str) -> "AxisModel":
        """The model of ``x_axis``, ``y_axis`` or ``z_axis`` with these parameters (SI)."""
        q = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith(f"{axis}.")}
        vertical = axis == "z_axis"
        ratio = axes.TURN / q["screw_lead"]
        supply = parameters["lubrication_unit.pulse_volume"] / parameters["lubrication_unit.rated_volume"]
        friction = axes.starved_friction(q["friction_coefficient"], q["dry_coefficient"], supply)
        weight = q["mass"] * axes.GRAVITY
        normal = q["guide_preload"] + (0.0 if vertical else weight)
        stiffness = axes.nut_stiffness(q["nut_stiffness"], q["preload"] / q["rated_preload"])
        rotor = q["inertia"] * ratio * ratio
        reduced = rotor * q["mass"] / (rotor + q["mass"])
        steady = axes.preload_torque(q["preload"], q["screw_lead"], q["preload_coefficient"]) + q["seal_torque"]
        return cls(
            rotor_mass=rotor,
            table_mass=q["mass"],
            stiffness=stiffness,
            damping=2.0 * DAMPING * np.sqrt(stiffness * reduced),
            backlash=q["backlash"],
            screw_friction=(steady + (q["brake_drag"] if vertical else 0.0)) * ratio,
            screw_viscous=q["viscous"] * ratio * ratio,
            screw_loss=1.0 / q["screw_efficiency"] - 1.0,
            guide_friction=axes.guide_friction(friction, normal),
            stribeck_rise=q["stribeck_rise"],
            stribeck_velocity=q["stribeck_velocity"],
            weight=weight if vertical else np.zeros_like(weight),
            most_force=q["peak_torque"] * ratio,
            force_per_ampere=q["torque_constant"] * ratio,
        )

    @property
    def moved(self) -> Array:
        """Rotor and table together, kg."""
        return self.rotor_mass + self.table_mass

    def frequency(self) -> Array:
        """Fastest vibration, rad/s: rotor against table."""
        return np.asarray(np.sqrt(self.stiffness * self.moved / (self.rotor_mass * self.table_mass)))

    def at_rest(self) -> AxisState:
        """Standing at 0, the weight carried by the screw and the integrator."""
        stretch = self.weight / self.stiffness + np.where(self.weight > 0, 0.5 * self.backlash, 0.0)
        nothing = np.zeros_like(stretch)
        return AxisState(stretch, nothing, nothing, nothing, self.weight / (self.moved * VELOCITY_RATE * INTEGRAL_RATE))

    def spring(self, stretch: Array) -> Array:
        """Force of the screw (N): nothing within the backlash."""
        half = 0.5 * self.backlash
        return np.asarray(self.stiffness * (stretch - np.clip(stretch, -half, half)))

    def friction(self, rotor: Array, table: Array, spring: Array) -> tuple[Array, Array]:
        """Friction over velocity (N s/m) of the screw under its load and of the guides, at these velocities."""
        sliding = self.guide_friction * axes.stribeck_factor(table, self.stribeck_rise, self.stribeck_velocity)
        return (
            self.screw_viscous
            + (self.screw_friction + self.screw_loss * abs(spring)) / np.sqrt(rotor * rotor + SMOOTH * SMOOTH),
            sliding / np.sqrt(table * table + SMOOTH * SMOOTH),
        )

    def drive(self, state: AxisState, command: Command) -> tuple[Array, Array]:
        """Force of the motor (N), and the speed error (m/s) that feeds the integrator (0 at the torque limit)."""
        wanted = command.velocity + POSITION_GAIN * (command.position - state.table)
        error = wanted - state.rotor_speed
        force = self.moved * (command.acceleration + VELOCITY_RATE * (error + INTEGRAL_RATE * state.integral))
        held = np.clip(force, -self.most_force, self.most_force)
        return held, np.where(force == held, error, 0.0)

    def rates(self, state: AxisState, command: Command) -> AxisState:
        """Time derivative of the state: the equations themselves, for reference solutions."""
        force, error = self.drive(state, command)
        spring = self.spring(state.rotor - state.table)
        spring = spring + self.damping * (state.rotor_speed - state.table_speed)
        screw, guide = self.friction(state.rotor_speed, state.table_speed, spring)
        return AxisState(
            state.rotor_speed,
            (force - spring - screw * state.rotor_speed) / self.rotor_mass,
            state.table_speed,
            (spring - self.weight - guide * state.table_speed) / self.table_mass,
            error,
        )


def axis_step(model: AxisModel, state: AxisState, command: Command, step_s: float) -> tuple[AxisState, Array]:
    """One step under the command at its middle; the new state and the motor's mean force (N)."""
    half = 0.5 * step_s
    rotor, table = state.rotor + half * state.rotor_speed, state.table + half * state.table_speed
    spring = model.spring(rotor - table)
    start = AxisState(rotor, state.rotor_speed, table, state.table_speed, state.integral)
    v, u = state.rotor_speed, state.table_speed
    force = np.zeros_like(v)
    error = force
    for _ in range(3):
        force, error = model.drive(start._replace(rotor_speed=v, integral=state.integral + half * error), command)
        gain = np.where(abs(force) < model.most_force, model.moved * VELOCITY_RATE * (1.0 + INTEGRAL_RATE * half), 0.0)
        screw, guide = model.friction(v, u, spring)
        # mean velocities v, u of the step: M (v - v0) = half (F0 - c v + d (u - v)), the motor's part of F linear in v
        a11 = model.rotor_mass + half * (gain + screw + model.damping)
        a22 = model.table_mass + half * (guide + model.damping)
        a12 = half * model.damping
        b1 = model.rotor_mass * state.rotor_speed + half * (force + gain * v - spring)
        b2 = model.table_mass * state.table_speed + half * (spring - model.weight)
        determinant = a11 * a22 - a12 * a12
        v, u = (b1 * a22 + b2 * a12) / determinant, (b2 * a11 + b1 * a12) / determinant
    force, error = model.drive(start._replace(rotor_speed=v, integral=state.integral + half * error), command)
    end_v, end_u = 2.0 * v - state.rotor_speed, 2.0 * u - state.table_speed
    integral = state.integral + step_s * error
    return AxisState(rotor + half * end_v, end_v, table + half * end_u, end_u, integral), force


def to_and_fro(time: Array, stroke: Array, speed: Array, acceleration: Array) -> Command:
    """The command of an axis that goes to and fro; the acceleration is that of the next and last 10 us."""
    before, after = (axes.zigzag(time + shift, stroke, speed, acceleration).velocity for shift in (-1e-5, 1e-5))
    now = axes.zigzag(time, stroke, speed, acceleration)
    return Command(now.position, now.velocity, (after - before) / 2e-5)


def simulate_axis(
    parameters: Parameters, axis: str, seconds: float, *, speed: float = 10.0 / 60.0, stroke: float = 0.3,
    acceleration: float = 3.0, step_s: float = 0.002,
) -> tuple[Array, dict[str, Array]]:  # fmt: skip
    """An axis that goes to and fro, as in the reversal test: times (N,) in s, and readings by sensor id, (N, B).

    Readings are in the sensors' own units: ``v`` (commanded, mm/s), ``i`` (A), ``follow_err`` (um) and, beside the
    description's sensors, ``position`` (mm) of the table. Strokes in m, speed in m/s; steps of 2 to 5 ms are divided
    as far as the axis' vibration needs.
    """
    model = AxisModel.of(parameters, axis)
    parts = int(np.ceil(step_s * float(model.frequency().max()) / FINEST))
    inner = step_s / parts
    state, count = model.at_rest(), round(seconds / step_s)
    size = len(model.weight)
    times = np.asarray(np.arange(1, count + 1) * step_s, dtype=np.float64)
    names = ("v", "i", "follow_err", "position")
    out = {f"{axis}.{name}": np.empty((count, size)) for name in names}
    move = (np.full(size, stroke), np.full(size, speed), np.full(size, acceleration))
    for number in range(count):
        mean = np.zeros(size)
        for part in range(parts):
            middle = np.full(size, number * step_s + (part + 0.5) * inner)
            state, force = axis_step(model, state, to_and_fro(middle, *move), inner)
            mean = mean + force / parts
        now = axes.zigzag(np.full(size, (number + 1) * step_s), *move)
        readings = (
            now.velocity * 1e3, mean / model.force_per_ampere, (now.position - state.table) * 1e6, state.table * 1e3,
        )  # fmt: skip
        for name, values in zip(names, readings, strict=True):
            out[f"{axis}.{name}"][number] = values
    return times, out


def spindle_waveform(
    values: Mapping[str, float], key: Key, *, speed: float, seconds: float = 0.5, rate_hz: float = WAVEFORM_HZ
) -> tuple[Array, Array]:
    """Acceleration (m/s2) at the spindle's nose without a cut: times and values (N,).

    ``values`` are one machine's parameters (SI), ``speed`` in revolutions a second. Five orders of the shaft, the
    structure's ringing under the impacts of a spalled outer race, and noise; a spall that has spread over the race
    (severity beyond a third) strikes faster than its ringing dies and so looks more and more like noise.
    """
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    random = key.stream(Purpose.NOISE, _WAVEFORM_BLOCK)
    p = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("spindle.")}
    w = axes.TURN * speed
    orders = p["unbalance"] * speed * np.sqrt(2.0) * np.array([1.0, 0.3, 0.15, 0.1, 0.05])
    shaft = bearings.harmonics(time, speed, orders * w * np.arange(1, 6))
    healthy = p["acceleration_per_speed"] * speed
    noise = healthy * random.standard_normal(len(time))
    severity = np.float64(p["bearing_defect"])
    grown = float(bearings.acceleration_factor(np.asarray(severity)))
    geometry = (p["bearing_balls"], p["bearing_ball_diameter"], p["bearing_pitch_diameter"], p["bearing_contact_angle"])
    rate = float(bearings.defect_frequencies(*geometry).bpfo) * speed
    slip = 0.01 + 0.01 * random.random(int(seconds * rate) + 2)
    ringing = bearings.impacts(time, rate, slip, resonance=RESONANCE_HZ, decay=RESONANCE_DECAY)
    ringing = ringing / max(float(np.sqrt(np.mean(ringing * ringing))), 1e-12)
    excess = healthy * np.sqrt(grown * grown - 1.0)
    # what the spread damage adds is as irregular as noise
    spread = float(np.clip((severity - 0.35) / 0.65, 0.0, 1.0))
    rough = random.standard_normal(len(time))
    defect = excess * (np.sqrt(1.0 - spread * spread) * ringing + spread * rough)
    return time, np.asarray(shaft + noise + defect)
