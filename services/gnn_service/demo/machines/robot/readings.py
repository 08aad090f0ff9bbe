"""What perfect sensors of the robot would show, each in its own unit."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.air import Air
from gnn_service.demo.machines.robot.arm import JOINTS, Arm, Moves
from gnn_service.demo.machines.robot.duty import WAITING
from gnn_service.demo.machines.robot.heat import Heat
from gnn_service.demo.machines.robot.joints import Joints, Work
from gnn_service.demo.machines.robot.pace import SPIKES, Pace, Place
from gnn_service.demo.plant import Array, Parameters
from gnn_service.domain.shipped import shipped_machine
from gnn_service.physics.robot import GRAVITY

CELSIUS, BAR = 273.15, 1e5
LITRES_A_MINUTE = 6e4
DEGREES = 180.0 / np.pi
LAG_S = 0.9e-4
"""Lag that the drive's feed-forward leaves behind the command."""
ELASTIC_SHARE, GAP_SHARE = 0.12, 0.4
"""Of the gear's twist and its backlash that remains as following error at the joint.

The command is corrected for the twist of a gear of nominal stiffness; what a softer one twists more remains whole.
"""
FLOOR_G, MESH_SPEED, MESH_LOAD = 0.01, 100.0, 0.5
"""Vibration at standstill, g; motor speed of the nominal vibration, rad/s; how much more of it at rated torque."""
IMPACT_RADIUS_M, CONTACT_S, WINDOW_S = 0.15, 2.0e-3, 0.05
"""Where teeth meet after the backlash, how long, and over what the impact's RMS is taken."""
PITTING_PEAK, KURTOSIS_RISE, KURTOSIS_SPEED = 0.35, 9.0, 20.0
"""Kurtosis is highest at this pitting and falls again when damage is everywhere; full effect from this speed, rad/s."""
ENCODER_WINDOW = 60.0 / DEGREES
"""Half of the range of A4 in which its cable is bent most, about 0."""


class Readings:
    """Writes the sensors of B robots into (N, S, B) arrays."""

    def __init__(self, arm: Arm, joints: Joints, parameters: Parameters, ambient_k: Array) -> None:
        self.index = {sensor: place for place, sensor in enumerate(shipped_machine("robot").sensor_ids)}
        self._joints, self._ambient = joints, ambient_k - CELSIUS

        def of(part: str, name: str) -> list[Array]:
            return [parameters[f"j{joint + 1}_{part}.{name}"] for joint in JOINTS]

        self._servo = of("motor", "servo_stiffness")
        nominal = of("reducer", "stiffness_nominal")
        self._twist = [
            ELASTIC_SHARE / known + (1.0 / real - 1.0 / known)
            for real, known in zip(of("reducer", "stiffness"), nominal, strict=True)
        ]
        self._backlash = of("reducer", "backlash")
        self._half_gap = [0.5 * GAP_SHARE * gap for gap in self._backlash]
        self._rated = of("reducer", "rated_torque")
        self._mesh = {joint: parameters[f"j{joint + 1}_reducer.mesh_vibration"] / GRAVITY for joint in (1, 2)}
        pitting = {joint: parameters[f"j{joint + 1}_reducer.pitting"] / PITTING_PEAK for joint in (1, 2)}
        self._peaked = {joint: KURTOSIS_RISE * x * np.exp(1.0 - x) for joint, x in pitting.items()}
        self._error, self._rate = parameters["j4_motor.encoder_error"], parameters["j4_motor.encoder_rate"]

    def joints(
        self,
        values: NDArray[np.float32],
        moves: Moves,
        torques: list[Array],
        work: Work,
        spikes: Array | None,
        step_s: float,
    ) -> None:
        """Angles, speeds, currents, following errors and vibration."""
        for joint in JOINTS:
            q, qd, motor = moves.q[joint], moves.qd[joint], f"j{joint + 1}_motor"
            sign = work.sign[joint]
            follow = LAG_S * qd + sign * (work.friction[joint] / self._servo[joint] + self._half_gap[joint])
            follow = follow + self._twist[joint] * torques[joint]
            if joint == 3 and spikes is not None:
                false = self._false_angle(q, qd, spikes, step_s)
                q, follow = q + false, follow + false
            values[:, self.index[f"{motor}.q"]] = DEGREES * q
            values[:, self.index[f"{motor}.qd"]] = DEGREES * qd
            values[:, self.index[f"{motor}.i_q"]] = work.current[joint]
            values[:, self.index[f"{motor}.follow_err"]] = DEGREES * follow
            if joint in self._mesh:
                self._vibration(values, joint, moves, torques, work)

    def heat(self, values: NDArray[np.float32], heat: Heat, share: Array) -> None:
        """Temperatures and fans at shares (K, 1) of the second."""
        (winding, winding_end), (gear, gear_end), (cabinet, cabinet_end) = heat.spans
        for joint in JOINTS:
            rise = winding_end[joint] - winding[joint]
            values[:, self.index[f"j{joint + 1}_motor.t_motor"]] = winding[joint] - CELSIUS + rise * share
            if joint < 3:
                rise = gear_end[joint] - gear[joint]
                values[:, self.index[f"j{joint + 1}_reducer.t_gear"]] = gear[joint] - CELSIUS + rise * share
        values[:, self.index["drive_cabinet.t"]] = cabinet - CELSIUS + (cabinet_end - cabinet) * share
        values[:, self.index["drive_cabinet.t_igbt"]] = heat.igbt_k - CELSIUS + (cabinet_end - cabinet) * share
        values[:, self.index["drive_cabinet.fan"]] = 60.0 * heat.fan_speed
        values[:, self.index["drive_cabinet.t_ambient"]] = self._ambient

    def cell(self, values: NDArray[np.float32], gas_pa: Array, pace: Pace, place: Place) -> None:
        """Gas spring, part, program and override."""
        now, following, later = pace.now, pace.next, place.later
        script = np.where(later, following.script, now.script)
        values[:, self.index["counterbalance.p"]] = gas_pa / BAR
        values[:, self.index["gripper.payload"]] = np.where(later, following.payload, now.payload)
        values[:, self.index["drive_cabinet.program"]] = np.where(script < WAITING, script + 1, 0)
        values[:, self.index["drive_cabinet.override"]] = 100.0 * np.where(later, following.override, now.override)

    def air(
        self,
        values: NDArray[np.float32],
        air: Air,
        place: Place,
        gripper: tuple[Array, Array],
        supply: tuple[Array, Array],
    ) -> None:
        """Gripper: pressure (Pa) and its loss (Pa/s); supply: absolute pressure (Pa) and free air drawn (m3/s)."""
        grips = place.gripping
        values[:, self.index["gripper.p"]] = gripper[0] / BAR
        values[:, self.index["gripper.p_decay"]] = gripper[1] / BAR
        values[:, self.index["gripper.t_close"]] = np.where(grips, air.close_s, np.nan)
        values[:, self.index["gripper.t_open"]] = np.where(grips, air.open_s, np.nan)
        values[:, self.index["pneumatic_supply.p"]] = (supply[0] - air.atmosphere) / BAR
        values[:, self.index["pneumatic_supply.flow"]] = LITRES_A_MINUTE * supply[1]

    def power(self, values: NDArray[np.float32], voltage: Array, mains_w: Array) -> None:
        """Bus and mains."""
        values[:, self.index["drive_cabinet.u_dc"]] = voltage
        values[:, self.index["drive_cabinet.p_in"]] = 1e-3 * mains_w

    def _false_angle(self, q: Array, qd: Array, spikes: Array, step_s: float) -> Array:
        """What a bad cable adds to the angle of A4, rad: one sample each time that it is bent through a bad spot."""
        false = np.zeros_like(q)
        half = 0.5 * step_s * abs(qd)
        for spot in range(SPIKES):
            at = ENCODER_WINDOW * (2.0 * spikes[spot] - 1.0)
            draw = spikes[SPIKES + spot]
            hit = (abs(q - at) < half) & (draw < self._rate)
            false = false + np.where(hit, np.where(spikes[spot] * 16.0 % 1.0 < 0.5, -self._error, self._error), 0.0)
        return false

    def _vibration(
        self, values: NDArray[np.float32], joint: int, moves: Moves, torques: list[Array], work: Work
    ) -> None:
        speed, sign = abs(work.speed[joint]), work.sign[joint]
        load = 1.0 + MESH_LOAD * abs(torques[joint]) / self._rated[joint]
        mesh = self._mesh[joint] * load * speed / MESH_SPEED
        # teeth meet with sqrt(2 a gap) after a free flight through the gap; their impact is spread over the window
        closing = 2.0 * abs(moves.qdd[joint]) * self._backlash[joint] * (1.0 - sign * sign)
        impact = closing * (IMPACT_RADIUS_M / GRAVITY) ** 2 / (CONTACT_S * WINDOW_S)
        values[:, self.index[f"j{joint + 1}_reducer.vib"]] = np.sqrt(FLOOR_G**2 + mesh * mesh + impact)
        moving = np.minimum(speed / KURTOSIS_SPEED, 1.0)
        values[:, self.index[f"j{joint + 1}_reducer.kurtosis"]] = 3.0 + self._peaked[joint] * moving
