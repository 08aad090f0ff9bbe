"""What holds for each of the four machines alike."""

import numpy as np
import pytest

from gnn_service.demo.cascades import cascade_matrix
from gnn_service.demo.fleet import setting_of, shift_schedule
from gnn_service.demo.live import LiveMachine
from gnn_service.demo.lives import LifePlan, run_to_failure, simulate_lives
from gnn_service.demo.maintenance import Maintenance
from gnn_service.demo.observable import noise_level
from gnn_service.demo.parameters import parameters_of
from gnn_service.demo.plant import Schedule, Setting
from gnn_service.demo.sensor_faults import SENSOR_FAULTS, draw_sensor_fault
from gnn_service.demo.separability import EASY_AUC, separability
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from gnn_service.demo.window import WindowPlan, simulate_window
from gnn_service.domain.check import check_machine
from gnn_service.domain.machine import SensorRole

pytestmark = pytest.mark.timeout(240)  # settling hundreds of machines takes its time where others work as well
machines = pytest.mark.parametrize("name", list_systems())
ALONE = WindowPlan(6.0, run_in_s=5.0, twin=False, ledger=True)


def fleet(system, count, seed=21):
    keys = [Key(seed, machine) for machine in range(count)]
    return setting_of(system, keys, shift_schedule(system, keys, 10.0, 4.0))


def only(setting, machine):
    """The setting of one machine of a batch."""
    pick = slice(machine, machine + 1)
    return Setting(
        setting.keys[pick],
        {name: value[pick] for name, value in setting.parameters.items()},
        {name: value[pick] for name, value in setting.site.items()},
        Schedule(setting.schedule.starts_s[pick], setting.schedule.states[pick]),
    )


def usual_state(system):
    return max(system.shift, key=system.shift.get)


def in_state(system, count, state, seed=21):
    keys = [Key(seed, machine) for machine in range(count)]
    return setting_of(system, keys, Schedule.constant([system.plant.STATES.index(state)] * count))


def one_mode_each(system, severity):
    """Severities for as many machines as there are modes, each with one of them."""
    return {mode.id: severity * (np.arange(len(system.modes)) == n) for n, mode in enumerate(system.modes)}


@machines
def test_description_modes_shift_and_plant_fit_each_other(name):
    system = get_system(name)
    assert not check_machine(system.machine)
    described = {mode.id: mode.component for mode in system.machine.failure_modes}
    assert {mode.mode: mode.component for mode in system.modes} == described
    assert len(described) >= 10
    assert len({mode.id for mode in system.modes}) == len(system.modes)
    assert sum(system.shift.values()) == pytest.approx(1.0)
    assert set(system.shift) <= set(system.plant.STATES)
    assert {entry.kind for entry in system.plant.LEDGER} >= {"input", "loss", "ambient", "heat_stored"}
    cascade_matrix(system.modes, system.cascades)
    assert system.cascades


@machines
def test_every_mode_changes_parameters_that_there_are_and_names_sensors_and_states_that_there_are(name):
    system = get_system(name)
    parameters = parameters_of(system.machine)
    for mode in system.modes:
        assert mode.changes
        assert set(mode.needs) <= set(system.shift), mode.id
        assert mode.signs
        assert {sign.sensor for sign in mode.signs} <= set(system.machine.sensor_ids), mode.id
        assert 0 <= mode.residual < mode.detect_severity <= mode.service_severity <= 1, mode.id
        for change in mode.changes:
            assert change.parameter in parameters, mode.id
            if change.law == "geometric":
                assert parameters[change.parameter] > 0, change.parameter
                assert change.value > 0, change.parameter


@pytest.fixture(scope="module", params=list_systems())
def crowd(request):
    """Nine machines of one kind, each with every fault at another severity and a broken sensor; the first healthy."""
    system = get_system(request.param)
    setting = fleet(system, 9)
    severity = {mode.id: (0.1 * (n + 1) * np.arange(9)) % 0.8 for n, mode in enumerate(system.modes)}
    faults = [[draw_sensor_fault(system.machine, key)] for key in setting.keys]
    return system, setting, severity, faults, simulate_window(system, setting, severity, ALONE, faults)


def test_a_machine_is_the_same_to_the_bit_alone_and_in_a_crowd(crowd, monkeypatch):
    system, setting, severity, faults, together = crowd
    monkeypatch.setattr("gnn_service.demo.window.STRETCH_STEPS", 37)
    alone = simulate_window(
        system, only(setting, 5), {mode: own[5] for mode, own in severity.items()}, ALONE, faults[5:6]
    )
    assert np.array_equal(together.values[:, :, 5], alone.values[:, :, 0], equal_nan=True)
    assert (together.outcome.energy_j[:, 5] == alone.outcome.energy_j[:, 0]).all()


def test_severity_zero_among_broken_machines_is_the_healthy_machine_to_the_bit(crowd):
    system, setting, _, faults, together = crowd
    healthy = simulate_window(system, only(setting, 0), {}, ALONE, faults[:1])
    assert np.array_equal(together.values[:, :, 0], healthy.values[:, :, 0], equal_nan=True)
    assert (together.outcome.energy_j[:, 0] == healthy.outcome.energy_j[:, 0]).all()


@machines
def test_phases_differ_by_far_more_than_noise(name):
    system = get_system(name)
    second = system.duty_cycle.phases[1]
    plan = WindowPlan(max(45.0, second.end_s), rate_hz=1.0, run_in_s=0.0, noise=False)
    window = simulate_window(system, in_state(system, 1, usual_state(system)), {}, plan)
    evidence = [sensor.role is SensorRole.EVIDENCE for sensor in system.sensors]
    values, phase = window.values[:, :, 0], window.phase[:, 0]
    steady = np.flatnonzero(np.isfinite(values).all(axis=0) & np.array(evidence))
    means = np.stack([values[phase == one][:, steady].mean(axis=0) for one in np.unique(phase)])
    reading = np.zeros(len(system.sensors))
    reading[steady] = values[:, steady].mean(axis=0)
    assert ((np.ptp(means, axis=0) / noise_level(system.machine, reading)[steady]) > 10).mean() > 0.1


@machines
def test_what_a_mode_needs_decides_whether_it_can_be_seen(name):
    """Hidden in the usual work while small, and visible at failure in the work that shows it."""
    system = get_system(name)
    usual, count = usual_state(system), len(system.modes)
    states = [usual] * count + [(mode.needs or (usual,))[0] for mode in system.modes]
    keys = [Key(21, machine) for machine in range(2 * count)]
    setting = setting_of(system, keys, Schedule.constant([system.plant.STATES.index(state) for state in states]))
    severity = {
        mode: np.concatenate([0.05 * own, own]) for mode, own in one_mode_each(system, 1.0).items()
    }  # small in the usual work, then failed in the work that shows it
    outcome = simulate_window(system, setting, severity, WindowPlan(45.0, rate_hz=1.0, run_in_s=5.0)).outcome
    early, failed = np.diag(outcome.observable[:, :count]), np.diag(outcome.observable[:, count:])
    hiding = [bool(mode.needs) and usual not in mode.needs for mode in system.modes]
    assert not early[hiding].any()
    present = np.diag(outcome.active[:, count:]) > 0
    assert failed[present].mean() >= 0.8, [m.id for m, ok in zip(system.modes, failed, strict=True) if not ok]


@machines
def test_at_most_a_third_of_small_faults_are_found_by_one_limit_and_each_has_its_reason(name):
    system = get_system(name)
    found = separability(system, machines=32)
    reasons = {mode.id for mode in system.modes if mode.given_away}
    chance = 0.02  # what so small a fleet moves an AUC by
    assert {one.mode for one in found if one.auc >= EASY_AUC + chance} <= reasons
    assert reasons <= {one.mode for one in found if one.auc >= EASY_AUC - 2 * chance}
    assert 3 * len(reasons) <= len(found)


@machines
def test_lives_of_every_mode_run_to_failure_and_of_a_whole_fleet_with_repairs(name):
    system = get_system(name)
    for mode in system.modes:
        lives = simulate_lives(
            system, [Key(4, machine) for machine in range(3)], run_to_failure(system, mode.id, steps=100)
        )
        worst = lives.severity[lives.modes.index(mode.id)].max()
        assert worst == pytest.approx(mode.life.step if mode.life.progression == "step" else 1.0, abs=0.2), mode.id
    fleet_lives = simulate_lives(
        system, [Key(4, machine) for machine in range(10)], LifePlan(30_000, 150.0, maintenance=Maintenance())
    )
    assert any(event.kind == "repair" for events in fleet_lives.events for event in events)


@machines
def test_a_live_machine_takes_every_fault_and_every_sensor_fault(name):
    system = get_system(name)
    machine = LiveMachine(system, in_state(system, 1, usual_state(system)), rate_hz=1.0)
    for mode in system.modes:
        machine.start_fault(mode.id, 0.5)
        machine.next_frame()
        machine.repair(mode.id)
    for number, kind in enumerate(SENSOR_FAULTS):
        machine.start_sensor_fault(draw_sensor_fault(system.machine, Key(number, 0), [kind]))
        assert machine.next_frame().values.shape == (len(system.sensors),)
    assert len(machine.events) == 2 * len(system.modes)
