"""One machine over some minutes as a recording, made of the tiny machine."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.demo.capture import CircuitCapture, Course, Signal
from gnn_service.demo.export import EPOCH_US, run_recording
from gnn_service.demo.run import MOST_NUMBERS, RunPlan, check_size, simulate_run
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.streams import Key
from gnn_service.recordings.extras import capture_names, read_capture
from gnn_service.recordings.folder import read_recording, write_recording
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()
KEY = Key(5, 2)
WORK = RunPlan(240.0, state="work")


def recorded(plan: RunPlan, name: str = "tiny-0002"):
    return run_recording(SYSTEM, KEY, plan, simulate_run(SYSTEM, KEY, plan), machine_id=name)


def rows_of(truth, fault: str):
    return np.flatnonzero(truth.fault == fault)


def test_severity_grows_evenly_from_its_first_to_its_last_value():
    recording, _ = recorded(replace(WORK, ramps={"T1": (0.1, 0.4)}))
    rows = rows_of(recording.truth, "pump_leak")
    np.testing.assert_allclose(recording.truth.severity[rows], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert (np.diff(recording.truth.start[rows]) == 60_000_000).all()
    assert set(recording.truth.extra["root_cause"][rows]) == {"pump"}
    assert set(recording.truth.extra["strongest"][rows]) == {"pump.q_case"}


def test_the_truth_has_a_row_for_every_component_that_can_fail_at_every_time():
    recording, _ = recorded(replace(WORK, ramps={"T1": (0.0, 0.3)}))
    truth = recording.truth
    for start in np.unique(truth.start):
        assert sorted(truth.component[truth.start == start]) == ["filter", "pump", "tank", "valve"]
    assert set(truth.group) == {"tiny-0002"}
    assert truth.extra["observable"][truth.fault == ""].all()
    assert np.isnan(truth.extra["rul_h"][truth.fault == ""]).all()


def remaining_h(ramps, fault: str, seconds: float = 240.0) -> list[float]:
    truth = recorded(RunPlan(seconds, ramps, "work"))[0].truth
    return truth.extra["rul_h"][rows_of(truth, fault)].tolist()


def test_a_fault_that_grows_evenly_has_the_life_that_its_line_leaves():
    hour = 1 / 3600
    assert remaining_h({"T1": (0.4, 1.0)}, "pump_leak") == pytest.approx([180 * hour, 120 * hour, 60 * hour, 0.0])
    assert remaining_h({"T1": (0.2, 0.8)}, "pump_leak") == pytest.approx(
        [240 * hour, 180 * hour, 120 * hour, 60 * hour]
    )
    assert remaining_h({"T1": (0.0, 0.5)}, "pump_leak", 60.0) == pytest.approx([90 * hour])


def test_there_is_no_remaining_life_of_a_fault_that_is_small_or_does_not_grow():
    assert np.isnan(remaining_h({"T1": (0.06, 0.12)}, "pump_leak")).all()
    assert np.isnan(remaining_h({"T1": (0.5, 0.5)}, "pump_leak")).all()
    assert np.isnan(remaining_h({"T1": (0.8, 0.2)}, "pump_leak")).all()
    assert remaining_h({"T1": (1.0, 1.0)}, "pump_leak") == [0.0] * 4
    both = {"T1": (0.4, 1.0), "T2": (0.5, 0.5)}
    assert np.isfinite(remaining_h(both, "pump_leak")).all()
    assert np.isnan(remaining_h(both, "filter_clogging")).all()


def test_a_run_of_severity_0_is_the_healthy_run_to_the_bit():
    healthy, _ = recorded(WORK)
    zero, _ = recorded(replace(WORK, ramps={"T1": (0.0, 0.0), "T4": (0.0, 0.0)}))
    np.testing.assert_array_equal(healthy.readings.values, zero.readings.values)
    assert (zero.truth.severity == 0).all()


def test_a_fault_that_needs_a_stall_is_seen_in_a_stall_alone():
    for state, seen in (("work", False), ("stall", True)):
        recording, _ = recorded(RunPlan(120.0, {"T3": (0.5, 0.5)}, state))
        rows = rows_of(recording.truth, "relief_low")
        assert set(recording.truth.extra["observable"][rows].tolist()) == {seen}, state


def test_an_intermittent_fault_comes_and_goes():
    recording, _ = recorded(RunPlan(600.0, {"T4": (0.4, 0.4)}, "work"))
    active = recording.truth.extra["active"][rows_of(recording.truth, "spool_sticking")]
    assert 0.1 < active.mean() < 0.8
    assert len(set(active.tolist())) > 1


def test_of_several_faults_each_is_judged_by_itself():
    plan = RunPlan(120.0, {"T2": (0.8, 0.8), "T3": (0.5, 0.5)}, "work")
    truth = recorded(plan)[0].truth
    assert truth.extra["observable"][rows_of(truth, "filter_clogging")].all()
    assert not truth.extra["observable"][rows_of(truth, "relief_low")].any()


def test_a_failing_sensor_is_in_the_readings_and_in_the_truth():
    fault = SensorFault("bias", "filter.dp", 1.0, start_s=60.0)
    healthy, _ = recorded(WORK)
    biased, _ = recorded(replace(WORK, sensor_faults=(fault,)))
    column = SYSTEM.machine.sensor_ids.index("filter.dp")
    moved = np.nanmean(biased.readings.values[700:, column] - healthy.readings.values[700:, column])
    assert moved == pytest.approx(0.05 * 5, rel=0.1)
    np.testing.assert_array_equal(biased.readings.values[:590], healthy.readings.values[:590])
    assert "bias:filter.dp" in biased.truth.extra["sensor_faults"][-1]


def test_a_late_clock_does_not_betray_itself_by_gaps_at_the_start():
    fault = SensorFault("clock", "pump.p_out", 1.0)
    column = SYSTEM.machine.sensor_ids.index("pump.p_out")
    readings = recorded(replace(WORK, sensor_faults=(fault,)))[0].readings
    assert np.isfinite(readings.values[:600, column]).mean() > 0.99
    assert readings.cycle[0] == 0


def test_a_lower_rate_keeps_means_and_says_so_in_the_description():
    full, _ = recorded(WORK)
    slow, _ = recorded(replace(WORK, rate_hz=1.0))
    assert len(slow.readings.times) == 240
    assert {sensor.rate_hz for sensor in slow.machine.sensors} == {1.0}
    means = full.readings.values.reshape(240, 10, -1)
    np.testing.assert_allclose(slow.readings.values, np.nanmean(means, axis=1), rtol=1e-5)
    assert slow.readings.times[1] - slow.readings.times[0] == 1_000_000
    assert slow.readings.times[0] == EPOCH_US


def test_cycles_of_the_table_are_those_of_the_readings_and_close_their_energy():
    recording, extras = recorded(WORK)
    cycles = extras.cycles
    for row in range(len(cycles["cycle"])):
        inside = recording.readings.cycle == cycles["cycle"][row]
        assert recording.readings.times[inside][0] == cycles["start"][row].astype(np.int64)
    whole = cycles["complete"].copy()
    whole[0] = False
    spent = cycles["energy_useful"] + cycles["energy_heat"] + cycles["energy_stored"]
    np.testing.assert_allclose(cycles["energy_in"][whole], spent[whole], rtol=0.005)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path):
    plan = replace(WORK, ramps={"T1": (0.0, 0.5)})
    for name, key in (("a", KEY), ("b", KEY), ("c", Key(6, 2))):
        run = simulate_run(SYSTEM, key, plan)
        recording, extras = run_recording(SYSTEM, key, plan, run, machine_id="tiny-0002")
        write_recording(recording, tmp_path / name, extras=extras)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert files["readings.parquet"] != (tmp_path / "c" / "readings.parquet").read_bytes()
    found = read_recording(tmp_path / "a")
    assert found.machine.id == "tiny-0002"
    assert found.info["seed"] == 5
    assert found.info["simulation"]["severity"] == {"T1": [0.0, 0.5]}


def wobble(moment, key):
    """A circuit whose signal is as large as the pump leaks, and a state."""
    times = np.arange(1, 51) / 100
    leak = moment.parameters["pump.k_leak"][0] * 1e12
    return Course(
        times, {"pump.q_case": leak * np.ones(50)}, {"swing": Signal("bar", "Swing", np.sin(times))},
        {"oil_temperature": (moment.values["tank.t_oil"], "Cel")},
    )  # fmt: skip


CAPTURED = replace(
    SYSTEM,
    captures=(CircuitCapture("line", "a line", "it swings", ("pump",), ("T1",), 100.0, 0.01, wobble),),
)


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_captures_lie_in_the_recording_and_say_what_they_are(tmp_path, file_format):
    plan = replace(WORK, ramps={"T1": (0.0, 1.0), "T4": (0.5, 0.5)}, captures=2)
    for name in ("a", "b"):
        run = simulate_run(CAPTURED, KEY, plan)
        written, extras = run_recording(CAPTURED, KEY, plan, run, machine_id="tiny-0002")
        write_recording(written, tmp_path / name, extras=extras, file_format=file_format)
    recording = read_recording(tmp_path / "a")
    assert recording.machine.id == "tiny-0002"
    assert capture_names(tmp_path / "a") == ("line_00", "line_01")
    told = recording.info["captures"]
    assert told["line_01"]["severity"] == {"T1": 1.0, "T4": 0.75}
    assert (told["line_00"]["at_s"], told["line_01"]["at_s"]) == pytest.approx((59.9, 239.9))
    assert told["line_01"]["start"]["oil_temperature"]["unit"] == "Cel"
    tables = [read_capture(tmp_path / "a", name) for name in told]
    for table in tables:
        assert list(table) == ["ts", *told["line_00"]["columns"]] == ["ts", "pump.q_case", "state.swing"]
        assert (np.diff(table["ts"].astype(np.int64)) == 10_000).all()
    assert np.nanmean(tables[1]["pump.q_case"]) > 3 * np.nanmean(tables[0]["pump.q_case"])
    with pytest.raises(InvalidRecordingError, match="no capture 'line_07'; there is: line_00, line_01"):
        read_capture(tmp_path / "a", "line_07")
    one, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name / "captures").iterdir())} for name in "ab"
    )
    assert one == other


def test_captures_change_nothing_in_the_run_and_one_is_at_its_end():
    plain, captured = simulate_run(CAPTURED, KEY, WORK), simulate_run(CAPTURED, KEY, replace(WORK, captures=1))
    np.testing.assert_array_equal(plain.values, captured.values)
    assert plain.moments == ()
    assert [moment.time_s for moment in captured.moments] == pytest.approx([239.9])
    with pytest.raises(InvalidInputError, match="tiny has no circuit that can be captured"):
        simulate_run(SYSTEM, KEY, replace(WORK, captures=1))
    with pytest.raises(InvalidInputError, match="at most 100 captures"):
        RunPlan(60.0, captures=101)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"seconds": 0.0}, "hours: must be above 0"),
        ({"seconds": -3600.0}, "must be above 0, not -1 h"),
        ({"seconds": 60.0, "ramps": {"T1": (0.0, 1.2)}}, "severity of T1 must be within 0 and 1"),
    ],
)
def test_what_is_no_run_is_refused_in_words(wrong, said):
    with pytest.raises(InvalidInputError, match=said):
        RunPlan(**wrong)


@pytest.mark.parametrize(
    "plan, said",
    [
        (RunPlan(60.0, {"E1": (0, 1)}), "no failure mode 'E1'; it has: T1"),
        (RunPlan(60.0, state="flying"), "has no 'flying'; it has: work, stall, idle"),
        (RunPlan(60.0, rate_hz=3.0), "3 Hz does not divide"),
        (RunPlan(60.0, sensor_faults=(SensorFault("bias", "nose"),)), "no sensor 'nose'"),
    ],
)
def test_what_the_machine_does_not_have_is_refused_in_words(plan, said):
    with pytest.raises(InvalidInputError, match=said):
        simulate_run(SYSTEM, KEY, plan)


def test_a_run_that_does_not_fit_into_memory_is_refused_at_once():
    seconds = MOST_NUMBERS / 60
    check_size(SYSTEM, RunPlan(seconds * 0.99))
    with pytest.raises(InvalidInputError, match="do not fit into memory; simulate at most 1852 h, or keep fewer"):
        check_size(SYSTEM, RunPlan(seconds * 1.01))
    check_size(SYSTEM, RunPlan(seconds * 1.01, rate_hz=1.0))
