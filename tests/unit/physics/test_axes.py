from typing import Any

import numpy as np
import pint
import pytest

from gnn_service.physics import axes

units: Any = pint.UnitRegistry()


def amount(quantity: Any, unit: str) -> float:
    return float(quantity.to(unit).magnitude)


def test_accelerating_a_table_of_900_kg_takes_44_newton_metres():
    assert axes.acceleration_torque(900.0, 0.014, 0.02, 6.0) == pytest.approx(44.0, rel=0.02)


def test_a_head_of_650_kg_hangs_on_20_newton_metres():
    assert axes.screw_torque(650.0 * axes.GRAVITY, 0.02) == pytest.approx(20.3, rel=0.01)


def test_a_screw_of_900_mm_grows_by_124_micrometres_in_12_kelvin():
    assert axes.screw_growth(0.9, 12.0) == pytest.approx(124e-6, rel=0.01)


def test_torques_keep_their_units():
    torque = axes.acceleration_torque(
        900 * units.kg, 140 * units.kg * units.cm**2, 20 * units.mm, 360 * units.m / units.min / units.s
    )
    assert amount(torque, "N m") == pytest.approx(axes.acceleration_torque(900.0, 0.014, 0.02, 6.0))
    assert amount(axes.screw_torque(6.374 * units.kN, 20 * units.mm), "N m") == pytest.approx(20.29, abs=0.01)
    loss = axes.screw_loss_torque(-6.374 * units.kN, 20 * units.mm, 0.95)
    assert amount(loss, "N m") == pytest.approx(axes.screw_loss_torque(6374.0, 0.02, 0.95))
    assert amount(axes.preload_torque(3.456 * units.kN, 2 * units.cm, 0.1), "N m") == pytest.approx(1.1, rel=1e-3)


def test_forces_powers_and_ways_keep_their_units():
    power = axes.cutting_power(2200 * units.N / units.mm**2, 260 * units.cm**3 / units.min)
    assert amount(power, "kW") == pytest.approx(9.53, abs=0.01)
    assert amount(axes.cutting_force(power, 700 * units.m / units.min), "N") == pytest.approx(817, abs=1)
    lost = axes.lost_motion(1 * units.um, 300 * units.N, 150 * units.N / units.um)
    assert amount(lost, "um") == pytest.approx(3.0)
    energy = axes.kinetic_energy(900 * units.kg, 140 * units.kg * units.cm**2, 20 * units.mm, 50 * units.m / units.min)
    assert amount(energy, "J") == pytest.approx(axes.kinetic_energy(900.0, 0.014, 0.02, 50.0 / 60.0))


def test_the_way_of_a_to_and_fro_motion_is_the_integral_of_its_velocity():
    time = np.linspace(0.0, 12.0, 240_001)
    motion = axes.zigzag(time, 0.3, 0.2, 1.5, 0.4)
    way = np.cumsum(0.5 * (motion.velocity[1:] + motion.velocity[:-1]) * np.diff(time))
    assert motion.position[1:] == pytest.approx(way, abs=1e-5)
    assert motion.position.max() == pytest.approx(0.3)
    assert abs(motion.velocity).max() == pytest.approx(0.2)


def test_friction_is_highest_at_rest_and_falls_to_sliding():
    factors = axes.stribeck_factor(np.array([0.0, 0.005, 0.1]), 0.25, 0.005)
    assert factors == pytest.approx([1.25, 1.0 + 0.25 / np.e, 1.0])


def test_a_starved_guide_ends_at_its_dry_friction_and_too_much_oil_changes_nothing():
    supply = np.array([2.0, 1.0, 0.5, 0.0])
    assert axes.starved_friction(np.full(4, 0.008), 0.03, supply) == pytest.approx(
        [0.008, 0.008, np.sqrt(0.008 * 0.03), 0.03]
    )


def test_a_loop_forgets_a_reversal_exactly_whatever_the_step():
    left, mean = axes.lost_motion_decay(np.array([10e-6]), 0.1, 0.05)
    first, mean_1 = axes.lost_motion_decay(np.array([10e-6]), 0.05, 0.05)
    second, mean_2 = axes.lost_motion_decay(first, 0.05, 0.05)
    assert second == pytest.approx(left)
    assert 0.5 * (mean_1 + mean_2) == pytest.approx(mean)


def test_a_nut_that_lost_its_preload_is_softer():
    assert axes.nut_stiffness(150e6, np.array([1.0, 0.125])) == pytest.approx([150e6, 75e6])


def test_a_worn_tool_takes_up_to_six_tenths_more_force():
    assert axes.wear_factor(np.array([0.0, 30.0, 60.0]), 60.0) == pytest.approx([1.0, 1.3, 1.6])


def test_friction_changes_sign_with_the_motion_and_fades_at_rest():
    assert axes.direction(np.array([-0.1, 0.0, 0.1]), 5e-4) == pytest.approx([-1.0, 0.0, 1.0], abs=2e-5)
