"""Electric drives against hand calculations, a reference integration and pint."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import expm

from gnn_service.domain.units import _registry
from gnn_service.physics import drives as physics_drives

drives: Any = physics_drives  # takes more than its annotations say: quantities with units
C_W, C_H, R_WH, R_HA = 900.0, 9000.0, 0.10, 0.35


def test_a_warm_magnet_gives_less_torque_and_a_warm_winding_resists_more():
    assert_allclose(drives.torque_constant(1.45, 293.15), 1.45)
    assert_allclose(drives.torque_constant(1.45, 373.15), 1.45 * (1 - 0.088))
    assert_allclose(drives.winding_resistance(0.45, 393.15), 0.45 * 1.393)


def test_three_phases_of_ten_amperes_lose_one_and_a_half_r_i_squared():
    angle = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    phases = 10 * np.sin(angle + np.array([[0], [2], [4]]) * np.pi / 3)
    assert_allclose(drives.copper_loss(0.5, 10.0), (0.5 * phases**2).sum(0).mean())


def test_losses_do_not_depend_on_the_direction_of_rotation_and_are_never_negative():
    speed, current = np.linspace(-400, 400, 41), np.linspace(-20, 20, 41)
    iron = drives.iron_loss(speed, 0.1, 2e-4)
    inverter = drives.inverter_loss(speed * current, current)
    assert_allclose(iron, iron[::-1])
    assert (iron >= 0).all()
    assert (inverter >= 25.0).all()
    assert_allclose(drives.inverter_loss(1000.0, 10.0), 25 + 20 + 12)


def test_the_bus_balances_its_energy_between_rectifier_capacitor_and_chopper():
    voltage, seen = np.array([560.0]), []
    for power in (2000.0, -3000.0, -3000.0, 1000.0, 5000.0):
        old = voltage
        voltage, grid, chopper = drives.bus_step(
            voltage, np.array([power]), 0.1, capacitance=2e-3, supply=560.0, threshold=750.0
        )
        stored = 0.5 * 2e-3 * (voltage**2 - old**2) / 0.1
        assert_allclose(grid - chopper - power, stored, atol=1e-8)
        seen.append((float(voltage[0]), float(grid[0]), float(chopper[0])))
    assert seen[0] == pytest.approx((560.0, 2000.0, 0.0))
    assert seen[2] == pytest.approx((750.0, 0.0, 3000.0), abs=1e-6)
    assert 560.0 < seen[3][0] < 750.0
    assert seen[3][1] == 0.0


@pytest.mark.parametrize("step", [0.05, 1.0, 600.0, 36000.0])
def test_the_two_node_step_is_the_matrix_exponential_whatever_its_length(step):
    matrix = np.array([[-1 / (C_W * R_WH), 1 / (C_W * R_WH)], [1 / (C_H * R_WH), -1 / (C_H * R_WH) - 1 / (C_H * R_HA)]])
    end = np.array([300 + R_HA * 150 + R_WH * 120, 300 + R_HA * 150])
    expected = end + expm(matrix * step) @ (np.array([320.0, 310.0]) - end)
    winding, housing, away = drives.two_node(C_W, C_H, R_WH, R_HA, step).step(320.0, 310.0, 120.0, 30.0, 300.0)
    assert_allclose([winding, housing], expected, rtol=1e-10)
    stored = (C_W * (winding - 320.0) + C_H * (housing - 310.0)) / step
    assert_allclose(150.0 - away, stored, rtol=1e-7, atol=1e-6)


def test_many_short_steps_are_one_long_step():
    short = drives.two_node(C_W, C_H, R_WH, R_HA, 1.0)
    winding, housing = 295.0, 295.0
    for _ in range(500):
        winding, housing, _ = short.step(winding, housing, 200.0, 20.0, 295.0)
    long = drives.two_node(C_W, C_H, R_WH, R_HA, 500.0).step(295.0, 295.0, 200.0, 20.0, 295.0)
    assert_allclose([winding, housing], long[:2], rtol=1e-12)


def test_drives_take_quantities_in_any_units_and_give_the_same_answer():
    u = _registry()
    assert_allclose(
        drives.torque_constant(
            u.Quantity(1450.0, "N*mm/A"), u.Quantity(353.15, "K"),
            coefficient=u.Quantity(0.11, "percent/K"), reference=u.Quantity(293.15, "K"),
        ).to("N*m/A").magnitude,
        drives.torque_constant(1.45, 353.15),
    )  # fmt: skip
    assert_allclose(drives.current_for(u.Quantity(29.0, "N*m"), u.Quantity(1.45, "N*m/A")).to("A").magnitude, 20.0)
    loss = drives.copper_loss(u.Quantity(450.0, "mohm"), u.Quantity(0.01, "kA"))
    assert_allclose(loss.to("W").magnitude, drives.copper_loss(0.45, 10.0))
    loss = drives.inverter_loss(
        u.Quantity(1.0, "kW"), u.Quantity(10.0, "A"), idle=u.Quantity(25.0, "W"), drop=u.Quantity(1200.0, "mV")
    )
    assert_allclose(loss.to("W").magnitude, 57.0)
    step = drives.two_node(
        u.Quantity(0.9, "kJ/K"), u.Quantity(9.0, "kJ/K"), u.Quantity(R_WH, "K/W"), u.Quantity(R_HA, "K/W"),
        u.Quantity(1.0, "minute"),
    ).step(
        u.Quantity(320.0, "K"), u.Quantity(310.0, "K"), u.Quantity(0.12, "kW"), u.Quantity(30.0, "W"),
        u.Quantity(300.0, "K"),
    )  # fmt: skip
    plain = drives.two_node(C_W, C_H, R_WH, R_HA, 60.0).step(320.0, 310.0, 120.0, 30.0, 300.0)
    assert_allclose([one.to_base_units().magnitude for one in step], plain)
    bus = drives.bus_step(
        u.Quantity(0.6, "kV"), u.Quantity(-2.0, "kW"), u.Quantity(50.0, "ms"),
        capacitance=u.Quantity(2.0, "mF"), supply=u.Quantity(560.0, "V"), threshold=u.Quantity(750.0, "V"),
    )  # fmt: skip
    plain_bus = drives.bus_step(600.0, -2000.0, 0.05, capacitance=2e-3, supply=560.0, threshold=750.0)
    assert_allclose([one.to_base_units().magnitude for one in bus], plain_bus)
