"""The wrist joint A5 in full dynamics: motor, belt and strain-wave gear as a spring with backlash, link with part.

What the quasi-steady robot cannot show: the joint's resonance, and how it falls as the belt slackens. Integration is
a leap-frog whose velocity-dependent terms are trapezoidal and implicit (E. Hairer, C. Lubich, G. Wanner, *Geometric
Numerical Integration*, 2006, ch. I): of second order, without damping of its own. All angles and torques are those of
the joint; the motor's are reduced through the ratio.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gnn_service.demo.machines.robot.arm import Arm
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.robot import GRAVITY, backlash_twist

STEP_S = 0.002
CAPTURE_EVERY = 5
"""Steps of 2 ms between the samples of a capture: 100 Hz."""
SMOOTH = 0.02
"""Joint speed (rad/s) below which friction is regularised."""
POSITION_RATE, VELOCITY_RATE = 15.0, 40.0
"""Gains of the position and the velocity loop, 1/s."""
DAMPING_SHARE = 0.02
"""Damping of the gear's spring, as a share of the critical one."""


class Command(NamedTuple):
    """Commanded angle (rad), speed (rad/s) and acceleration (rad/s2)."""

    angle: Array
    speed: Array
    acceleration: Array


class State(NamedTuple):
    """Angles (rad) and speeds (rad/s) of motor and link, as seen at the joint, (B,)."""

    motor: Array
    motor_speed: Array
    link: Array
    link_speed: Array


class Capture(NamedTuple):
    """(N, B) samples: commanded angle, angles of motor and link (rad), current (A); times (N,) in s."""

    time: Array
    command: Array
    motor: Array
    link: Array
    current: Array


@dataclass(frozen=True, slots=True)
class Joint:
    """Joint A5 of B robots with a part in the straight wrist; every field is (B,), at the joint, SI."""

    motor_inertia: Array
    link_inertia: Array
    stiffness: Array
    damping: Array
    backlash: Array
    friction: Array
    viscous: Array
    weight: Array
    torque_per_ampere: Array
    level: float = 0.0
    roll: float = 0.0

    @classmethod
    def of(cls, parameters: Parameters, payload_kg: float, *, level: float = 0.0, roll: float = 0.0) -> "Joint":
        """The joint with these parameters (SI) and a part of this mass.

        ``level`` is how far the forearm points below the horizon, ``roll`` how far A4 has turned the axis of A5 out
        of it, rad.
        """
        motor = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith("j5_motor.")}
        gear = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith("j5_reducer.")}
        ratio = gear["ratio"]
        link = Arm(parameters).wrist_inertia(payload_kg)
        rotor = motor["rotor_inertia"] * ratio * ratio
        reduced = rotor * link / (rotor + link)
        hand, to_6 = parameters["j6_reducer.link_mass"], parameters["j6_reducer.origin_x"]
        moment = (
            gear["link_mass"] * gear["link_com"]
            + hand * (to_6 + parameters["j6_reducer.link_com"])
            + payload_kg * (to_6 + parameters["gripper.payload_reach"])
        )
        return cls(
            motor_inertia=rotor,
            link_inertia=link,
            stiffness=gear["stiffness"],
            damping=2.0 * DAMPING_SHARE * np.sqrt(gear["stiffness"] * reduced),
            backlash=gear["backlash"],
            friction=gear["coulomb_friction"] * ratio,
            viscous=gear["viscous_friction"] * ratio * ratio,
            weight=moment * GRAVITY,
            torque_per_ampere=motor["torque_constant"] * ratio,
            level=level,
            roll=roll,
        )

    def load(self, angle: Array) -> Array:
        """Torque (N m) of the weight of wrist and part at an angle from the forearm, downwards positive."""
        upright = np.cos(self.roll) * np.cos(self.level)
        torque: Array = self.weight * (upright * np.cos(angle) - np.sin(self.level) * np.sin(angle))
        return torque

    def drive(self, command: Command, state: State) -> Array:
        """Torque of the motor (N m): position and velocity loop, with inertia, weight and friction fed forward."""
        known = (self.motor_inertia + self.link_inertia) * command.acceleration - self.load(command.angle)
        speed = command.speed + POSITION_RATE * (command.angle - state.motor)
        loop = VELOCITY_RATE * self.motor_inertia * (speed - state.motor_speed)
        return known + self.viscous * command.speed + loop

    def slopes(self, command: Command, state: State) -> State:
        """Time derivative of the state."""
        twist = self._spring(state) + self.damping * (state.motor_speed - state.link_speed)
        rub = self._rub(state.motor_speed) * state.motor_speed
        return State(
            state.motor_speed,
            (self.drive(command, state) - rub - twist) / self.motor_inertia,
            state.link_speed,
            (twist + self.load(state.link)) / self.link_inertia,
        )

    def step(self, command: Command, state: State, step_s: float) -> State:
        """Move on by one step; ``command`` holds in its middle, where forces are taken."""
        half = 0.5 * step_s
        state = state._replace(motor=state.motor + half * state.motor_speed, link=state.link + half * state.link_speed)
        spring = self._spring(state)
        push = self.drive(command, state) + VELOCITY_RATE * self.motor_inertia * state.motor_speed - spring
        pull = spring + self.load(state.link)
        guess, _ = self._kick(state, push, pull, state.motor_speed, step_s)
        # friction at the middle of the step makes it of second order
        motor_speed, link_speed = self._kick(state, push, pull, 0.5 * (state.motor_speed + guess), step_s)
        return State(state.motor + half * motor_speed, motor_speed, state.link + half * link_speed, link_speed)

    def _kick(self, state: State, push: Array, pull: Array, middle: Array, step_s: float) -> tuple[Array, Array]:
        """Speeds at the end of a step, for torques on motor and link that do not depend on speed.

        With m, l the speeds at its end: M (m - m0) = h (F - (c + d)(m + m0)/2 + d (l + l0)/2), and so for the link.
        """
        drag = 0.5 * step_s * (self._rub(middle) + VELOCITY_RATE * self.motor_inertia)
        couple = 0.5 * step_s * self.damping
        motor_side = (self.motor_inertia - drag - couple) * state.motor_speed + couple * state.link_speed
        link_side = (self.link_inertia - couple) * state.link_speed + couple * state.motor_speed
        a, b = self.motor_inertia + drag + couple, self.link_inertia + couple
        right_a, right_b = motor_side + step_s * push, link_side + step_s * pull
        below = a * b - couple * couple
        return (b * right_a + couple * right_b) / below, (a * right_b + couple * right_a) / below

    def at_rest(self, angle: Array) -> State:
        """Motor and link standing, the link hanging on the gear by its weight."""
        twist = -self.load(angle) / self.stiffness
        still = np.zeros_like(angle)
        return State(angle, still, angle - twist - 0.5 * self.backlash * np.sign(twist), still)

    def _spring(self, state: State) -> Array:
        return self.stiffness * backlash_twist(state.motor - state.link, self.backlash)

    def _rub(self, speed: Array) -> Array:
        """Friction over speed, N m s/rad."""
        rub: Array = self.viscous + self.friction / np.sqrt(speed * speed + SMOOTH * SMOOTH)
        return rub


def capture(
    joint: Joint,
    command: Callable[[float], Command],
    seconds: float,
    *,
    start: State | None = None,
    step_s: float = STEP_S,
    every: int = CAPTURE_EVERY,
) -> Capture:
    """Follow a command for some seconds from ``start`` (by default at rest at its begin), and sample what happens."""
    state = start or joint.at_rest(command(0.0).angle)
    samples = []
    for number in range(round(seconds / step_s)):
        state = joint.step(command((number + 0.5) * step_s), state, step_s)
        if (number + 1) % every == 0:
            time = (number + 1) * step_s
            asked = command(time)
            current = joint.drive(asked, state) / joint.torque_per_ampere
            samples.append((np.full_like(state.motor, time), asked.angle, state.motor, state.link, current))
    times, asked_angle, motor, link, current = (np.stack(rows) for rows in zip(*samples, strict=True))
    return Capture(times[:, 0], asked_angle, motor, link, current)


def quintic(start: Array, end: Array, begin_s: float, seconds: float) -> Callable[[float], Command]:
    """A point-to-point command from one angle (rad) to another, standing before and after."""

    def command(time: float) -> Command:
        x = min(max((time - begin_s) / seconds, 0.0), 1.0)
        way = end - start
        return Command(
            start + way * (x**3 * (10.0 - 15.0 * x + 6.0 * x * x)),
            way * (30.0 * x * x * (1.0 - x) ** 2 / seconds),
            way * (60.0 * x * (1.0 - x) * (1.0 - 2.0 * x) / (seconds * seconds)),
        )

    return command
