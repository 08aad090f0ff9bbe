"""Failure modes of the simulated robot: what they show, where they hide, and that it grows with severity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gnn_service.demo.machines.robot import MODES
from gnn_service.demo.parameters import nominal
from gnn_service.demo.systems import get_system
from gnn_service.demo.traces import Trace, state_of, trace
from gnn_service.domain.shipped import shipped_machine
from tests.support.robots import INDEX, mean_seen, robots, root_mean_square, seen

SEVERITIES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def run(mode, state="handling", steps=900):
    """The same robot with each severity."""
    return robots(len(SEVERITIES), state=state, severity={mode: SEVERITIES}, machine=5).advance(steps)


def test_modes_are_those_of_the_description():
    machine = shipped_machine("robot")
    described = {mode.id: mode.component for mode in machine.failure_modes}
    assert {mode.mode: mode.component for mode in MODES} == described
    assert [mode.id for mode in MODES] == [f"R{number}" for number in range(1, 11)]
    for mode in MODES:
        assert {change.parameter for change in mode.changes} <= set(nominal("robot"))
        assert {sign.sensor for sign in mode.signs} <= set(machine.sensor_ids)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.id)
def test_every_sign_grows_with_severity(mode):
    system = get_system("robot")
    runs: dict[str, Trace] = {}
    for sign in mode.signs:
        state = state_of(system, mode, sign)
        if state not in runs:
            runs[state] = trace(system, [{mode.id: s} for s in SEVERITIES], seconds=60.0, state=state, seed=5)
        change = sign.direction * np.diff(runs[state].statistic(sign))
        assert (change >= -1e-6).all(), (sign, change)
        assert change.sum() > 0, sign


def test_two_and_a_half_times_the_friction_hardly_changes_rms_current_but_the_difference_of_directions():
    friction = {f"j{joint}_reducer.{name}_friction": 2.5 for joint in (2, 3) for name in ("coulomb", "viscous")}
    for state, sensor, low, high in (
        ("handling", "j2_motor.i_q", -0.15, 0.15),
        ("handling", "j3_motor.i_q", -0.15, 0.15),
        ("friction_test", "j2_reducer.i_friction", 0.6, 1.5),
        ("friction_test", "j3_reducer.i_friction", 0.6, 1.5),
    ):
        healthy = robots(1, state=state, machine=5).advance(900)
        rough = robots(1, state=state, machine=5, parameters=friction).advance(900)
        size = mean_seen if state == "friction_test" else root_mean_square
        change = float((size(rough, sensor) / size(healthy, sensor) - 1)[0])
        assert low < change < high, (sensor, change)


def test_the_difference_of_directions_is_friction_without_gravity():
    healthy = robots(1, state="friction_test", machine=5).advance(900)
    unbalanced = robots(1, state="friction_test", machine=5, severity={"R3": 1.0}).advance(900)
    sensor = "j2_reducer.i_friction"
    assert_allclose(mean_seen(unbalanced, sensor), mean_seen(healthy, sensor), rtol=0.1)
    assert abs(seen(unbalanced, "j2_motor.i_q").mean() / seen(healthy, "j2_motor.i_q").mean() - 1) > 0.2


def test_a_weak_brake_is_seen_in_the_brake_test_alone():
    for state in ("handling", "waiting", "friction_test", "backlash_test", "accuracy_test"):
        healthy, weak = (robots(1, state=state, severity={"R6": s}).advance(700).values for s in (0.0, 1.0))
        assert healthy.tobytes() == weak.tobytes()
    assert_allclose(mean_seen(run("R6", "brake_test"), "j2_motor.brake_hold")[[0, -1]], [140.0, 85.0])


def test_a_bad_encoder_cable_falsifies_readings_of_its_own_axis_alone_and_only_near_some_angles():
    frames = run("R9")
    touched = [
        sensor for sensor, place in INDEX.items()
        if not np.array_equal(frames.values[:, place, 0], frames.values[:, place, -1], equal_nan=True)
    ]  # fmt: skip
    assert touched == ["j4_motor.q", "j4_motor.follow_err"]
    false = abs(seen(frames, "j4_motor.follow_err")[:, -1] - seen(frames, "j4_motor.follow_err")[:, 0]) > 0.1
    assert 0 < false.sum() < 120
    assert (abs(seen(frames, "j4_motor.q")[false, 0]) < 61).all()


def test_the_fan_hides_a_fouled_cabinet_filter_until_it_runs_at_full_speed():
    frames = run("R10")
    fan, warm = mean_seen(frames, "drive_cabinet.fan"), mean_seen(frames, "drive_cabinet.t")
    assert fan[3] / fan[0] > 1.3
    assert warm[3] - warm[0] < 5
    assert warm[-1] - warm[0] > 10


def test_axes_do_not_feel_a_fouled_cabinet_until_it_slows_them_down():
    cool = robots(2, severity={"R10": [0.0, 1.0]}, machine=5, ambient_k=295.0).advance(600)
    assert_array_equal(seen(cool, "j2_motor.i_q")[:, 0], seen(cool, "j2_motor.i_q")[:, 1])
    hot = robots(2, severity={"R10": [0.0, 1.0]}, machine=5, ambient_k=311.0).advance(600)
    override = mean_seen(hot, "drive_cabinet.override")
    assert override[1] < 0.98 * override[0]


def test_wear_of_the_gear_makes_kurtosis_rise_and_fall_again():
    kurtosis = seen(run("R1"), "j2_reducer.kurtosis").max(0)
    assert kurtosis[0] == 3.0
    assert kurtosis[2] > 10
    assert kurtosis[-1] < kurtosis[2]


def test_aged_grease_warms_the_gear_by_about_twenty_kelvin():
    gear = mean_seen(run("R2"), "j3_reducer.t_gear")
    assert 12 < gear[-1] - gear[0] < 25


def test_lost_stiffness_lowers_the_resonance_by_two_fifths():
    frequency = mean_seen(run("R4", "backlash_test"), "j5_reducer.f_resonance")
    assert_allclose(frequency[-1] / frequency[0], np.sqrt(0.35), rtol=1e-6)
    assert 11 < frequency[0] < 14


def test_a_leaking_gripper_closes_late_and_makes_the_cycle_longer():
    frames = run("R8", steps=1000)
    assert_allclose(mean_seen(frames, "gripper.t_close")[[0, -1]], [0.35, 0.90], rtol=0.05)
    assert frames.cycle[-1, -1] <= frames.cycle[-1, 0]
    assert 0.03 < mean_seen(frames, "gripper.p_decay")[3] < 0.2


def test_a_slack_belt_warns_half_way_and_alarms_at_its_end_by_following_error():
    """With the heaviest part; limits are 0.08 and 0.2 degrees."""
    frames = robots(3, severity={"R4": [0.0, 0.5, 1.0]}, machine=5, override=1.0, heavy_share=1.0).advance(480)
    error = abs(seen(frames, "j5_motor.follow_err")).max(0)
    assert error[0] < 0.03
    assert 0.05 < error[1] < 0.12
    assert 0.12 < error[2] < 0.25
