"""Cylinders, linkages and motors: anchors from service manuals and data sheets, and closed forms."""

import numpy as np
import pytest

from gnn_service.physics import cylinders, motors

BOOM = {"head_area": 226.2e-4, "rod_area": 112.7e-4}


@pytest.mark.parametrize("coefficient, millimetres", [(5e-14, 5.6), (1e-13, 11.1), (2.1e-13, 23.4), (1e-12, 111)])
def test_a_boom_at_140_bar_sinks_in_three_minutes_as_the_service_manual_counts(coefficient, millimetres):
    assert cylinders.drift(coefficient, 140e5, 226.2e-4, 180.0) * 1e3 == pytest.approx(millimetres, rel=0.01)


def test_two_boom_cylinders_at_350_bar_push_with_792_kilonewtons():
    assert cylinders.net_force(350e5, 0.0, **BOOM) == pytest.approx(792e3, rel=0.001)


def test_held_pressures_balance_the_load_and_the_oil():
    seal, spool = 2e-13, 1e-12
    head, rod, speed = cylinders.held_pressures(300e3, 226.2e-4, 112.7e-4, seal=seal, spool=spool)
    assert head * 226.2e-4 - rod * 112.7e-4 == pytest.approx(300e3)
    assert seal * (head - rod) == pytest.approx(226.2e-4 * speed)
    assert spool * rod == pytest.approx((226.2e-4 - 112.7e-4) * speed)


def test_a_worse_seal_raises_the_rod_pressure_of_a_held_load_and_lets_it_sink_faster():
    seals = np.array([5e-14, 2e-13, 3e-11])
    _, rod, speed = cylinders.held_pressures(300e3, 226.2e-4, 112.7e-4, seal=seals, spool=1e-12)
    assert (np.diff(rod) > 0).all()
    assert (np.diff(speed) > 0).all()


def test_friction_opposes_motion_peaks_at_breakaway_and_grows_with_speed():
    law = {"coulomb": 3e3, "static": 4.5e3, "stribeck_velocity": 0.02, "viscous": 12e3, "smooth": 1e-3}
    speeds = np.array([-0.3, 0.0, 0.004, 0.08, 0.5])
    friction = cylinders.stribeck_friction(speeds, **law)
    assert friction[0] < 0 == friction[1]
    assert friction[2] > friction[3] < friction[4]
    assert friction[4] == pytest.approx(3e3 + 0.5 * 12e3, rel=1e-3)


@pytest.mark.parametrize(
    "sides, closed, stroke", [((0.90, 2.45), 1.78, 1.26), ((2.75, 0.92), 2.05, 1.504), ((0.72, 2.25), 1.75, 1.104)]
)
def test_the_arm_of_a_linkage_is_the_derivative_of_length_by_angle(sides, closed, stroke):
    length = np.linspace(closed, closed + stroke, 200)
    angle = cylinders.triangle_angle(length, *sides)
    slope = np.gradient(length, angle)[2:-2]
    assert cylinders.triangle_arm(length, *sides)[2:-2] == pytest.approx(slope, rel=1e-3)
    assert (cylinders.triangle_arm(length, *sides) > 0.3).all()


def test_a_boom_on_its_oil_swings_at_some_hertz():
    frequency = cylinders.hydraulic_frequency(1.2e9, 45e3, 226.2e-4, 112.7e-4, (16e-3, 10e-3)) / (2 * np.pi)
    assert 3 < frequency < 7


def test_the_swing_drive_turns_at_eleven_a_minute_with_74_kilonewton_metres():
    displacement, ratio = 151e-6, 120.0
    torque = motors.motor_torque(displacement, 268e5, 0.957) * ratio
    assert torque == pytest.approx(74e3, rel=0.01)
    speed = 205e-3 / 60 / displacement / ratio * 60
    assert speed == pytest.approx(11.3, rel=0.01)
    assert motors.motor_flow(displacement, speed * ratio / 60) * 60e3 == pytest.approx(205)
    assert motors.motor_drop(torque / ratio, displacement, 0.957) == pytest.approx(268e5, rel=0.01)
