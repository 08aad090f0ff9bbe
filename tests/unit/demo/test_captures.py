"""Captures of every machine's circuit: they agree with the quasi-steady machine, and faults show in them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gnn_service.demo.capture import moment_of_trace, take_capture
from gnn_service.demo.modes import degrade
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.sensors_noise import noise_of, resolution_of
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from gnn_service.demo.traces import trace

KEY = Key(3, 0)
NAMED = [(name, kind.id) for name in list_systems() for kind in get_system(name).captures]
MODES = [(name, kind.id, mode) for name in list_systems() for kind in get_system(name).captures for mode in kind.modes]
SECONDS = {"excavator": 40.0, "moulding": 12.0, "cnc": 12.0, "robot": 35.0}
EMPTY = {"E2", "E5"}


def kind_of(name, capture):
    return next(kind for kind in get_system(name).captures if kind.id == capture)


@cache
def beside(name):
    """The quasi-steady machine in the state in which it does the same, and the step from which it does."""
    system = get_system(name)
    where = system.captures[0].beside
    run = trace(system, [{}], seconds=SECONDS[name], state=where.state, site=where.site)
    return run, where.begin(run)


@cache
def moment(name, *, light=False):
    found = moment_of_trace(*beside(name))
    empty = {"bucket_cylinder.payload": 0.0, "boom_cylinder.pos": 34.0}
    return replace(found, values={**found.values, **empty}) if light else found


@cache
def course(name, capture, mode="", *, light=False):
    start = moment(name, light=light)
    grown = {mode: np.ones(1)} if mode else {}
    parameters = degrade(start.parameters, get_system(name).modes, grown)
    return kind_of(name, capture).simulate(replace(start, parameters=parameters), KEY)


def columns(shot):
    return {**shot.sensors, **{name: signal.values for name, signal in shot.states.items()}}


@pytest.mark.parametrize(("name", "capture", "mode"), MODES)
def test_a_fault_of_the_circuit_shows_in_its_capture(name, capture, mode):
    light = mode in EMPTY
    healthy, faulty = course(name, capture, light=light), course(name, capture, mode, light=light)
    machine, found = get_system(name).machine, 0.0
    for sensor in machine.sensors:
        if sensor.id in healthy.sensors:
            constant, relative = noise_of(machine, sensor)
            one, other = healthy.sensors[sensor.id], faulty.sensors[sensor.id]
            noise = constant + relative * np.abs(one).mean() + resolution_of(sensor)
            found = max(found, float(np.sqrt(np.mean((one - other) ** 2)) / noise))
    for state, signal in healthy.states.items():
        away = np.sqrt(np.mean((faulty.states[state].values - signal.values) ** 2))
        found = max(found, float(3.1 * away / (0.02 * np.ptp(signal.values))))
    assert found > 3.0, f"{mode} is {found:.2f} noise away"
    for values in columns(faulty).values():
        assert np.isfinite(values).all()


@pytest.mark.parametrize(("name", "capture", "mode"), [
    ("excavator", "boom_circuit", "E8"), ("moulding", "injection_circuit", "I5"),
    ("robot", "wrist_joint", "R1"), ("cnc", "spindle_vibration", "C3"),
])  # fmt: skip
def test_a_fault_elsewhere_leaves_a_capture_as_it_is(name, capture, mode):
    healthy, faulty = columns(course(name, capture)), columns(course(name, capture, mode))
    for column, values in healthy.items():
        np.testing.assert_array_equal(values, faulty[column])


def test_the_faults_that_an_engineer_looks_for_look_as_he_expects():
    stuck, sound = (course("excavator", "boom_circuit", mode, light=True) for mode in ("E5", ""))
    moved = [int(np.argmax(shot.sensors["boom_cylinder.pos"] > 36.0)) for shot in (stuck, sound)]
    assert moved[0] > moved[1] + 20
    weak, full = (course("moulding", "injection_circuit", mode) for mode in ("I3", ""))
    assert weak.sensors["manifold.p_sys"].min() < full.sensors["manifold.p_sys"].min() - 2
    slack, tight = (course("robot", "wrist_joint", mode) for mode in ("R4", ""))
    assert np.ptp(slack.states["twist"].values) > 2 * np.ptp(tight.states["twist"].values)
    spalled, good = (course("cnc", "spindle_vibration", mode) for mode in ("C1", ""))
    assert spalled.states["acceleration"].values.std() > 2 * good.states["acceleration"].values.std()


@pytest.mark.parametrize(("name", "tolerance"), [("excavator", 0.05), ("moulding", 0.04), ("cnc", 0.03)])
def test_a_capture_agrees_with_the_quasi_steady_machine_where_that_does_the_same(name, tolerance):
    run, first = beside(name)
    kind = get_system(name).captures[0]
    shot = course(name, kind.id)
    steps = round(min(kind.beside.seconds, 1.8) / run.system.plant.STEP_S)
    settled = slice(first + round(0.5 / run.system.plant.STEP_S), first + steps)
    times = run.time_s[settled] - run.time_s[first] + kind.beside.lead_s
    assert len(times) >= 5
    for sensor in kind.beside.shown:
        slow = run.values(sensor)[settled, 0].mean()
        fast = np.interp(times, shot.times_s, shot.sensors[sensor]).mean()
        assert fast == pytest.approx(slow, rel=tolerance), sensor


def test_the_friction_of_a_captured_wrist_is_what_the_robots_own_test_finds():
    run, _ = beside("robot")
    reported = run.values("j5_reducer.i_friction")[:, 0]
    shot = course("robot", "wrist_joint")
    angle, speed, current = (shot.sensors[f"j5_motor.{name}"] for name in ("q", "qd", "i_q"))
    middle = (angle > 20) & (angle < 90) & (np.abs(speed) > 59.9)
    friction = (current[middle & (speed > 0)].mean() - current[middle & (speed < 0)].mean()) / 2
    assert friction == pytest.approx(float(reported[np.isfinite(reported)][0]), rel=0.1)


@pytest.mark.parametrize(("name", "capture"), [pair for pair in NAMED if pair != ("cnc", "feed_axes")])
def test_a_table_says_what_its_columns_are_and_is_the_same_for_the_same_seed(name, capture):
    system, kind = get_system(name), kind_of(name, capture)
    shot = course(name, capture)
    still = replace(kind, simulate=lambda moment, key: shot)
    one, told = take_capture(system.machine, still, moment(name), KEY, 2, epoch_us=0)
    again, _ = take_capture(system.machine, still, moment(name), KEY, 2, epoch_us=0)
    other, _ = take_capture(system.machine, still, moment(name), KEY, 3, epoch_us=0)
    assert next(iter(one)) == "ts"
    assert set(told["columns"]) == set(one) - {"ts"}
    assert told["rows"] == len(one["ts"]) == len(shot.times_s)
    assert (np.diff(one["ts"].astype(np.int64)) > 0).all()
    assert told["rate_hz"] == pytest.approx(1e6 / np.diff(one["ts"].astype(np.int64)).mean(), rel=1e-3)
    for column, about in told["columns"].items():
        np.testing.assert_array_equal(one[column], again[column])
        assert about["unit"]
        if about["kind"] == "state":
            assert column.startswith("state.")
        else:
            sensor = next(sensor for sensor in system.sensors if sensor.id == column)
            assert about["unit"] == sensor.unit
            if sensor.noise_sd:
                assert not np.array_equal(one[column], other[column])


def test_readings_of_a_capture_have_noise_and_the_run_s_sensor_faults():
    system, kind = get_system("robot"), kind_of("robot", "wrist_joint")
    shot = course("robot", "wrist_joint")
    still = replace(kind, simulate=lambda moment, key: shot)
    faults = (SensorFault("stuck", "j5_motor.i_q"), SensorFault("clock", "j5_motor.q", severity=0.01))
    sound, _ = take_capture(system.machine, still, moment("robot"), KEY, 0, epoch_us=0)
    faulty, _ = take_capture(system.machine, still, moment("robot"), KEY, 0, faults, epoch_us=0)
    noise = sound["j5_motor.i_q"] - shot.sensors["j5_motor.i_q"]
    assert 0 < np.nanstd(noise) < 0.2
    assert len(np.unique(faulty["j5_motor.i_q"])) == 1
    late = round(faults[1].size * kind.rate_hz)
    np.testing.assert_array_equal(faulty["j5_motor.q"][late:], sound["j5_motor.q"][:-late])
    np.testing.assert_array_equal(faulty["j5_motor.qd"], sound["j5_motor.qd"])
