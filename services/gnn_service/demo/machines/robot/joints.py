"""Motors and reducers of the six joints: friction, current and losses of a scripted motion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.arm import JOINTS, Moves
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import drives, robot

NOMINAL_K, COLD_SCALE_K = 313.15, 30.0
SMALL_SPEED = 1.0
"""Motor speed below which friction has no settled sign, rad/s."""
Push = list[tuple[NDArray[np.bool_], Array]]

HEATS = 20
"""Rows of `Work.heat`: copper; iron, brake's drag and coil; gear friction, six each; inverters; power of the bus."""
INVERTERS, BUS = 18, 19


@dataclass(frozen=True, slots=True)
class Work:
    """What the joints do in (K, B) steps.

    ``current`` (A), ``speed`` of the motors (rad/s), smooth ``sign`` of it and ``friction`` (N m, at the motor,
    without the mesh) are lists of six; ``heat`` (20, K, B) in W: rows 0 to 5 windings, 6 to 11 housings, 12 to 17
    gears, then all inverters, then what the drives take from the bus; ``drag`` (6, K, B) is a share of the housings'.
    """

    current: list[Array]
    speed: list[Array]
    sign: list[Array]
    friction: list[Array]
    heat: Array
    drag: Array


def total(rows: Array) -> Array:
    """Sum over the first axis, in its order; NumPy's own order depends on the shape of the batch."""
    result: Array = rows[0]
    for row in rows[1:]:
        result = result + row
    return result


class Joints:
    """Parameters of six joints of B robots, and what depends on temperature alone."""

    def __init__(self, parameters: Parameters) -> None:
        def motor(name: str) -> list[Array]:
            return [parameters[f"j{joint + 1}_motor.{name}"] for joint in JOINTS]

        def gear(name: str) -> list[Array]:
            return [parameters[f"j{joint + 1}_reducer.{name}"] for joint in JOINTS]

        self.kt20, self.r20 = np.stack(motor("torque_constant")), np.stack(motor("resistance"))
        self.rotor, self.hysteresis, self.eddy = motor("rotor_inertia"), motor("iron_hysteresis"), motor("iron_eddy")
        self.ratio, self.drag, self.coil = gear("ratio"), motor("brake_drag"), motor("brake_coil")
        self.driving = [1.0 / efficiency - 1.0 for efficiency in gear("efficiency")]
        self.driven = [1.0 - efficiency for efficiency in gear("efficiency")]
        self.coulomb, self.load = gear("coulomb_friction"), gear("load_friction")
        self.hump, self.hump_speed = gear("stribeck_friction"), gear("stribeck_speed")
        self.viscous_40, self.cold_share = np.stack(gear("viscous_friction")), np.stack(gear("cold_share"))
        self.idle = 6.0 * parameters["drive_cabinet.inverter_idle"]
        self.switching = parameters["drive_cabinet.inverter_switching"]
        self.drop = parameters["drive_cabinet.inverter_drop"]

    def warm(self, winding_k: Array, gear_k: Array) -> None:
        """Take over temperatures (6, B) of windings and gears, K."""
        self.kt = drives.torque_constant(self.kt20, winding_k)
        self.resistance = drives.winding_resistance(self.r20, winding_k)
        self.viscous = robot.viscous_friction(
            self.viscous_40, gear_k, cold_share=self.cold_share, nominal_k=NOMINAL_K, scale_k=COLD_SCALE_K
        )

    def work(self, moves: Moves, torques: list[Array], driven: Array, test: Push | None = None) -> Work:
        """Currents and losses for a motion and its joint torques; ``driven`` is 0 where brakes hold the arm.

        ``test`` holds for each motor where a test adds to its torque, and how much (N m).
        """
        shape = moves.q[0].shape
        heat, drag = np.empty((HEATS, *shape)), np.empty((6, *shape))
        currents, speeds, signs, frictions = [], [], [], []
        inverters, taken = self.idle * driven, np.zeros(shape)
        for joint in JOINTS:
            speed = self.ratio[joint] * moves.qd[joint]
            torque = torques[joint] / self.ratio[joint]
            friction, mesh, sign = self._friction(joint, speed, torque)
            acceleration = self.rotor[joint] * self.ratio[joint] * moves.qdd[joint]
            motor = (torque + acceleration + sign * (friction + mesh)) * driven
            if test is not None:
                motor = np.where(test[joint][0], motor + test[joint][1], motor)
            current = motor / self.kt[joint]
            heat[joint] = copper = drives.copper_loss(self.resistance[joint], current)
            iron = drives.iron_loss(speed, self.hysteresis[joint], self.eddy[joint])
            pace = sign * speed
            drag[joint] = self.drag[joint] * pace
            coil = self.coil[joint] * driven
            heat[6 + joint] = iron + drag[joint] + coil
            heat[12 + joint] = (friction + mesh - self.drag[joint]) * pace
            power = motor * speed + copper + iron
            taken += power + coil
            inverters = inverters + self.switching * abs(power) + self.drop * abs(current)
            currents.append(current)
            speeds.append(speed)
            signs.append(sign)
            frictions.append(friction)
        heat[INVERTERS] = inverters
        heat[BUS] = taken + inverters
        return Work(currents, speeds, signs, frictions, heat, drag)

    def _friction(self, joint: int, speed: Array, torque: Array) -> tuple[Array, Array, Array]:
        """Friction and loss of the mesh (N m, not negative), and the sign of the motion."""
        sign = robot.direction(speed, SMALL_SPEED)
        size, pull = abs(speed), abs(torque)
        hump = self.hump[joint] * robot.stribeck(size, self.hump_speed[joint])
        friction = self.coulomb[joint] + self.drag[joint] + self.load[joint] * pull + hump
        mesh = pull * np.where(torque * speed > 0, self.driving[joint], self.driven[joint])
        return friction + self.viscous[joint] * size, mesh, sign
