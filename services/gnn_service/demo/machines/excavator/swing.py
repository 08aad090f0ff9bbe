"""Swing: a hydraulic motor turns the upper structure; relief valves limit its torque both ways. Arrays are (B,).

The state is sqrt(J) times the speed, so that the kinetic energy stays what it is while the reach changes: the work
that a changing reach takes from boom and stick is left out on both sides of the balance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.excavator.duty import HELD
from gnn_service.demo.plant import Array, Parameters

RESPONSE_S = 0.2
"""How fast an operator corrects the swing speed."""
CLOSE_RAD = 0.09
"""Error of the swing angle that an operator leaves as it is."""
BRAKE_SHARE = 0.92
"""Part of the brake torque that an operator counts on when he stops at the truck."""


@dataclass(slots=True)
class SwingWish:
    """What the swing section asks for: torque, its limits, flow and load pressure."""

    torque: Array
    friction: Array
    drives: NDArray[np.bool_]
    spills: NDArray[np.bool_]
    load: Array
    leak: Array
    demand: Array


@dataclass(slots=True)
class SwingMotion:
    """What the swing did in a step; losses are friction, leakage, relief valve and braking."""

    pump_flow: Array
    leak: Array
    high: Array
    ports: tuple[Array, Array]
    losses: tuple[Array, Array, Array, Array]


class Swing:
    """Parameters, angle and speed of the upper structure."""

    def __init__(self, size: int, step_s: float) -> None:
        self._step = step_s
        self._gain = 1.0 - float(np.exp(-step_s / RESPONSE_S))
        self.angle = np.zeros(size)
        self._momentum = np.zeros(size)
        self.speed, self.aim = np.zeros((2, size))

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over the swing drive's parameters."""
        name = "swing_motor."
        self._radian = parameters[name + "displacement"] * parameters[name + "ratio"] / (2.0 * np.pi)
        self._efficiency, self._leakage = parameters[name + "efficiency"], parameters[name + "leakage"]
        self._drive = self._radian * self._efficiency
        self._relief = parameters[name + "relief_a"], parameters[name + "relief_b"]
        self._fastest = parameters[name + "flow"] / self._radian
        self._inertia, self._friction = parameters[name + "inertia"], parameters[name + "friction"]
        self._power = parameters[name + "power"]
        self._excess = parameters[name + "relief_excess"]

    def wish(self, place: Array, largest: Array, inertia: Array, back: Array, thinning: Array) -> SwingWish:
        """Torque that the operator's lever leads to, and what the section asks of pump 2 for it.

        ``place`` is the target angle (rad, or held), ``largest`` the largest command, ``inertia`` that of the links.
        """
        total = self._inertia + inertia
        self._root = np.sqrt(total)
        self.speed = self._momentum / self._root
        upper = self._drive * (self._relief[0] - back)
        lower = -self._drive * (self._relief[1] - back)
        error = np.where(place == HELD, 0.0, place - self.angle - (0.5 * self._step) * self.speed)
        brake = BRAKE_SHARE * np.minimum(upper, -lower) / total
        reach = np.sqrt(2.0 * brake * np.maximum(abs(error) - 0.01, 0.0))
        aim = np.copysign(np.minimum(largest * self._fastest, reach), error) * (abs(error) > CLOSE_RAD)
        opposed = aim * self.speed < 0.0
        aim = np.where(opposed, 0.0, aim)
        self.aim = aim / self._fastest
        target = self.speed + (aim - self.speed) * self._gain
        target = np.where(opposed | (abs(target) < 2e-3), aim, target)
        sense = np.sign(np.where(self.speed == 0.0, target, self.speed))
        friction = self._friction * sense
        rate = total / self._step
        torque = np.minimum(np.maximum((target - self.speed) * rate + friction, lower), upper)
        drives = torque * sense > 0.0
        most = self._power / np.maximum(abs(self.speed), 0.05)
        torque = np.where(drives, np.minimum(np.maximum(torque, -most), most), torque)
        load = np.where(drives, back + abs(torque) / self._drive, 0.0)
        leak = self._leakage * load * thinning
        turned = self._radian * abs(self.speed + 0.5 * (torque - friction) / rate)
        spare = np.maximum(self._radian * abs(aim) - turned, 0.0) * self._excess
        spills = (torque >= upper) | (torque <= lower)
        demand = np.where(drives, turned + leak + spare, 0.0)
        return SwingWish(torque, friction, drives, spills, load, leak, demand)

    def move(self, wish: SwingWish, granted: Array, back: Array) -> SwingMotion:
        """Angle and speed after a step with this share (B,) of the demand, and what it cost."""
        rate = self._root * self._root / self._step
        offered = granted * wish.demand
        motor = np.maximum(offered - wish.leak, 0.0)
        most = 2.0 * (motor / self._radian - abs(self.speed)) * rate + abs(wish.friction)
        limited = np.sign(wish.torque) * np.maximum(np.minimum(abs(wish.torque), most), 0.0)
        torque = np.where(wish.drives, limited, wish.torque)
        momentum = self._momentum + (torque - wish.friction) / self._root * self._step
        stuck = momentum * wish.friction < 0.0  # friction stops a motion, and turns none round
        friction = np.where(stuck, torque + self._momentum * self._root / self._step, wish.friction)
        momentum = np.where(stuck | (abs(momentum) < 1e-6 * self._root), 0.0, momentum)
        mean = 0.5 * (momentum + self._momentum) / self._root
        self._momentum = momentum
        self.angle = self.angle + mean * self._step
        turned = self._radian * abs(mean)
        shaft = abs(torque)
        drop = np.where(wish.drives, shaft / self._drive, shaft * self._efficiency / self._radian)
        high = back + drop
        leak = np.minimum(wish.leak, offered)
        pump_flow = np.minimum(turned + leak, offered)
        over = np.where(wish.drives & wish.spills, offered - pump_flow, 0.0)
        hydraulic, braked = drop * turned * wish.drives, drop * turned * ~wish.drives
        gears = (1.0 - self._efficiency) * np.where(wish.drives, hydraulic, shaft * abs(mean))
        losses = (friction * mean + gears, leak * high, over * drop, braked)
        positive = torque >= 0.0
        ports = np.where(positive, high, back), np.where(positive, back, high)
        return SwingMotion(pump_flow + over, leak, high, ports, losses)

    def rest(self, machines: Array) -> None:
        """Bring the upper structure of some machines to a stop (their brake)."""
        self._momentum[machines] = 0.0

    @property
    def kinetic_energy(self) -> Array:
        """Energy of rotation, J."""
        return 0.5 * self._momentum * self._momentum
