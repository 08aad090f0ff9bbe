"""Feed drives: X, Y, Z with ball screws, A and C with torque motors, each in a position loop."""

from typing import NamedTuple

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import axes
from gnn_service.physics.drives import copper_loss, inverter_loss, iron_loss, torque_constant, winding_resistance

LINEAR = ("x_axis", "y_axis", "z_axis")
ROTARY = ("a_axis", "c_axis")
SMOOTH = 5e-4
"""Speed (m/s or rad/s) below which friction fades to nothing."""
# shares of the tangential cutting force that X, Y and Z feel
FORCE_SHARES = np.array([0.5, 0.3, 0.3])[:, None]
VERTICAL = np.array([0.0, 0.0, 1.0])[:, None]


class FeedLoad(NamedTuple):
    """What the axes do in a step; rows are axes: W, A and m or rad of following error."""

    power: Array
    current: Array
    rotary_power: Array
    rotary_current: Array
    guide: Array
    screw: Array
    brake: Array
    motor: Array
    rotary_friction: Array
    rotary_motor: Array
    inverter: Array
    process: Array
    acceleration: Array
    push: Array


class Feed:
    """The five axes of B machines."""

    def __init__(self, size: int) -> None:
        self.lost = np.zeros((5, size))
        self.error = np.zeros((5, size))
        self.direction = np.zeros((5, size))

    def set_parameters(self, p: Parameters, step_s: float) -> None:
        """Take over the parameters of the axes and of their lubrication."""
        names = {name.partition(".")[2] for name in p if name.startswith("x_axis.")}
        self.l = {name: np.stack([p[f"{axis}.{name}"] for axis in LINEAR]) for name in names}
        names = {name.partition(".")[2] for name in p if name.startswith("c_axis.")}
        self.r = {name: np.stack([p[f"{axis}.{name}"] for axis in ROTARY]) for name in names}
        q = self.l
        supply = p["lubrication_unit.pulse_volume"] / p["lubrication_unit.rated_volume"]
        self.friction = axes.starved_friction(q["friction_coefficient"], q["dry_coefficient"], supply)
        weight = q["mass"] * axes.GRAVITY
        self.normal = q["guide_preload"] + weight * (1.0 - VERTICAL)
        self.weight = weight * VERTICAL
        nothing = np.zeros_like(weight[0])
        self.brake = np.stack([nothing, nothing, p["z_axis.brake_drag"]])
        self.steady = axes.preload_torque(q["preload"], q["screw_lead"], q["preload_coefficient"]) + q["seal_torque"]
        self.stiffness = axes.nut_stiffness(q["nut_stiffness"], q["preload"] / q["rated_preload"])
        # at the slow reversal the guides give their sliding friction
        self.reversal = axes.lost_motion(q["backlash"], self.friction * self.normal, self.stiffness)
        self.lost_way = np.concatenate([self.reversal, self.r["friction_error"]])
        self.loop = np.concatenate([q["loop_time"], self.r["loop_time"]])
        self.loop_decay = np.exp(-step_s / self.loop)
        self.error_per_acceleration = np.concatenate([q["acceleration_error"], self.r["acceleration_error"]])
        self.loss_share = q["screw_lead"] / axes.TURN * (1.0 / q["screw_efficiency"] - 1.0)
        self.ratio = axes.TURN / q["screw_lead"]

    def warm(self, motors_k: Array, rotary_k: Array) -> None:
        """Properties at these temperatures (K), (3, B) and (2, B), once a second."""
        self.kt = torque_constant(self.l["torque_constant"], motors_k)
        self.resistance = winding_resistance(self.l["resistance"], motors_k)
        self.rotary_kt = torque_constant(self.r["torque_constant"], rotary_k)
        self.rotary_resistance = winding_resistance(self.r["resistance"], rotary_k)

    def load(self, start: Array, end: Array, way: Array, force: Array, drives: Array, step_s: float) -> FeedLoad:
        """Torques, currents and losses in a step.

        ``start`` and ``end`` are velocities (5, B), ``way`` the distance (5, B), ``force`` the tangential cutting
        force (B,) in N, ``drives`` 0 where the brakes hold.
        """
        acceleration = (end - start) / step_s
        mean = way / step_s
        sign = axes.direction(mean, SMOOTH)
        q, v, a, s = self.l, mean[:3], acceleration[:3], sign[:3]
        w = v * self.ratio
        factor = axes.stribeck_factor(v, q["stribeck_rise"], q["stribeck_velocity"])
        guide = axes.guide_friction(self.friction, self.normal, factor) * s
        push = FORCE_SHARES * force * s
        axial = q["mass"] * a + self.weight + push + guide
        screw = (self.steady + self.loss_share * abs(axial)) * s + q["viscous"] * w
        brake = self.brake * s
        torque = (axial * q["screw_lead"] / axes.TURN + q["inertia"] * a * self.ratio + screw + brake) * drives
        current = torque / self.kt
        # mean of torque times speed over the step: what is accelerated follows its own energy
        inertia = q["mass"] * a / self.ratio + q["inertia"] * a * self.ratio
        shaft = torque * w + inertia * drives * self.ratio * (0.5 * (start[:3] + end[:3]) - v)
        motor = copper_loss(self.resistance, current) + iron_loss(w, q["iron_hysteresis"], q["iron_eddy"])
        inverter = inverter_loss(shaft, current)
        t = self._rotary(mean[3:], acceleration[3:], sign[3:], 0.5 * (start[3:] + end[3:]))
        return FeedLoad(
            shaft + motor + inverter, current, t[0], t[1], guide * v, screw * w, brake * w, motor, t[2], t[3],
            inverter[0] + inverter[1] + inverter[2] + t[4][0] + t[4][1], push * v, acceleration, push,
        )  # fmt: skip

    def _rotary(self, w: Array, a: Array, s: Array, middle: Array) -> tuple[Array, Array, Array, Array, Array]:
        r = self.r
        friction = r["friction_torque"] * s + r["viscous"] * w
        torque = r["inertia"] * a + friction
        current = torque / self.rotary_kt
        copper = copper_loss(self.rotary_resistance, current)
        shaft = friction * w + r["inertia"] * a * middle
        inverter = inverter_loss(shaft, current)
        return shaft + copper + inverter, current, friction * w, copper, inverter

    def follow(self, way: Array, load: FeedLoad, step_s: float) -> Array:
        """Mean following errors (5, B) in m and rad: what the loops leave of acceleration, force and reversals."""
        sign = np.sign(way)
        turned = (sign != 0) & (sign != self.direction) & (self.direction != 0)
        self.direction = np.where(sign != 0, sign, self.direction)
        self.lost = self.lost + np.where(turned, sign * self.lost_way, 0.0)
        left = self.lost * self.loop_decay
        mean = (self.lost - left) * (self.loop / step_s)
        self.lost = left
        error = mean + self.error_per_acceleration * load.acceleration
        error[:3] += load.push / self.l["servo_stiffness"]
        return np.asarray(error)

    def kinetic(self, velocity: Array) -> Array:
        """Energy of motion, J (B,), of all axes at these velocities (5, B)."""
        q, r = self.l, self.r
        linear = axes.kinetic_energy(q["mass"], q["inertia"], q["screw_lead"], velocity[:3])
        rotary = 0.5 * r["inertia"] * velocity[3:] * velocity[3:]
        return np.asarray(linear[0] + linear[1] + linear[2] + rotary[0] + rotary[1])
