from typing import Any

import numpy as np
import pint
import pytest

from gnn_service.physics import bearings

units: Any = pint.UnitRegistry()


def amount(quantity: Any, unit: str) -> float:
    return float(quantity.to(unit).magnitude)


def test_a_spindle_bearing_of_20_balls_has_the_orders_of_its_class():
    orders = bearings.defect_frequencies(20.0, 0.01304, 0.09, np.deg2rad(15.0))
    assert orders.bpfo == pytest.approx(8.6, rel=0.005)
    assert orders.bpfi == pytest.approx(11.4, rel=0.005)
    assert orders.ftf == pytest.approx(0.43, rel=0.005)


def test_every_ball_strikes_one_race_or_the_other():
    orders = bearings.defect_frequencies(20.0, 13.04 * units.mm, 9.0 * units.cm, 15.0 * units.deg)
    assert amount(orders.bpfo + orders.bpfi, "") == pytest.approx(20.0)
    assert amount(orders.bpfo, "") == pytest.approx(20.0 * amount(orders.ftf, ""))


def test_palmgrens_friction_follows_the_two_thirds_power_of_viscosity_and_speed():
    slow = bearings.viscous_torque(20e-6, 100.0, 0.09, 1.0)
    assert slow == pytest.approx(1e-10 * (20.0 * 6_000.0) ** (2 / 3) * 90.0**3)
    assert bearings.viscous_torque(40e-6, 400.0, 0.09, 1.0) / slow == pytest.approx(8.0 ** (2 / 3))


def test_palmgrens_friction_goes_over_into_its_constant_at_low_speed():
    assert bearings.viscous_torque(20e-6, 0.0, 0.09, 1.0) == pytest.approx(160e-10 * 90.0**3, rel=0.01)


def test_friction_of_the_load_is_a_torque():
    torque = bearings.load_torque(450 * units.N, 90 * units.mm, 2.5e-4)
    assert amount(torque, "N m") == pytest.approx(0.010125)


def test_kurtosis_rises_to_12_with_a_single_spall_and_falls_back_to_7():
    severity = np.linspace(0.0, 1.0, 201)
    kurtosis = bearings.kurtosis(severity)
    assert kurtosis[0] == 3.0
    assert kurtosis.max() == pytest.approx(12.0)
    assert severity[kurtosis.argmax()] == pytest.approx(0.35)
    assert kurtosis[-1] == pytest.approx(7.0, abs=0.05)
    assert bearings.crest_factor(kurtosis).argmax() == kurtosis.argmax()


def test_the_envelope_shows_a_spall_before_the_acceleration_and_that_before_the_velocity():
    early = np.array([0.0, 0.2])
    envelope = bearings.envelope_rise(early, 0.9)[1] / 0.04
    acceleration = bearings.acceleration_factor(early)[1] - 1.0
    velocity = bearings.velocity_factor(early)[1] - 1.0
    assert envelope > 5.0 > acceleration > 0.15 > velocity > 0.0


def test_acceleration_grows_elevenfold_and_velocity_to_three_and_a_half():
    assert bearings.acceleration_factor(np.array([0.0, 1.0])) == pytest.approx([1.0, 10.85], abs=0.01)
    assert bearings.velocity_factor(np.array([0.0, 1.0])) == pytest.approx([1.0, 3.5])


def test_independent_vibrations_add_as_squares():
    assert bearings.vibration_velocity(3.0, 4.0, 12.0, 0.0) == pytest.approx(13.0)


def test_impacts_come_at_the_defect_rate():
    time = np.arange(25_600) / 25_600.0
    ringing = bearings.impacts(time, 100.0, np.zeros(200), resonance=5_000.0, decay=3_000.0)
    spectrum = abs(np.fft.rfft(abs(ringing)))
    assert spectrum[1:400].argmax() + 1 == 100


def test_the_first_impact_comes_after_one_period_and_rings_away():
    time = np.arange(1_000) / 25_600.0
    ringing = bearings.impacts(time, 50.0, np.zeros(10), resonance=5_000.0, decay=3_000.0)
    assert (ringing[time < 0.02] == 0.0).all()
    assert abs(ringing[(time > 0.02) & (time < 0.021)]).max() > 0.5
    assert abs(ringing[(time > 0.025) & (time < 0.039)]).max() < 1e-5


def test_slip_smears_the_defect_rate():
    time = np.arange(51_200) / 25_600.0
    slip = np.random.default_rng(0).random(300) * 0.2
    sharp, smeared = (
        abs(np.fft.rfft(abs(bearings.impacts(time, 100.0, one, resonance=5_000.0, decay=3_000.0))))[150:250].max()
        for one in (np.zeros(300), slip)
    )
    assert smeared < 0.8 * sharp


def test_orders_of_the_shaft_stand_at_its_multiples():
    time = np.arange(1_000) / 1_000.0
    spectrum = abs(np.fft.rfft(bearings.harmonics(time, 50.0, np.array([2.0, 1.0])))) / 500.0
    assert spectrum[[50, 100]] == pytest.approx([2.0, 1.0])
