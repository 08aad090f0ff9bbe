"""Machine-tool axes: ball screw, guides, preload, backlash, thermal growth and the forces of cutting.

Sources: Y. Altintas, *Manufacturing Automation*, 2nd ed. 2012, ch. 2 and 5 (cutting power, feed drives); ISO 3408-4 and
-5 (ball screws: preload, rigidity); B. Armstrong-Helouvry, P. Dupont, C. Canudas de Wit, Automatica 30 (1994)
(friction with the Stribeck effect); ISO 230-2 and 230-4 (reversal error). SI throughout; plain operators and NumPy
functions, so floats, arrays of any broadcasting shapes and quantities with units pass through.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | Array

GRAVITY = 9.80665
"""Standard acceleration of free fall, m/s2."""
STEEL_EXPANSION = 11.5e-6
"""Thermal expansion of bearing steel, 1/K."""
TURN = 2.0 * np.pi


def screw_torque(force: Array, lead: Value) -> Array:
    """Torque at a frictionless screw that holds or moves an axial force, N m: T = F p / 2 pi; lead p in m a turn."""
    return force * lead / TURN


def screw_loss_torque(force: Array, lead: Value, efficiency: Value) -> Array:
    """Friction torque of the balls under load, N m, never negative: |F| p / 2 pi (1/eta - 1); opposes the motion."""
    return abs(force) * lead / TURN * (1.0 / efficiency - 1.0)


def acceleration_torque(mass: Value, inertia: Value, lead: Value, acceleration: Array) -> Array:
    """Motor torque that accelerates table and rotor, N m: m a p / 2 pi + J a 2 pi / p.

    ``mass`` of all that moves in kg, ``inertia`` of motor, coupling and screw in kg m2, ``acceleration`` in m/s2.
    """
    return mass * acceleration * lead / TURN + inertia * acceleration * TURN / lead


def kinetic_energy(mass: Value, inertia: Value, lead: Value, velocity: Array) -> Array:
    """Kinetic energy of table and rotor, J: (m + J (2 pi / p)^2) v^2 / 2."""
    ratio = TURN / lead
    return 0.5 * (mass + inertia * ratio * ratio) * velocity * velocity


def direction(velocity: Array, smoothing: Value) -> Array:
    """Sign of a velocity, smooth around 0: v / sqrt(v^2 + v0^2)."""
    smooth: Array = velocity / np.sqrt(velocity * velocity + smoothing * smoothing)
    return smooth


def stribeck_factor(velocity: Array, rise: Value, stribeck_velocity: Value) -> Array:
    """Friction over its sliding value: 1 + rise exp(-(v / v_s)^2); 1 + rise at standstill."""
    ratio = velocity / stribeck_velocity
    return 1.0 + rise * np.exp(-ratio * ratio)


def guide_friction(coefficient: Array, normal_force: Array, factor: Value = 1.0) -> Array:
    """Friction of profiled rail guides, N: mu F_n, with the Stribeck factor."""
    return coefficient * normal_force * factor


def starved_friction(coefficient: Array, dry_coefficient: Value, supply: Array) -> Array:
    """Friction coefficient of a guide that has long been supplied with a share of its lubricant.

    mu (mu_dry / mu)^(1 - supply), supply clipped to [0, 1]: geometric between the lubricated and the dry rail
    (representative of the class; the film lasts some 200 h, so this is where a changed supply leads).
    """
    lack = 1.0 - np.minimum(np.maximum(supply, 0.0), 1.0)
    starved: Array = coefficient * (dry_coefficient / coefficient) ** lack
    return starved


def preload_torque(preload: Array, lead: Value, coefficient: Value) -> Array:
    """No-load torque of a preloaded nut, N m: T = k F_pre p / 2 pi (ISO 3408-3), k about 0.05 / sqrt(tan of lead)."""
    return coefficient * preload * lead / TURN


def nut_stiffness(stiffness: Value, preload_ratio: Array) -> Array:
    """Axial stiffness of a nut at a share of its preload, N/m: k (F / F_0)^(1/3) (ISO 3408-4, Hertzian contact)."""
    return stiffness * preload_ratio ** (1.0 / 3.0)


def lost_motion(backlash: Array, friction: Array, stiffness: Array) -> Array:
    """Way that is lost at a reversal, m: backlash + F_friction / k (ISO 230-4 reversal value, both directions)."""
    return backlash + friction / stiffness


def lost_motion_decay(error: Array, step: Value, loop_time: Value) -> tuple[Array, Array]:
    """What a position loop leaves of an error after a step, and its mean over the step; first order, exact."""
    left = error * np.exp(-step / loop_time)
    return left, (error - left) * (loop_time / step)


def screw_growth(length: Value, rise: Array, expansion: Value = STEEL_EXPANSION) -> Array:
    """Growth of a screw, m: alpha L dT. Seen only by machines without direct scales."""
    return expansion * length * rise


def cutting_power(specific_force: Value, removal_rate: Value) -> Value:
    """Power at the cutting edge, W: k_c Q; specific cutting force in Pa, material removal rate in m3/s (Kienzle)."""
    return specific_force * removal_rate


def cutting_force(power: Array, cutting_speed: Array) -> Array:
    """Tangential force at the edge, N: F_t = P_c / v_c, speed in m/s."""
    return power / cutting_speed


def wear_factor(age: Array, life: Array, growth: Value = 0.6) -> Array:
    """Growth of the specific cutting force with flank wear: 1 + growth age / life, age in the unit of life."""
    return 1.0 + growth * age / life


class ZigZag(NamedTuple):
    """Position (m) and velocity (m/s) on a path that goes to and fro."""

    position: Array
    velocity: Array


def zigzag(time: Array, stroke: Array, speed: Array, acceleration: Array, dwell: Value = 0.0) -> ZigZag:
    """A table that moves to and fro over a stroke, with constant acceleration up to its speed and down again.

    Starts at 0 at rest; each half takes stroke / speed + speed / acceleration, which must be at least twice
    speed / acceleration, and the dwell after it. SI floats or arrays, for it counts whole strokes; speed and stroke
    must be positive.
    """
    ramp = speed / acceleration
    moving = stroke / speed + ramp
    half = moving + dwell
    number = np.floor(time / half)
    since = time - number * half
    left = np.maximum(moving - since, 0.0 * since)
    back = np.floor(0.5 * number) * 2.0 != number
    velocity = np.minimum(np.minimum(since, left) * acceleration, speed)
    cruise = speed * (since - 0.5 * ramp)
    way = np.where(
        since < ramp,
        0.5 * acceleration * since * since,
        np.where(left < ramp, stroke - 0.5 * acceleration * left * left, cruise),
    )
    return ZigZag(np.where(back, stroke - way, way), np.where(back, -velocity, velocity))
