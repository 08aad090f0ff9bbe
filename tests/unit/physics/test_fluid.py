"""Hydraulic oil against published properties of an ISO VG 46 grade."""

import numpy as np
import pytest

from gnn_service.physics.fluid import (
    density,
    dynamic_viscosity,
    effective_bulk_modulus,
    entrained_air,
    kinematic_viscosity,
    liquid_bulk_modulus,
    specific_heat,
    walther,
)

VG46 = walther(46e-6, 6.9e-6)


def test_the_grade_has_the_viscosities_it_was_made_from():
    assert kinematic_viscosity(np.array([313.15, 373.15]), VG46) == pytest.approx([46e-6, 6.9e-6], rel=1e-9)


def test_vg46_has_the_usual_coefficients_of_astm_d341():
    assert (VG46.a, VG46.b) == pytest.approx((9.3247, 3.6471), abs=2e-4)


def test_vg46_thins_by_twenty_between_20_and_100_degrees():
    celsius = np.array([20.0, 60.0, 80.0])
    assert kinematic_viscosity(celsius + 273.15, VG46) * 1e6 == pytest.approx([132, 20.8, 11.2], rel=0.01)


def test_a_grade_of_many_machines_at_once_equals_each_alone():
    both = walther(np.array([46e-6, 30e-6]), np.array([6.9e-6, 5e-6]))
    alone = walther(30e-6, 5e-6)
    assert kinematic_viscosity(330.0, both)[1] == pytest.approx(kinematic_viscosity(330.0, alone))


def test_oil_weighs_870_kilograms_at_15_degrees_and_less_when_warm():
    assert density(288.15) == 870.0
    assert density(333.15) == pytest.approx(870 / 1.03465, rel=1e-4)
    assert density(333.15, 350e5) > density(333.15)


def test_dynamic_viscosity_is_kinematic_times_density():
    assert dynamic_viscosity(333.15, VG46) == pytest.approx(0.0175, rel=0.02)


def test_warm_oil_holds_more_heat_and_gives_way_more():
    assert specific_heat(333.15) == pytest.approx(2010)
    assert liquid_bulk_modulus(313.15) == pytest.approx(1.37e9, rel=0.01)
    assert liquid_bulk_modulus(333.15) == pytest.approx(1.22e9, rel=0.01)
    assert liquid_bulk_modulus(333.15, 350e5) > liquid_bulk_modulus(333.15)


def test_air_softens_oil_below_50_bar_and_hardly_above_150():
    liquid = liquid_bulk_modulus(333.15)
    soft = effective_bulk_modulus(np.array([30e5, 200e5]), liquid, 0.03)
    clean = effective_bulk_modulus(np.array([30e5, 200e5]), liquid, 0.0)
    assert soft[0] < 0.65 * clean[0]
    assert soft[1] > 0.90 * clean[1]


def test_at_the_reference_pressure_the_air_is_the_share_that_was_given():
    assert entrained_air(101_325.0, 0.005) == pytest.approx(0.005)


def test_a_hose_softens_a_line():
    liquid = liquid_bulk_modulus(333.15)
    assert effective_bulk_modulus(200e5, liquid, 0.005, walls=0.8e9) < 0.55 * effective_bulk_modulus(
        200e5, liquid, 0.005
    )
