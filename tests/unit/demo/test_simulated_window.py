from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.plant import Schedule, Setting
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.window import WindowPlan, WindowRun, severity_table, simulate_window
from gnn_service.domain.machine import SensorRole
from tests.support.tiny_plant import MODES, TinyPlant, tiny_setting, tiny_system

SYSTEM = tiny_system()
MODE = {mode.id: index for index, mode in enumerate(MODES)}
ROW = {sensor.id: row for row, sensor in enumerate(SYSTEM.sensors)}
PLAN = WindowPlan(60.0, ledger=True)
WORK, STALL = 0, 1


def only(setting, machine):
    """The setting of one machine of a batch."""
    pick = slice(machine, machine + 1)
    return Setting(
        setting.keys[pick],
        {name: value[pick] for name, value in setting.parameters.items()},
        {name: value[pick] for name, value in setting.site.items()},
        Schedule(setting.schedule.starts_s[pick], setting.schedule.states[pick]),
    )


def same(one, other):
    return np.array_equal(one, other, equal_nan=True)


def test_a_window_is_the_same_to_the_bit_alone_and_in_a_crowd():
    setting = tiny_setting(7)
    severity = {"T1": [0, 0.2, 0, 0.4, 0, 0, 0.1], "T4": [0, 0, 0.5, 0.6, 0, 0, 0.3], "T2": [0.1, 0, 0, 0.2, 0, 0, 0]}
    faults = [[], [SensorFault("noise", "filter.dp")], [], [SensorFault("spikes", "pump.p_out")], [], [], []]
    crowd = simulate_window(SYSTEM, setting, severity, PLAN, faults)
    for machine in range(7):
        alone = simulate_window(
            SYSTEM,
            only(setting, machine),
            {name: [values[machine]] for name, values in severity.items()},
            PLAN,
            [faults[machine]],
        )
        assert same(crowd.values[:, :, machine], alone.values[:, :, 0])
        assert same(crowd.outcome.strength[:, :, machine], alone.outcome.strength[:, :, 0])
        assert (crowd.outcome.observable[:, machine] == alone.outcome.observable[:, 0]).all()
        assert (crowd.outcome.active[:, machine] == alone.outcome.active[:, 0]).all()
        assert (crowd.outcome.energy_j[:, machine] == alone.outcome.energy_j[:, 0]).all()


def test_memory_bounds_change_no_bit(monkeypatch):
    severity = {"T1": 0.3, "T4": 0.5}
    whole = simulate_window(SYSTEM, tiny_setting(3), severity, PLAN)
    monkeypatch.setattr("gnn_service.demo.window.STRETCH_NUMBERS", 6 * 12 * 7)
    cut = simulate_window(SYSTEM, tiny_setting(3), severity, PLAN)
    assert same(whole.values, cut.values)
    assert (whole.outcome.energy_j == cut.outcome.energy_j).all()
    assert same(whole.outcome.strength, cut.outcome.strength)


def test_severity_zero_is_the_healthy_machine_to_the_bit():
    healthy = simulate_window(SYSTEM, tiny_setting(3), {}, PLAN)
    none = simulate_window(SYSTEM, tiny_setting(3), {mode.id: np.zeros(3) for mode in MODES}, PLAN)
    beside = simulate_window(SYSTEM, tiny_setting(3), {"T1": [0.5, 0.0, 0.0]}, PLAN)
    assert same(healthy.values, none.values)
    assert same(healthy.values[:, :, 1:], beside.values[:, :, 1:])
    assert not same(healthy.values[:, :, 0], beside.values[:, :, 0])
    assert not none.outcome.observable.any()


def test_running_twins_beside_changes_no_reading():
    with_twins = simulate_window(SYSTEM, tiny_setting(2), {"T1": 0.3, "T2": 0.2}, PLAN)
    without = simulate_window(SYSTEM, tiny_setting(2), {"T1": 0.3, "T2": 0.2}, replace(PLAN, twin=False))
    assert same(with_twins.values, without.values)
    assert not without.outcome.observable.any()


def test_a_fault_that_moves_a_sensor_is_observable_and_the_sensor_is_named():
    outcome = simulate_window(SYSTEM, tiny_setting(2), {"T1": [0.4, 0.0]}, PLAN).outcome
    assert outcome.observable[MODE["T1"]].tolist() == [True, False]
    strength = outcome.strength[MODE["T1"], :, 0]
    evidence = [sensor.role is SensorRole.EVIDENCE for sensor in SYSTEM.sensors]
    assert np.argmax(np.where(evidence, np.abs(strength), 0.0)) == ROW["pump.q_case"]
    assert strength[ROW["pump.q_case"]] > 3
    assert not outcome.strength[:, :, 1].any()


def test_a_low_relief_valve_can_be_seen_in_a_stall_alone():
    for state, seen in ((WORK, False), (STALL, True)):
        outcome = simulate_window(SYSTEM, tiny_setting(2, state=state), {"T3": 0.6}, PLAN).outcome
        assert (outcome.observable[MODE["T3"]] == seen).all()


def test_a_fault_too_small_for_its_noise_is_not_observable():
    outcome = simulate_window(SYSTEM, tiny_setting(2), {"T2": 0.001}, PLAN).outcome
    assert 0 < np.abs(outcome.strength[MODE["T2"]]).max() < 3
    assert not outcome.observable.any()


def test_of_several_faults_each_is_judged_by_itself():
    severity = {"T1": 0.4, "T2": 0.4, "T3": 0.4}
    outcome = simulate_window(SYSTEM, tiny_setting(1), severity, PLAN).outcome
    assert outcome.observable[:, 0].tolist() == [True, True, False, False, False]
    alone = simulate_window(SYSTEM, tiny_setting(1), {"T2": 0.4}, PLAN).outcome
    assert same(outcome.strength[MODE["T2"]], alone.strength[MODE["T2"]])
    assert not outcome.strength[MODE["T3"], ROW["pump.q_case"]]


def test_an_intermittent_fault_comes_and_goes_within_the_window():
    setting = tiny_setting(12)
    plan = WindowPlan(300.0, noise=False)
    windows = simulate_window(SYSTEM, setting, {"T4": 0.5}, plan)
    healthy = simulate_window(SYSTEM, setting, {}, plan)
    active = windows.outcome.active[MODE["T4"]]
    differs = (windows.values[:, ROW["pump.p_out"]] != healthy.values[:, ROW["pump.p_out"]]) & (windows.phase == 1)
    assert 0.3 < active.mean() < 0.7
    assert (windows.outcome.severity[MODE["T4"]] == 0.5).all()
    digging = (windows.phase == 1).mean(axis=0)
    assert differs.mean(axis=0) / digging == pytest.approx(active, abs=0.1)
    assert ((windows.outcome.active[MODE["T4"]] > 0) >= windows.outcome.observable[MODE["T4"]]).all()


def test_energy_closes_over_a_window():
    outcome = simulate_window(SYSTEM, tiny_setting(2, state=STALL), {"T1": [0.5, 0.0]}, PLAN).outcome
    kinds = np.array([entry.kind for entry in TinyPlant.LEDGER])
    total = {kind: outcome.energy_j[kinds == kind].sum(axis=0) for kind in set(kinds)}
    assert total["input"] == pytest.approx(total["useful"] + total["loss"], rel=1e-9)
    assert total["loss"] == pytest.approx(total["ambient"] + total["heat_stored"], rel=1e-9)


def test_readings_at_a_lower_rate_are_taken_from_the_same_machine():
    full = simulate_window(SYSTEM, tiny_setting(2), {"T1": 0.2}, WindowPlan(60.0, noise=False))
    slow = simulate_window(SYSTEM, tiny_setting(2), {"T1": 0.2}, WindowPlan(60.0, rate_hz=1.0, noise=False))
    assert same(slow.values, full.values[::10])
    assert (slow.times_s == np.arange(60)).all()
    assert (slow.phase == full.phase[::10]).all()


def test_a_schedule_counts_from_the_windows_start_not_from_the_run_in():
    setting = tiny_setting(1)
    schedule = Schedule(np.array([[0.0, 20.0]]), np.array([[WORK, STALL]]))
    windows = simulate_window(SYSTEM, replace(setting, schedule=schedule), {}, WindowPlan(40.0, run_in_s=33.0))
    assert np.flatnonzero(np.diff(windows.state[:, 0])).tolist() == [199]


def test_a_fault_that_was_there_before_the_window_is_stuck_from_before_it():
    faults = [[SensorFault("stuck", "pump.p_out")], []]
    windows = simulate_window(SYSTEM, tiny_setting(2), {}, PLAN, faults)
    stuck = windows.values[:, ROW["pump.p_out"], 0]
    assert len(np.unique(stuck[~np.isnan(stuck)])) == 1
    assert np.nanstd(windows.values[:, ROW["pump.p_out"], 1]) > 10


def test_a_late_clock_has_its_past_from_the_run_in():
    late = SensorFault("clock", "pump.p_out", 0.2)
    windows = simulate_window(SYSTEM, tiny_setting(1), {}, WindowPlan(30.0, run_in_s=30.0), [[late]])
    assert np.isfinite(windows.values[:, ROW["pump.p_out"], 0]).mean() > 0.99


def test_the_usual_run_in_is_as_long_as_the_latest_clock_is_late():
    latest = SensorFault("clock", "pump.p_out", 1.0)
    windows = simulate_window(SYSTEM, tiny_setting(1), {}, WindowPlan(10.0), [[latest]])
    sound = simulate_window(SYSTEM, tiny_setting(1), {}, WindowPlan(10.0))
    assert np.isnan(windows.values).sum() == np.isnan(sound.values).sum()


def test_stretches_come_in_order_with_the_plants_own_frames():
    run = WindowRun(SYSTEM, tiny_setting(2), {"T1": 0.3}, WindowPlan(130.0, rate_hz=1.0, ledger=True))
    stretches = list(run.stretches())
    assert len(stretches) == 3
    times = np.concatenate([stretch.times_s for stretch in stretches])
    assert (times == np.arange(130)).all()
    frames = [stretch.frames for stretch in stretches]
    assert sum(len(one.values) for one in frames) == 1_300
    assert all(one.values.shape[1:] == (6, 2) and one.ledger.shape[1:] == (7, 2) for one in frames)


@pytest.mark.parametrize(
    ("severity", "plan", "text"),
    [
        ({"T1": 1.2}, {}, "within 0 and 1"),
        ({"T1": -0.1}, {}, "within 0 and 1"),
        ({"T1": np.nan}, {}, "within 0 and 1"),
        ({"T9": 0.1}, {}, "no failure mode 'T9'"),
        ({}, {"seconds": -1.0}, "length of a window"),
        ({}, {"seconds": np.inf}, "length of a window"),
        ({}, {"run_in_s": -1.0}, "run-in"),
        ({}, {"rate_hz": 3.0}, "divide"),
        ({}, {"rate_hz": 20.0}, "divide"),
        ({}, {"rate_hz": 0.0}, "divide"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(severity, plan, text):
    with pytest.raises(InvalidInputError, match=text):
        simulate_window(SYSTEM, tiny_setting(1), severity, WindowPlan(**({"seconds": 10.0} | plan)))


def test_modes_are_named_by_either_id():
    table = severity_table(SYSTEM, {"pump_leak": 0.3, "t2": [0.1, 0.2]}, 2)
    assert table[MODE["T1"]].tolist() == [0.3, 0.3]
    assert table[MODE["T2"]].tolist() == [0.1, 0.2]
