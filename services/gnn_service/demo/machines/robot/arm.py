"""The rigid arm: scripted motion, and the torque that each joint needs for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnn_service.demo.machines.robot.duty import TABLES
from gnn_service.demo.machines.robot.pace import Place
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.robot import (
    GRAVITY,
    Link,
    counterbalance_torque,
    inverse_dynamics,
    mechanical_energy,
    with_payload,
)

JOINTS = range(6)
AXES = (("z", -1.0), ("y", 1.0), ("y", 1.0), ("x", -1.0), ("y", 1.0), ("x", -1.0))
GAS_REFERENCE_K = 293.15


@dataclass(frozen=True, slots=True)
class Moves:
    """Motion of the six joints: angle, speed and acceleration, each a list of (K, B) in SI."""

    q: list[Array]
    qd: list[Array]
    qdd: list[Array]


def moves_at(place: Place, share: Array | None = None) -> Moves:
    """The scripted motion where ``place`` says; ``share`` replaces the share of the segment's time."""
    x = place.share if share is None else share
    c1, c2, c3, c4, c5 = (row.take(place.segment) for row in TABLES.shape)
    way = x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * c5))))
    rate = (c1 + x * (2.0 * c2 + x * (3.0 * c3 + x * (4.0 * c4 + x * (5.0 * c5))))) * place.speed
    growth = (2.0 * c2 + x * (6.0 * c3 + x * (12.0 * c4 + x * (20.0 * c5)))) * (place.speed * place.speed)
    q, qd, qdd = [], [], []
    for joint in JOINTS:
        delta = TABLES.way[joint].take(place.segment)
        q.append(TABLES.start[joint].take(place.segment) + delta * way)
        qd.append(delta * rate)
        qdd.append(delta * growth)
    return Moves(q, qd, qdd)


class Arm:
    """Links, payload and gas spring of B robots."""

    def __init__(self, parameters: Parameters) -> None:
        def of(joint: int, name: str) -> Array:
            return parameters[f"j{joint + 1}_reducer.{name}"]

        self.links = [
            Link(
                axis,  # type: ignore[arg-type]
                _offset(joint, of(joint, "origin_x"), of(joint, "origin_z")),
                of(joint, "link_mass"),
                (of(joint, "link_com"), 0.0, 0.0),
                (of(joint, "link_inertia_x"), of(joint, "link_inertia_y"), of(joint, "link_inertia_z")),
                sign,
            )
            for joint, (axis, sign) in zip(JOINTS, AXES, strict=True)
        ]
        self.reach, self.radius = parameters["gripper.payload_reach"], parameters["gripper.payload_radius"]
        self.balance = parameters["counterbalance.torque"]
        self.charge = parameters["counterbalance.charge"]
        self.gas = self.charge / parameters["counterbalance.charge_nominal"]
        self.compression = parameters["counterbalance.compression"]
        self.inertia_6 = of(5, "link_inertia_y") + of(5, "link_mass") * of(5, "link_com") ** 2

    def torques(self, moves: Moves, payload: Array, gas_k: Array) -> list[Array]:
        """Torque of each joint, N m, (K, B); payload in kg, temperature of the gas spring in K."""
        radii = (self.radius, self.radius, self.radius)
        links = [*self.links[:5], with_payload(self.links[5], payload, self.reach, radii)]
        torques = inverse_dynamics(links, moves.q, moves.qd, moves.qdd)
        torques[1] = torques[1] + counterbalance_torque(self.balance, self.gas * gas_k / GAS_REFERENCE_K, moves.q[1])
        return torques

    def gas_pressure(self, moves: Moves, gas_k: Array) -> Array:
        """Pressure of the gas spring, Pa; it rises as the arm is lowered."""
        return self.charge * gas_k / GAS_REFERENCE_K * (1.0 + self.compression * (1.0 + np.sin(moves.q[1])))

    def stored(self, moves: Moves, gas_k: Array) -> tuple[Array, Array, Array]:
        """Kinetic and potential energy of the arm without payload, and energy of the gas spring, J."""
        kinetic, potential = mechanical_energy(self.links, moves.q, moves.qd)
        return kinetic, potential, self.balance * self.gas * gas_k / GAS_REFERENCE_K * np.sin(moves.q[1])

    def wrist_inertia(self, payload: float) -> Array:
        """Inertia about A5 with a part in the straight wrist, kg m2."""
        link_5, link_6 = self.links[4], self.links[5]
        to_6 = link_6.origin[0]
        own = link_5.inertia[1] + link_5.mass * link_5.com[0] ** 2
        hand = self.inertia_6 + link_6.mass * (to_6 * to_6 + 2.0 * to_6 * link_6.com[0])
        part = payload * ((to_6 + self.reach) ** 2 + self.radius**2)
        return np.asarray(own + hand + part)


def _offset(joint: int, x: Array, z: Array) -> tuple[Any, Any, Any]:
    """Origin of a joint; what is 0 in every robot of the kind is left out of the sums."""
    return (0.0, 0.0, z) if joint in (0, 3) else (x, 0.0, 0.0)


__all__ = ["GRAVITY", "Arm", "Moves", "moves_at"]
