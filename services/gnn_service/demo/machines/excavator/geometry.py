"""Boom, stick and bucket as a chain of links: lever arms and attitudes from tables, gravity, reach and height.

Each cylinder is one side of a triangle; the bucket's four-bar linkage is represented by an equivalent triangle. The
links are welded structures, so that all machines of a kind have the same tables; masses may differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array
from gnn_service.physics.cylinders import triangle_angle, triangle_arm

POINTS = 64
GRAVITY = 9.81
CYLINDERS = ("boom_cylinder", "stick_cylinder", "bucket_cylinder")
# Joint angle (deg) at the retracted cylinder and sense of extension: the boom rises, stick and bucket fold in.
ATTITUDES = ((-35.7, 1.0), (-28.0, -1.0), (40.0, -1.0))


@dataclass(slots=True)
class Pose:
    """Where the links of B machines are: cosine and sine of each link's angle to the horizon, and 1 / lever arm."""

    inverse_arm: Array
    cos: tuple[Array, Array, Array]
    sin: tuple[Array, Array, Array]

    def of(self, machines: NDArray[np.int64]) -> "Pose":
        """The pose of some of them."""
        cos, sin = (np.stack(one)[:, machines] for one in (self.cos, self.sin))
        return Pose(self.inverse_arm[:, machines], (cos[0], cos[1], cos[2]), (sin[0], sin[1], sin[2]))


class Linkage:
    """The chain of links; ``values`` are the nominal parameters of the machine in SI."""

    def __init__(self, values: dict[str, float]) -> None:
        self.lengths = tuple(values[f"{name}.link_length"] for name in CYLINDERS)
        tables = np.empty((3, len(CYLINDERS), POINTS))
        for index, name in enumerate(CYLINDERS):
            sides = values[f"{name}.link_a"], values[f"{name}.link_b"]
            length = values[f"{name}.closed_length"] + np.linspace(0.0, values[f"{name}.stroke"], POINTS)
            angle = triangle_angle(length, *sides)
            start, sense = ATTITUDES[index]
            turned = np.radians(start) + sense * (angle - angle[0])
            tables[:, index] = 1.0 / triangle_arm(length, *sides), np.cos(turned), np.sin(turned)
        self._values = tables.reshape(3, -1)
        self._steps = np.append(np.diff(tables, axis=-1), np.zeros((3, len(CYLINDERS), 1)), axis=-1).reshape(3, -1)
        self._offsets = np.arange(len(CYLINDERS))[:, None] * POINTS

    def pose(self, share: Array) -> Pose:
        """Attitude at these shares (3, B) of the strokes, by linear interpolation in the tables."""
        scaled = share * (POINTS - 1)
        cell = scaled.astype(np.int64)
        rest = scaled - cell
        cell += self._offsets
        inverse, cos, sin = (v.take(cell) + rest * s.take(cell) for v, s in zip(self._values, self._steps, strict=True))
        cos_stick, sin_stick = cos[0] * cos[1] - sin[0] * sin[1], sin[0] * cos[1] + cos[0] * sin[1]
        cos_bucket = cos_stick * cos[2] - sin_stick * sin[2]
        sin_bucket = sin_stick * cos[2] + cos_stick * sin[2]
        return Pose(inverse, (cos[0], cos_stick, cos_bucket), (sin[0], sin_stick, sin_bucket))


class Weights:
    """Masses (B,) of the links, and what they do in a pose."""

    def __init__(self, linkage: Linkage, masses: tuple[Array, ...], centres: tuple[Array, ...]) -> None:
        self._linkage, self._masses = linkage, masses
        self._moments = tuple(mass * centre for mass, centre in zip(masses, centres, strict=True))
        self._centres = centres
        self._centre = centres[2]

    def of(self, machines: NDArray[np.int64]) -> "Weights":
        """Those of some of the machines."""
        masses, centres = (tuple(one[machines] for one in each) for each in (self._masses, self._centres))
        return Weights(self._linkage, masses, centres)

    def _carried(self, payload: Array) -> tuple[Array, Array, Array]:
        """First moment of mass along each link with all that hangs on its end, kg m."""
        bucket = self._masses[2] + payload
        boom_length, stick_length, _ = self._linkage.lengths
        return (
            self._moments[0] + (self._masses[1] + bucket) * boom_length,
            self._moments[1] + bucket * stick_length,
            bucket * self._centre,
        )

    def forces(self, pose: Pose, payload: Array) -> Array:
        """Cylinder forces (3, B) that gravity asks for, positive against extension, N."""
        boom, stick, bucket = (GRAVITY * moment for moment in self._carried(payload))
        third = bucket * pose.cos[2]
        second = third + stick * pose.cos[1]
        return np.stack((second + boom * pose.cos[0], -second, -third)) * pose.inverse_arm

    def capacity(self, pose: Pose, most: Array, least: Array) -> Array:
        """Payload (B,) that keeps every cylinder's force between ``least`` and ``most`` (3, B), kg; 0 at least."""
        own = self.forces(pose, np.zeros_like(self._centre))
        boom, stick, _ = self._linkage.lengths
        third = self._centre * pose.cos[2]
        second = third + stick * pose.cos[1]
        each = GRAVITY * np.stack((second + boom * pose.cos[0], -second, -third)) * pose.inverse_arm
        room = np.where(each > 0.0, most - own, own - least)
        return np.asarray(np.maximum((room / np.maximum(abs(each), 1e-6)).min(axis=0), 0.0))

    def potential(self, pose: Pose, payload: Array) -> Array:
        """Potential energy (B,) of links and payload from the height of the boom's foot, J."""
        boom, stick, bucket = (GRAVITY * moment for moment in self._carried(payload))
        return boom * pose.sin[0] + stick * pose.sin[1] + bucket * pose.sin[2]

    def height(self, pose: Pose) -> Array:
        """Height of the payload above the boom's foot, m."""
        boom, stick, _ = self._linkage.lengths
        return boom * pose.sin[0] + stick * pose.sin[1] + self._centre * pose.sin[2]

    def inertia(self, pose: Pose, payload: Array) -> Array:
        """Moment of inertia of the links and the payload about the swing axis, kg m2, as point masses."""
        boom, stick, _ = self._linkage.lengths
        pin = boom * pose.cos[0]
        wrist = pin + stick * pose.cos[1]
        centre = wrist + self._centre * pose.cos[2]
        middle = 0.5 * (pin + wrist)
        arm = 0.5 * pin
        bucket = (self._masses[2] + payload) * centre * centre
        return self._masses[0] * arm * arm + self._masses[1] * middle * middle + bucket
