"""Serial robots: rigid-body torques, joint friction, gears, backlash, balancing and gripping.

Sources: J. Y. S. Luh, M. W. Walker, R. P. Paul, "On-line computational scheme for mechanical manipulators", ASME J.
Dyn. Sys. Meas. Control 102, 1980 (recursive Newton-Euler); J. J. Craig, *Introduction to Robotics*, 3rd ed. 2005,
ch. 6; A. C. Bittencourt, E. Wernholt, S. Sander-Tavallaey, T. Brogardh, "An extended friction model to capture load
and temperature effects in robot joints", IROS 2010; ISO 6358-1:2013 (flow of compressed air through components).
SI throughout. Functions are made of plain operators and NumPy functions: floats, arrays of broadcasting shapes and
quantities with units pass through them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | Array
Vector = tuple[Any, Any, Any]

GRAVITY = 9.80665
REFERENCE_PRESSURE = 1.0e5
"""Reference atmosphere of ISO 6358 (ISO 8778), Pa."""


@dataclass(frozen=True, slots=True)
class Link:
    """A rigid link behind a revolute joint, in a frame that is parallel to its parent's at joint angle 0.

    Args:
        axis: joint axis, a coordinate axis of the frame; ``sign`` turns it round.
        origin: of the joint in the parent's frame, m.
        mass: kg.
        com: centre of mass in the link's frame, m.
        inertia: principal moments about the centre of mass, parallel to the frame, kg m2.

    A coordinate that is the float 0.0 costs nothing: products with it are left out.
    """

    axis: Literal["x", "y", "z"]
    origin: Vector
    mass: Any
    com: Vector
    inertia: Vector
    sign: float = 1.0


class Motion(NamedTuple):
    """Motion of one frame, in its own coordinates: angular velocity and acceleration, acceleration of its origin.

    ``carry`` is the matrix [dw]x + [w]x[w]x: acceleration of a point at r beyond the origin's is carry r.
    The acceleration holds -g, so weight appears as an inertial force.
    """

    w: Vector
    dw: Vector
    a: Vector
    carry: tuple[Vector, Vector, Vector]


def inverse_dynamics(
    links: Sequence[Link], q: Sequence[Any], qd: Sequence[Any], qdd: Sequence[Any], *, gravity: Value = GRAVITY
) -> list[Array]:
    """Torque of every joint that makes the chain move so, N m (recursive Newton-Euler).

    ``q``, ``qd``, ``qdd`` hold angle (rad), speed (rad/s) and acceleration (rad/s2) of each joint, arrays of equal
    shapes; gravity (m/s2) pulls along the base's -z. Payload belongs to the last link (`with_payload`).
    """
    motions: list[Motion] = []
    forces: list[tuple[Vector, Vector]] = []
    turns = [_turn(link, angle) for link, angle in zip(links[1:], q[1:], strict=True)]
    # nothing depends on the angle of a first axis that is upright
    turns.insert(0, (1.0, 0.0) if links[0].axis == "z" else _turn(links[0], q[0]))
    before = Motion((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, gravity), _NOTHING)
    for link, turn, speed, acceleration in zip(links, turns, qd, qdd, strict=True):
        before = _outward(link, turn, before, speed, acceleration)
        motions.append(before)
        forces.append(_wrench(link, before))
    torques: list[Array] = []
    force: Vector = (0.0, 0.0, 0.0)
    moment: Vector = (0.0, 0.0, 0.0)
    for index in reversed(range(len(links))):
        link, (inertial, couple) = links[index], forces[index]
        force = _add(force, inertial)
        moment = _add(moment, _add(couple, _cross(link.com, inertial)))
        torques.append(_times(moment["xyz".index(link.axis)], link.sign))
        if index == 0:
            break
        moment, force = (
            _rotate(link.axis, turns[index], moment, back=True),
            _rotate(link.axis, turns[index], force, back=True),
        )
        moment = _add(moment, _cross(link.origin, force))
    return torques[::-1]


def mechanical_energy(
    links: Sequence[Link], q: Sequence[Any], qd: Sequence[Any], *, gravity: Value = GRAVITY
) -> tuple[Array, Array]:
    """Kinetic energy, and potential energy above the base's origin, of the whole chain, J."""
    kinetic: Any = 0.0
    potential: Any = 0.0
    w: Vector = (0.0, 0.0, 0.0)
    v: Vector = (0.0, 0.0, 0.0)
    up: Vector = (0.0, 0.0, 1.0)
    height: Any = 0.0
    for link, angle, speed in zip(links, q, qd, strict=True):
        turn = _turn(link, angle)
        height = _sum(height, _dot(up, link.origin))
        v = _rotate(link.axis, turn, _add(v, _cross(w, link.origin)))
        w = _spin(link, _rotate(link.axis, turn, w), speed)
        up = _rotate(link.axis, turn, up)
        at_com = _add(v, _cross(w, link.com))
        spin = _dot(w, (_times(link.inertia[0], w[0]), _times(link.inertia[1], w[1]), _times(link.inertia[2], w[2])))
        kinetic = _sum(kinetic, _times(0.5, _sum(_times(link.mass, _dot(at_com, at_com)), spin)))
        potential = _sum(potential, _times(_times(link.mass, gravity), _sum(height, _dot(up, link.com))))
    return kinetic, potential


def with_payload(link: Link, mass: Any, reach: Any, radii: Vector) -> Link:
    """The last link with a payload whose centre of mass lies ``reach`` (m) along the link's x.

    ``radii`` are the payload's radii of gyration about its own centre of mass, m; its principal axes are parallel to
    the frame (theorem of Steiner). ``mass`` may be 0. The link's own centre of mass must lie on its x.
    """
    total = link.mass + mass
    com = (link.mass * link.com[0] + mass * reach) / total
    own, other = link.com[0] - com, reach - com
    steiner = link.mass * own * own + mass * other * other
    inertia = (
        link.inertia[0] + mass * radii[0] * radii[0],
        link.inertia[1] + mass * radii[1] * radii[1] + steiner,
        link.inertia[2] + mass * radii[2] * radii[2] + steiner,
    )
    return Link(link.axis, link.origin, total, (com, 0.0, 0.0), inertia, link.sign)


def viscous_friction(nominal: Array, gear_k: Array, *, cold_share: Value, nominal_k: Value, scale_k: Value) -> Array:
    """Viscous friction of a greased gear by its temperature (K), in the unit of ``nominal`` (N m s/rad).

    Fv (1 - c + c exp(-(T - T0) / scale)) with c the share that follows the grease's viscosity: Bittencourt et al.
    2010, eq. 5, written about the temperature T0 at which ``nominal`` holds.
    """
    friction: Array = nominal * (1.0 - cold_share + cold_share * np.exp((nominal_k - gear_k) / scale_k))
    return friction


def stribeck(speed: Array, stribeck_speed: Value, exponent: float = 1.3) -> Array:
    """Share of the additional friction at low speed: exp(-|w / ws|^1.3) (Bittencourt et al. 2010, exponent fitted)."""
    hump: Array = np.exp(-(abs(speed / stribeck_speed) ** exponent))
    return hump


def direction(speed: Array, small: Value) -> Array:
    """Sign of a speed, smooth about standstill: w / sqrt(w^2 + small^2)."""
    sign: Array = speed / np.sqrt(speed * speed + small * small)
    return sign


def mesh_torque(torque: Array, speed: Array, efficiency: Value) -> Array:
    """Load-dependent loss of a gear as a torque (>= 0) that opposes motion, on the side where ``torque`` acts.

    A motor that drives must give T / eta, one that is driven holds T eta (Siciliano et al., *Robotics*, 2009,
    ch. 5; Niemann/Winter, *Maschinenelemente* II): |T| (1/eta - 1) and |T| (1 - eta).
    """
    lost: Array = abs(torque) * np.where(torque * speed > 0, 1.0 / efficiency - 1.0, 1.0 - efficiency)
    return lost


def backlash_twist(twist: Array, gap: Value) -> Array:
    """Elastic twist behind a gap, rad: 0 within +- gap / 2, beyond it the twist less half the gap (dead zone)."""
    beyond: Array = np.sign(twist) * np.maximum(abs(twist) - 0.5 * gap, 0.0 * abs(twist))
    return beyond


def resonance(stiffness: Value, inertia: Value) -> Any:
    """First natural frequency of a link on its gear with the motor held, Hz: sqrt(K / J) / 2 pi."""
    return np.sqrt(stiffness / inertia) / (2.0 * np.pi)


def counterbalance_torque(nominal: Value, pressure_ratio: Value, angle: Array) -> Array:
    """Torque of a gas spring on its axis, N m: T0 (p / p0) cos q, q from the horizontal arm."""
    torque: Array = nominal * pressure_ratio * np.cos(angle)
    return torque


def sonic_share(downstream: Array, upstream: Array, critical: Value) -> Array:
    """Flow through a pneumatic component over its choked flow: 1 while p2/p1 <= b, an ellipse beyond (ISO 6358-1).

    sqrt(1 - ((p2/p1 - b) / (1 - b))^2) for absolute pressures; 0 where nothing drives.
    """
    over = np.clip((downstream / upstream - critical) / (1.0 - critical), 0.0, 1.0)
    share: Array = np.sqrt(1.0 - over * over)
    return share


def free_flow(conductance: Value, upstream: Array, downstream: Array, critical: Value) -> Array:
    """Volume flow at the reference atmosphere, m3/s: q = C p1 times `sonic_share`; C in m3/(s Pa), at 20 degC."""
    flow: Array = conductance * upstream * sonic_share(downstream, upstream, critical)
    return flow


def filling_pressure(start: Array, upstream: Array, rate: Value, time: Value, critical: Value) -> Array:
    """Absolute pressure of a volume that fills through an ISO 6358 component for ``time`` (s), isothermal, Pa.

    V dp/dt = p_ref C p1 f(p/p1): linear while choked, then (p/p1 - b)/(1 - b) = sin(...), reaching p1 at a quarter
    period. ``rate`` is p_ref C / V, 1/s. A volume that starts at or above ``upstream`` stays there.
    """
    ratio = np.minimum(start / upstream, 1.0)
    choked = np.maximum(critical - ratio, 0.0) / rate
    phase = np.arcsin(np.clip((ratio - critical) / (1.0 - critical), 0.0, 1.0))
    beyond = phase + np.maximum(time - choked, 0.0 * choked) * rate / (1.0 - critical)
    ellipse = critical + (1.0 - critical) * np.sin(np.minimum(beyond, np.pi / 2))
    filled = np.where(time < choked, ratio + rate * time, ellipse)
    pressure: Array = np.maximum(filled * upstream, np.minimum(start, upstream))
    return pressure


_NOTHING: tuple[Vector, Vector, Vector] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
_OTHERS = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}


def _turn(link: Link, angle: Any) -> tuple[Any, Any]:
    sine = np.sin(angle)
    return np.cos(angle), sine if link.sign > 0 else -sine


def _outward(link: Link, turn: tuple[Any, Any], before: Motion, speed: Any, acceleration: Any) -> Motion:
    a = _rotate(link.axis, turn, _add(before.a, _matrix_times(before.carry, link.origin)))
    w = _rotate(link.axis, turn, before.w)
    dw = _rotate(link.axis, turn, before.dw)
    speed = speed if link.sign > 0 else -speed
    i, j = _OTHERS[link.axis]
    turned = list(dw)
    turned[i] = _sum(dw[i], _times(w[j], speed))
    turned[j] = _less(dw[j], _times(w[i], speed))
    w = _along(link.axis, w, speed)
    dw = _along(link.axis, (turned[0], turned[1], turned[2]), acceleration if link.sign > 0 else -acceleration)
    return Motion(w, dw, a, _carry(w, dw))


def _spin(link: Link, w: Vector, speed: Any) -> Vector:
    return _along(link.axis, w, speed if link.sign > 0 else -speed)


def _along(axis: str, vector: Vector, value: Any) -> Vector:
    parts = list(vector)
    place = "xyz".index(axis)
    parts[place] = _sum(parts[place], value)
    return parts[0], parts[1], parts[2]


def _wrench(link: Link, motion: Motion) -> tuple[Vector, Vector]:
    """Inertial force, and moment about the centre of mass, of a link."""
    at_com = _add(motion.a, _matrix_times(motion.carry, link.com))
    force = (_times(link.mass, at_com[0]), _times(link.mass, at_com[1]), _times(link.mass, at_com[2]))
    (ix, iy, iz), (wx, wy, wz), (ax, ay, az) = link.inertia, motion.w, motion.dw
    moment = (
        _sum(_times(ix, ax), _times(_times(iz - iy, wy), wz)),
        _sum(_times(iy, ay), _times(_times(ix - iz, wz), wx)),
        _sum(_times(iz, az), _times(_times(iy - ix, wx), wy)),
    )
    return force, moment


def _carry(w: Vector, dw: Vector) -> tuple[Vector, Vector, Vector]:
    xx, yy, zz = _times(w[0], w[0]), _times(w[1], w[1]), _times(w[2], w[2])
    xy, yz, zx = _times(w[0], w[1]), _times(w[1], w[2]), _times(w[2], w[0])
    return (
        (_negative(_sum(yy, zz)), _less(xy, dw[2]), _sum(zx, dw[1])),
        (_sum(xy, dw[2]), _negative(_sum(xx, zz)), _less(yz, dw[0])),
        (_less(zx, dw[1]), _sum(yz, dw[0]), _negative(_sum(xx, yy))),
    )


def _rotate(axis: str, turn: tuple[Any, Any], vector: Vector, *, back: bool = False) -> Vector:
    """Coordinates in the turned frame; with ``back``, those in the parent's."""
    cosine, sine = turn
    i, j = _OTHERS[axis]
    first, second = (vector[j], vector[i]) if back else (vector[i], vector[j])
    at_first = _sum(_times(cosine, first), _times(sine, second))
    at_second = _less(_times(cosine, second), _times(sine, first))
    parts = list(vector)
    parts[i], parts[j] = (at_second, at_first) if back else (at_first, at_second)
    return parts[0], parts[1], parts[2]


def _matrix_times(matrix: tuple[Vector, Vector, Vector], vector: Vector) -> Vector:
    return _dot(matrix[0], vector), _dot(matrix[1], vector), _dot(matrix[2], vector)


def _dot(a: Vector, b: Vector) -> Any:
    return _sum(_sum(_times(a[0], b[0]), _times(a[1], b[1])), _times(a[2], b[2]))


def _cross(a: Vector, b: Vector) -> Vector:
    return (
        _less(_times(a[1], b[2]), _times(a[2], b[1])),
        _less(_times(a[2], b[0]), _times(a[0], b[2])),
        _less(_times(a[0], b[1]), _times(a[1], b[0])),
    )


def _add(a: Vector, b: Vector) -> Vector:
    return _sum(a[0], b[0]), _sum(a[1], b[1]), _sum(a[2], b[2])


def _nothing(value: Any) -> bool:
    return isinstance(value, float) and value == 0.0


def _sum(a: Any, b: Any) -> Any:
    if _nothing(a):
        return b
    return a if _nothing(b) else a + b


def _less(a: Any, b: Any) -> Any:
    if _nothing(b):
        return a
    return -b if _nothing(a) else a - b


def _times(a: Any, b: Any) -> Any:
    return 0.0 if _nothing(a) or _nothing(b) else a * b


def _negative(a: Any) -> Any:
    return 0.0 if _nothing(a) else -a
