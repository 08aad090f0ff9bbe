"""Operating states of the simulated robot."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gnn_service.demo.machines.robot import MODES, PLANT, SHIFT
from gnn_service.demo.machines.robot.pace import chosen_payload
from gnn_service.demo.plant import Schedule
from gnn_service.domain.shipped import shipped_machine
from tests.support.robots import PHASE, STATE, mean_seen, robots, root_mean_square, seen

RESULTS = {
    "friction_test": [f"j{joint}_reducer.i_friction" for joint in range(1, 7)],
    "brake_test": [f"j{joint}_motor.brake_hold" for joint in range(1, 7)],
    "backlash_test": [*(f"j{joint}_reducer.backlash" for joint in range(1, 7)), "j5_reducer.f_resonance"],
    "accuracy_test": ["gripper.repeat_error"],
}


def test_a_shift_has_a_share_for_every_state():
    assert set(SHIFT) == set(PLANT.STATES)
    assert sum(SHIFT.values()) == pytest.approx(1.0)
    for mode in MODES:
        assert set(mode.needs) <= set(PLANT.STATES)


def test_phases_of_the_description_are_those_of_the_cycle():
    phases = [phase.id for phase in shipped_machine("robot").duty_cycle.phases]
    frames = robots(1, override=1.0).advance(240)
    for phase in shipped_machine("robot").duty_cycle.phases:
        here = np.flatnonzero(frames.phase[:, 0] == PHASE[phase.id])
        assert here[0] == round(phase.start_s / 0.05)
        assert here[-1] == round(phase.end_s / 0.05) - 1
    assert list(PLANT.PHASES[1:10]) == phases


@pytest.mark.parametrize("state", RESULTS)
def test_results_of_a_test_are_there_in_it_alone(state):
    frames = robots(1, state=state).advance(900)
    for owner, sensors in RESULTS.items():
        for sensor in sensors:
            assert np.isfinite(seen(frames, sensor)).any() == (owner == state), sensor


def test_results_of_the_tests_of_a_healthy_robot_are_normal():
    machine = {sensor.id: sensor for sensor in shipped_machine("robot").sensors}
    for state, sensors in RESULTS.items():
        frames = robots(2, state=state).advance(900)
        for sensor in sensors:
            values = mean_seen(frames, sensor)
            assert (machine[sensor].normal.low <= values).all(), sensor
            assert (values <= machine[sensor].normal.high).all(), sensor


def test_a_waiting_robot_stands_on_its_brakes_without_current():
    frames = robots(2, state="waiting").advance(300)
    for joint in range(1, 7):
        assert (seen(frames, f"j{joint}_motor.i_q") == 0).all()
        assert (seen(frames, f"j{joint}_motor.qd") == 0).all()
    assert mean_seen(frames, "drive_cabinet.p_in").max() < 0.6


def test_a_robot_finishes_its_cycle_before_it_changes_its_state():
    schedule = Schedule(np.array([[0.0, 5.0]]), np.array([[STATE["handling"], STATE["waiting"]]]))
    frames = robots(1, schedule=schedule, override=1.0).advance(300)
    assert (frames.state[:240, 0] == STATE["handling"]).all()
    assert (frames.state[240:, 0] == STATE["waiting"]).all()


def test_a_cold_start_begins_at_the_temperature_of_the_hall_with_slow_motion():
    cold, warm = (
        robots(1, state=state, ambient_k=283.15, machine=4).advance(600) for state in ("cold_start", "handling")
    )
    assert seen(cold, "j1_reducer.t_gear")[0, 0] == pytest.approx(10.0, abs=0.01)
    assert seen(cold, "j1_reducer.t_gear")[-1, 0] > 10.1
    assert mean_seen(cold, "drive_cabinet.override")[0] == pytest.approx(60.0)
    moving = abs(seen(cold, "j1_motor.qd")[:, 0]) > 20
    assert moving.any()
    assert mean_seen(warm, "j1_reducer.t_gear")[0] > 25


def test_a_lower_override_makes_cycles_longer_and_currents_smaller():
    slow, fast = (robots(1, override=override, machine=4).advance(1200) for override in (0.7, 1.0))
    assert slow.cycle[-1, 0] < fast.cycle[-1, 0] == 4
    assert root_mean_square(slow, "j1_motor.i_q")[0] < root_mean_square(fast, "j1_motor.i_q")[0]


def test_lots_mix_programs_and_parts():
    frames = robots(60).advance(10)
    assert set(np.unique(seen(frames, "drive_cabinet.program"))) == {1, 2, 3, 4}
    assert set(np.unique(seen(frames, "gripper.payload"))) == {20, 80, 150}
    draws = np.linspace(0, 1, 1000, endpoint=False)
    parts = chosen_payload(draws, np.full(1000, 0.2))
    assert_allclose([(parts == kg).mean() for kg in (20, 80, 150)], [0.4, 0.4, 0.2], atol=0.005)


def test_braking_axes_lift_the_bus_and_the_chopper_keeps_it_below_its_limit():
    frames = robots(4, override=1.0, heavy_share=1.0).advance(480)
    voltage = seen(frames, "drive_cabinet.u_dc")
    assert 550 < voltage.min() < 564
    assert 600 < voltage.max() < 750.1


def test_the_bus_sags_with_the_power_that_it_gives():
    frames = robots(4, override=1.0, heavy_share=1.0).advance(480)
    voltage, mains = seen(frames, "drive_cabinet.u_dc"), seen(frames, "drive_cabinet.p_in")
    busy, resting = mains > np.quantile(mains, 0.95), (abs(voltage - 565.0) < 3.0) & (mains < 2.0)
    current = 1e3 * (mains[busy] - mains[resting].min()) / 565.0
    assert 565.0 - voltage[busy] == pytest.approx(0.4 * current, abs=1.0)
    assert resting.any()


def test_the_gripper_holds_its_part_and_only_then_tells_a_loss_of_pressure():
    frames = robots(1, override=1.0).advance(480)
    holding = np.isin(frames.phase[:, 0], [PHASE[name] for name in ("lift", "transfer", "place_down")])
    assert (seen(frames, "gripper.p")[holding, 0] > 6.2).all()
    assert (np.isfinite(seen(frames, "gripper.p_decay")[:, 0]) == holding).all()
    assert seen(frames, "gripper.p")[frames.phase[:, 0] == PHASE["up"]].max() == pytest.approx(0.0, abs=1e-6)
    assert seen(frames, "pneumatic_supply.p").min() > 6.0
