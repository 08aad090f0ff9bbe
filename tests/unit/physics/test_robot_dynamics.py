"""Rigid-body torques against the published PUMA 560, and against energy.

Parameters and results: P. Corke, B. Armstrong-Helouvry, "A search for consensus among model parameters reported for
the PUMA 560 robot", ICRA 1994, as the Robotics Toolbox for Python holds and tests them (Puma560.py, test_DHRobot.py).
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gnn_service.physics.robot import Link, inverse_dynamics, mechanical_energy, with_payload

D = (0.672, 0.0, 0.15005, 0.4318, 0.0, 0.0)
A = (0.0, 0.4318, 0.0203, 0.0, 0.0, 0.0)
ALPHA = np.pi / 2 * np.array([1, 0, -1, 1, -1, 0])
MASS = (0.0, 17.4, 4.8, 0.82, 0.34, 0.09)
COM = ((0, 0, 0), (-0.3638, 0.006, 0.2275), (-0.0203, -0.0141, 0.070), (0, 0.019, 0), (0, 0, 0), (0, 0, 0.032))
INERTIA = (
    (0, 0.35, 0), (0.13, 0.524, 0.539), (0.066, 0.086, 0.0125),
    (1.8e-3, 1.3e-3, 1.8e-3), (0.3e-3, 0.4e-3, 0.3e-3), (0.15e-3, 0.15e-3, 0.04e-3),
)  # fmt: skip
MOTOR_INERTIA = np.array([200e-6] * 3 + [33e-6] * 3)
GEAR = np.array([-62.6111, 107.815, -53.7063, 76.0364, 71.923, 76.686])
VISCOUS = np.array([1.48e-3, 0.817e-3, 1.38e-3, 71.2e-6, 82.6e-6, 36.7e-6])
COULOMB_FORWARD = np.array([0.395, 0.126, 0.132, 11.2e-3, 9.26e-3, 3.96e-3])
NOMINAL = np.array([0, np.pi / 4, np.pi, 0, np.pi / 4, 0])
ONES, ZEROS = np.ones(6), np.zeros(6)


def puma_links():
    """Denavit-Hartenberg links as links whose frames are parallel to the base's at angle 0."""
    links, turn = [], np.eye(3)
    before = np.zeros(3)
    for d, a, alpha, mass, com, inertia in zip(D, A, ALPHA, MASS, COM, INERTIA, strict=True):
        axis = np.rint(turn @ [0, 0, 1]).astype(int)
        place = int(np.flatnonzero(axis)[0])
        to_end = turn @ [a, 0, d]
        cosine, sine = np.cos(alpha), np.sin(alpha)
        after = np.rint(turn @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]))
        centre = to_end + after @ np.array(com, float)
        moments = np.abs(after) @ np.array(inertia, float)
        links.append(Link("xyz"[place], _vector(before), mass, _vector(centre), _vector(moments), float(axis[place])))
        turn, before = after, to_end
    return links


def _vector(values):
    return tuple(float(value) for value in values)


def toolbox_torque(q, qd, qdd, gravity=9.81):
    """Joint torque as the toolbox counts it: rigid bodies, motor inertia, viscous and Coulomb friction of the motor."""
    torque = np.array(inverse_dynamics(puma_links(), q, qd, qdd, gravity=gravity), float)
    return torque + GEAR**2 * (MOTOR_INERTIA * qdd + VISCOUS * qd) + abs(GEAR) * COULOMB_FORWARD * (qd > 0)


def test_gravity_torques_of_the_puma_are_the_published_ones():
    assert_allclose(
        inverse_dynamics(puma_links(), NOMINAL, ZEROS, ZEROS, gravity=9.81),
        [0.0, 31.6399, 6.0351, 0.0, 0.0283, 0.0],
        atol=6e-5,
    )
    assert_allclose(
        inverse_dynamics(puma_links(), np.arange(1.0, 7.0), ZEROS, ZEROS, gravity=9.81),
        [0.0, -7.9683, 8.4581, -0.0197, 0.0027, 0.0],
        atol=6e-5,
    )


def test_the_inertia_matrix_of_the_puma_is_the_published_one():
    columns = [toolbox_torque(NOMINAL, ZEROS, np.eye(6)[joint], gravity=0.0) for joint in range(6)]
    assert_allclose(
        np.array(columns).T,
        [
            [3.6594, -0.4044, 0.1006, -0.0025, 0.0, 0.0],
            [-0.4044, 4.4137, 0.3509, 0.0, 0.0024, 0.0],
            [0.1006, 0.3509, 0.9378, 0.0, 0.0015, 0.0],
            [-0.0025, 0.0, 0.0, 0.1925, 0.0, 0.0],
            [0.0, 0.0024, 0.0015, 0.0, 0.1713, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.1941],
        ],
        atol=6e-5,
    )


@pytest.mark.parametrize(
    "qd, qdd, gravity, published",
    [
        (ZEROS, ONES, 9.81, [3.35311, 36.0025, 7.42596, 0.190043, 0.203441, 0.194133]),
        (ONES, ONES, 9.81, [32.4952, 60.867, 17.7436, 1.45452, 1.29911, 0.713781]),
        (ONES, ZEROS, 9.81, [29.1421, 56.5044, 16.3528, 1.26448, 1.12392, 0.519648]),
        (ONES, ONES, 0.0, [32.4952, 29.2271, 11.7085, 1.45452, 1.27086, 0.713781]),
    ],
)
def test_torques_of_the_moving_puma_are_the_published_ones(qd, qdd, gravity, published):
    assert_allclose(toolbox_torque(NOMINAL, qd, qdd, gravity), published, atol=1e-4)


def test_power_of_all_joints_is_the_change_of_mechanical_energy():
    links = puma_links()
    rng = np.random.default_rng(5)
    q, qd, qdd = rng.uniform(-2, 2, (3, 6, 40))
    power = (np.array(inverse_dynamics(links, q, qd, qdd)) * qd).sum(0)
    step = 1e-5
    later, earlier = (
        sum(mechanical_energy(links, q + dt * qd + dt * dt / 2 * qdd, qd + dt * qdd)) for dt in (step, -step)
    )
    assert_allclose(power, (later - earlier) / (2 * step), rtol=1e-5, atol=1e-5)


def test_a_payload_in_the_last_link_acts_as_a_body_of_its_own():
    hand = Link("x", (0.2, 0.0, 0.0), 12.0, (0.03, 0.0, 0.0), (0.06, 0.05, 0.05), -1.0)
    arm = Link("y", (0.35, 0.0, 0.6), 80.0, (0.5, 0.0, 0.0), (1.0, 8.0, 8.0))
    rng = np.random.default_rng(6)
    q, qd, qdd = rng.uniform(-2, 2, (3, 2, 10))
    loaded = inverse_dynamics([arm, with_payload(hand, 150.0, 0.25, (0.2, 0.25, 0.3))], q, qd, qdd)
    part = Link("x", (0.25, 0.0, 0.0), 150.0, (0.0, 0.0, 0.0), (150 * 0.04, 150 * 0.0625, 150 * 0.09))
    still = np.zeros(10)
    apart = inverse_dynamics([arm, hand, part], [*q, still], [*qd, still], [*qdd, still])
    assert_allclose(loaded, apart[:2], rtol=1e-12, atol=1e-10)


def test_an_empty_hand_is_the_hand():
    hand = Link("x", (0.2, 0.0, 0.0), 12.0, (0.03, 0.0, 0.0), (0.06, 0.05, 0.05))
    assert with_payload(hand, 0.0, 0.25, (0.2, 0.2, 0.2)) == hand
