"""The motor spindle: torque, losses and the vibration of its bearings."""

from typing import NamedTuple

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import bearings
from gnn_service.physics.drives import copper_loss, inverter_loss, iron_loss, torque_constant, winding_resistance
from gnn_service.physics.fluid import Walther, kinematic_viscosity, walther

TURN = 2.0 * np.pi
RUNNING = 2_000.0 / 60.0
"""Speed (1/s) from which the vibration indicators are fully developed."""


class SpindleLoad(NamedTuple):
    """What the spindle does in a step, (B,): N m, W and A."""

    torque: Array
    power: Array
    current: Array
    front: Array
    rear: Array
    motor: Array
    inverter: Array
    cutting: Array


class Vibration(NamedTuple):
    """Indicators, (B,): m/s, m/s2, 1, m/s2."""

    velocity: Array
    acceleration: Array
    kurtosis: Array
    envelope: Array


class Spindle:
    """Speed of B spindles and what turning them takes."""

    def __init__(self, size: int) -> None:
        self.speed = np.zeros(size)
        self.viscosity_front, self.viscosity_rear = np.zeros(size), np.zeros(size)
        self.kt, self.resistance = np.ones(size), np.ones(size)

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of `spindle` and `tool_clamp`."""
        self.p = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("spindle.")}
        q = self.p
        self.grade: Walther = walther(q["viscosity_40"], q["viscosity_100"])
        self.load_front = bearings.load_torque(q["bearing_preload"], q["bearing_pitch_diameter"], q["bearing_f1"])
        self.front_factor = q["bearings_front"] * q["bearing_friction"]
        defect = q["bearing_defect"]
        self.spall_velocity = q["vibration_base"] * (bearings.velocity_factor(defect) - 1.0)
        self.spall_acceleration = bearings.acceleration_factor(defect)
        self.spall_kurtosis = bearings.kurtosis(defect) - 3.0
        self.spall_envelope = bearings.envelope_rise(defect, q["envelope_full"])
        # a drawbar that pulls less lets the taper sit less true, and gives way earlier under the cutter
        grip = p["tool_clamp.clamp_force"] / p["tool_clamp.rated_force"]
        self.unbalance = q["unbalance"] * (1.0 + 2.0 * np.maximum(1.0 - grip, 0.0))
        self.stable_power = q["stable_power"] * grip

    def warm(self, front_k: Array, rear_k: Array, stator_k: Array) -> None:
        """Properties at these temperatures (K), once a second."""
        self.viscosity_front = np.asarray(kinematic_viscosity(front_k, self.grade))
        self.viscosity_rear = np.asarray(kinematic_viscosity(rear_k, self.grade))
        self.kt = torque_constant(self.p["torque_constant"], stator_k)
        self.resistance = winding_resistance(self.p["resistance"], stator_k)

    def ramp(self, wanted: Array, derate: Array, step_s: float) -> Array:
        """Speed (1/s) at the end of a step."""
        most = self.p["ramp"] * derate / TURN * step_s
        return np.asarray(self.speed + np.minimum(np.maximum(wanted - self.speed, -most), most))

    def load(self, start: Array, end: Array, cutting: Array, step_s: float) -> SpindleLoad:
        """Torques and losses in a step from one speed (1/s) to another with this power (W) at the edge."""
        q = self.p
        n = 0.5 * (start + end)
        w = TURN * n
        turning = np.minimum(n / 1.0, 1.0)
        torque_of = bearings.viscous_torque
        dm, f0 = q["bearing_pitch_diameter"], q["bearing_f0"]
        front = self.front_factor * (torque_of(self.viscosity_front, n, dm, f0) + self.load_front) * turning
        rear = q["bearings_rear"] * (torque_of(self.viscosity_rear, n, dm, f0) + self.load_front) * turning
        cut = cutting / np.maximum(w, 1.0)
        torque = cut + front + rear + q["inertia"] * TURN * (end - start) / step_s
        current = torque / self.kt
        motor = copper_loss(self.resistance, current) + iron_loss(w, q["iron_hysteresis"], q["iron_eddy"])
        shaft = torque * w
        inverter = inverter_loss(shaft, current)
        return SpindleLoad(torque, shaft + motor + inverter, current, front * w, rear * w, motor, inverter, cut * w)

    def vibration(self, n: Array, cutting: Array) -> Vibration:
        """What sensors on the spindle's nose show at a speed (1/s) under a cutting power (W).

        A cut that takes more than the clamped tool bears chatters; its noise also hides a bearing's impacts.
        """
        q = self.p
        run = np.minimum(n / RUNNING, 1.0)
        share = cutting / q["process_power"]
        chatter = 1.0 + 5.0 * np.maximum(cutting / self.stable_power - 1.0, 0.0)
        process = share * chatter
        velocity = bearings.vibration_velocity(
            q["vibration_base"] * (0.1 + 0.9 * run), self.unbalance * n, q["process_velocity"] * process,
            self.spall_velocity * run,
        )  # fmt: skip
        own = q["acceleration_per_speed"] * n * self.spall_acceleration
        foreign = q["process_acceleration"] * process
        squared = own * own + foreign * foreign + 0.04
        kurtosis = 3.0 + self.spall_kurtosis * run * (own * own / squared)
        envelope = (q["envelope_base"] + self.spall_envelope) * run + 0.05 * foreign
        return Vibration(velocity, np.sqrt(squared), kurtosis, envelope)

    def kinetic(self) -> Array:
        """Energy of rotation, J."""
        w = TURN * self.speed
        return np.asarray(0.5 * self.p["inertia"] * w * w)
