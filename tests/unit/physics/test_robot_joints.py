"""Friction, gears, balancing and gripping of robots."""

from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from gnn_service.domain.units import _registry
from gnn_service.physics import robot as physics_robot

robot: Any = physics_robot  # takes more than its annotations say: quantities with units


def test_cold_grease_more_than_doubles_viscous_friction():
    at = [
        float(robot.viscous_friction(6e-3, kelvin, cold_share=0.9, nominal_k=313.15, scale_k=30.0))
        for kelvin in (283.15, 313.15, 333.15)
    ]
    assert_allclose(at[1], 6e-3)
    assert_allclose(at[0], 6e-3 * (0.1 + 0.9 * np.e))
    assert at[2] < at[1]


def test_a_gear_takes_power_whichever_way_it_flows():
    torque, speed = np.meshgrid(np.linspace(-30, 30, 13), np.linspace(-300, 300, 13))
    lost = robot.mesh_torque(torque, speed, 0.88)
    assert (lost >= 0).all()
    assert_allclose(30 + robot.mesh_torque(30.0, 100.0, 0.88), 30 / 0.88)
    assert_allclose(30 - robot.mesh_torque(30.0, -100.0, 0.88), 30 * 0.88)


def test_within_the_backlash_a_gear_carries_nothing():
    twist = np.array([-0.003, -0.0009, 0.0, 0.001, 0.002])
    assert_allclose(robot.backlash_twist(twist, 0.002), [-0.002, 0.0, 0.0, 0.0, 0.001], atol=1e-15)


def test_the_stribeck_hump_is_gone_at_speed():
    assert_allclose(robot.stribeck(np.array([0.0, 8.0, -8.0]), 8.0), [1.0, np.exp(-1), np.exp(-1)])
    assert robot.stribeck(80.0, 8.0) < 1e-6


def test_direction_is_a_sign_that_passes_through_zero():
    assert_allclose(robot.direction(np.array([-500.0, 0.0, 500.0]), 1.0), [-1, 0, 1], atol=1e-5)


def test_flow_is_choked_below_the_critical_ratio_and_stops_at_equal_pressure():
    p2 = np.array([1e5, 2.1e5, 5e5, 7e5, 8e5])
    flow = robot.free_flow(1e-8, 7e5, p2, 0.3)
    assert_allclose(flow[:2], 7e-3)
    assert 0 < flow[2] < flow[1]
    assert_allclose(flow[3:], 0.0, atol=1e-12)


def test_the_filling_law_is_the_integral_of_the_flow():
    conductance, volume, supply = 1.5e-8, 5e-4, 7.3e5
    rate = robot.REFERENCE_PRESSURE * conductance / volume
    solution: Any = solve_ivp(
        lambda _, p: robot.REFERENCE_PRESSURE * robot.free_flow(conductance, supply, p, 0.3) / volume,
        (0, 0.25), [1e5], rtol=1e-9, atol=1e-3, dense_output=True,
    )  # fmt: skip
    times = np.linspace(0, 0.25, 26)
    pressures = robot.filling_pressure(np.full(26, 1e5), supply, rate, times, 0.3)
    assert_allclose(pressures, solution.sol(times)[0], rtol=1e-5)
    assert_allclose(robot.filling_pressure(np.array([1e5]), supply, rate, 5.0, 0.3), supply)


def test_a_third_of_the_stiffness_lowers_twelve_hertz_to_seven():
    healthy = robot.resonance(2.5e5, 44.0)
    assert_allclose(healthy, 12.0, rtol=0.01)
    assert_allclose(robot.resonance(0.35 * 2.5e5, 44.0), 7.1, rtol=0.01)


def test_robots_take_quantities_in_any_units_and_give_the_same_answer():
    u = _registry()
    cb = robot.counterbalance_torque(u.Quantity(7.2, "kN*m"), u.Quantity(90.0, "percent"), u.Quantity(-60.0, "degree"))
    assert_allclose(cb.to("N*m").magnitude, robot.counterbalance_torque(7200.0, 0.9, -np.pi / 3))
    viscous = robot.viscous_friction(
        u.Quantity(6.0, "mN*m*s/rad"), u.Quantity(283.15, "K"),
        cold_share=0.9, nominal_k=u.Quantity(313.15, "K"), scale_k=u.Quantity(30.0, "K"),
    )  # fmt: skip
    assert_allclose(viscous.to("N*m*s/rad").magnitude, 6e-3 * (0.1 + 0.9 * np.e))
    flow = robot.free_flow(u.Quantity(1.0, "L/s/bar"), u.Quantity(7.0, "bar"), u.Quantity(5e5, "Pa"), 0.3)
    assert_allclose(flow.to("m**3/s").magnitude, robot.free_flow(1e-8, 7e5, 5e5, 0.3))
    frequency = robot.resonance(u.Quantity(0.25, "MN*m/rad"), u.Quantity(44.0, "kg*m**2/rad"))
    assert_allclose(frequency.to("1/s").magnitude, robot.resonance(2.5e5, 44.0))
    links = [
        robot.Link("y", (0.0, 0.0, 0.0), u.Quantity(200.0, "kg"), (u.Quantity(550.0, "mm"), 0.0, 0.0), (0.0, 0.0, 0.0))
    ]
    (torque,) = robot.inverse_dynamics(
        links, [u.Quantity(0.0, "rad")], [u.Quantity(0.0, "1/s")], [u.Quantity(0.0, "1/s**2")],
        gravity=u.Quantity(9.80665, "m/s**2"),
    )  # fmt: skip
    assert_allclose(torque.to("N*m").magnitude, -200 * 0.55 * 9.80665)
