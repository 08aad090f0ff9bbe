import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.faulty_channels import held_since_before
from gnn_service.demo.sensor_faults import SENSOR_FAULTS, SensorFault, check_sensor_fault, draw_sensor_fault, partners
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.sensors_random import Bursts, Spikes
from gnn_service.demo.streams import Key
from tests.support.tiny_plant import tiny_system

MACHINE = tiny_system().machine
ROW = {sensor.id: row for row, sensor in enumerate(MACHINE.sensors)}
STEP_S = 0.1
PRESSURE, OTHER = ROW["pump.p_out"], ROW["valve.p_a"]


def wave(seconds=60.0):
    """Perfect values (N, 6, 1): two pressures that swing, the rest steady."""
    times = np.arange(round(seconds / STEP_S)) * STEP_S
    values = np.empty((len(times), 6, 1), dtype=np.float32)
    values[:] = np.array([0, 0, 4.0, 0.5, 60.0, 50.0], dtype=np.float32)[:, None]
    values[:, PRESSURE, 0] = 100 + 40 * np.sin(times)
    values[:, OTHER, 0] = 60 + 10 * np.cos(times)
    return times, values


def with_fault(fault, seconds=60.0, *, noise=False, start_s=0.0):
    times, values = wave(seconds)
    bank = SensorBank(MACHINE, [Key(1, 0)], STEP_S, noise=noise, start_s=start_s, faults=[[fault]])
    return times, values[:, :, 0], bank.measure(values)[1][:, :, 0]


def test_there_are_thirteen_kinds_each_with_its_codes():
    assert len(SENSOR_FAULTS) == 13
    for kind in SENSOR_FAULTS.values():
        assert kind.ne107
        assert set(kind.ne107) <= {"C", "F", "S"}
        assert all(0 <= fmi <= 31 for fmi in (*kind.fmi_up, *kind.fmi_down))
        assert kind.small <= kind.large


@pytest.mark.parametrize("kind", SENSOR_FAULTS)
def test_a_fault_that_begins_later_changes_nothing_before_and_something_after(kind):
    fault = SensorFault(kind, "pump.p_out", 1.0, start_s=30.0, partner="valve.p_a", age_h=1e4, rate_per_h=3_600.0)
    sound = with_fault(SensorFault("bias", "filter.dp"), 120.0, noise=True)[2]
    _, _, readings = with_fault(fault, 120.0, noise=True)
    assert np.array_equal(readings[:300, PRESSURE], sound[:300, PRESSURE], equal_nan=True)
    if kind != "dropout":
        assert not np.array_equal(readings[300:, PRESSURE], sound[300:, PRESSURE], equal_nan=True)
    untouched = [row for row in range(6) if row not in (PRESSURE, ROW["filter.dp"], OTHER)]
    assert np.array_equal(readings[:, untouched], sound[:, untouched], equal_nan=True)


@pytest.mark.parametrize("kind", sorted(set(SENSOR_FAULTS) - {"clock", "lag"}))
def test_a_fault_that_ends_is_gone(kind):
    fault = SensorFault(kind, "pump.p_out", 1.0, end_s=20.0, partner="valve.p_a", age_h=1e4, rate_per_h=3_600.0)
    _, values, readings = with_fault(fault)
    assert (readings[200:, PRESSURE] == values[200:, PRESSURE]).all()


def test_bias_is_a_share_of_full_scale_up_or_down():
    _, values, readings = with_fault(SensorFault("bias", "pump.p_out", 1.0))
    assert readings[:, PRESSURE] - values[:, PRESSURE] == pytest.approx(0.05 * 600, abs=1e-3)
    _, values, readings = with_fault(SensorFault("bias", "pump.p_out", 0.0, -1))
    assert readings[:, PRESSURE] - values[:, PRESSURE] == pytest.approx(-0.01 * 600, abs=1e-3)


def test_drift_has_come_as_far_as_its_age_and_goes_on():
    _, values, readings = with_fault(SensorFault("drift", "pump.p_out", 1.0, age_h=500.0))
    off = readings[:, PRESSURE] - values[:, PRESSURE]
    assert off == pytest.approx(0.03 * 600 * 0.5, rel=1e-3)
    hour = 3600.0
    _, values, readings = with_fault(SensorFault("drift", "pump.p_out", 1.0), hour)
    off = readings[:, PRESSURE] - values[:, PRESSURE]
    assert off[-1] == pytest.approx(0.03 * 600 / 1000, rel=0.01)
    assert off[0] == 0.0


def test_gain_multiplies():
    _, values, readings = with_fault(SensorFault("gain", "pump.p_out", 0.0, -1))
    assert readings[:, PRESSURE] == pytest.approx(0.95 * values[:, PRESSURE], rel=1e-6)


def test_a_stuck_sensor_shows_its_last_value_for_ever_while_the_machine_moves():
    _, values, readings = with_fault(SensorFault("stuck", "pump.p_out", start_s=20.0), noise=True)
    assert len(np.unique(readings[200:, PRESSURE])) == 1
    assert readings[200, PRESSURE] == pytest.approx(values[200, PRESSURE], abs=5.0)


def test_a_sensor_that_stuck_before_shows_one_plausible_value_through_the_whole_life():
    values = np.random.default_rng(0).normal(100, 20, (60, len(MACHINE.sensors), 5)).astype(np.float32)
    keys = [Key(1, 0, 0), Key(1, 0, 1), Key(1, 0, 7), Key(1, 1, 0), Key(2, 0, 0)]
    stuck = [[SensorFault("stuck", "pump.p_out")]] * len(keys)
    readings = SensorBank(MACHINE, keys, STEP_S, faults=stuck).measure(values)[1][:, PRESSURE]
    shown = np.nanmax(readings, axis=0)
    assert (shown == np.nanmin(readings, axis=0)).all()
    assert len(set(shown[:3].tolist())) == 1
    assert len(set(shown[2:].tolist())) == 3
    many = np.array([held_since_before(MACHINE.sensors[PRESSURE], Key(0, number), PRESSURE) for number in range(200)])
    assert many == pytest.approx(np.rint(many / 0.1) * 0.1, rel=1e-6)
    assert 0 <= many.min() < 20
    assert 580 < many.max() <= 600


def test_an_open_circuit_reads_one_end_of_the_range_and_a_short_the_other():
    assert (with_fault(SensorFault("rail", "pump.p_out"))[2][:, PRESSURE] == 600.0).all()
    assert (with_fault(SensorFault("rail", "pump.p_out", direction=-1))[2][:, PRESSURE] == 0.0).all()


def test_dropouts_are_gaps_that_fill_their_share_of_time():
    gone = [Bursts(np.random.default_rng(seed), 0.05, 0.0).at(np.arange(0, 200_000, 1.0)).mean() for seed in range(12)]
    assert np.mean(gone) == pytest.approx(0.05, rel=0.2)
    fault = SensorFault("dropout", "pump.p_out", 1.0)
    readings = with_fault(fault, 6_000.0)[2][:, PRESSURE]
    assert 0.005 < np.isnan(readings).mean() < 0.2


def test_spikes_are_single_samples_at_their_rate():
    _, values, readings = with_fault(SensorFault("spikes", "pump.p_out", 1.0, rate_per_h=60.0), 7_200.0)
    off = np.abs(readings[:, PRESSURE] - values[:, PRESSURE])
    hit = off > 1.0
    assert 80 < hit.sum() < 160
    assert (off[hit] >= 0.15 * 600 - 1e-2).all()
    assert (off[hit] <= 0.3 * 600 + 1e-2).all()
    heights = Spikes(np.random.default_rng(0), 3_600.0, 0.0).at(np.arange(0, 1_000, 0.1), 0.1)
    assert (heights > 0).any()
    assert (heights < 0).any()


def test_growing_noise_is_as_many_times_that_of_a_sound_sensor_with_what_grows_with_the_reading():
    sound = with_fault(SensorFault("bias", "filter.dp"), 600.0, noise=True)
    noisy = with_fault(SensorFault("noise", "pump.p_out", 1.0), 600.0, noise=True)
    gain_free = [np.nanstd(np.diff(run[2][:, PRESSURE] - run[1][:, PRESSURE])) for run in (sound, noisy)]
    assert gain_free[1] / gain_free[0] == pytest.approx(10, rel=0.05)


def test_a_lagging_sensor_is_late_and_its_swing_smaller():
    _, values, readings = with_fault(SensorFault("lag", "pump.p_out", 1.0))
    swing = np.ptp(readings[200:, PRESSURE]) / np.ptp(values[200:, PRESSURE])
    assert swing == pytest.approx(1 / np.hypot(1, 9 * 0.2), rel=0.1)


def test_swapped_channels_show_each_other():
    _, values, readings = with_fault(SensorFault("swap", "pump.p_out", partner="valve.p_a"))
    assert (readings[:, PRESSURE] == values[:, OTHER]).all()
    assert (readings[:, OTHER] == values[:, PRESSURE]).all()


def test_a_wrong_unit_is_psi_for_bar_kelvin_for_celsius_and_ten_times_for_the_rest():
    _, values, readings = with_fault(SensorFault("unit", "pump.p_out"))
    assert readings[:, PRESSURE] == pytest.approx(14.503774 * values[:, PRESSURE], rel=1e-5)
    readings = with_fault(SensorFault("unit", "tank.t_oil"))[2][::10, ROW["tank.t_oil"]]
    assert readings == pytest.approx(60 + 273.15, rel=1e-5)
    assert with_fault(SensorFault("unit", "pump.q_case"))[2][:, ROW["pump.q_case"]] == pytest.approx(40.0, rel=1e-5)


def test_a_late_clock_shows_the_past_and_nothing_where_there_is_none():
    fault = SensorFault("clock", "pump.p_out", 0.025)
    late = round(fault.size / STEP_S)
    assert late == 20
    _, values, readings = with_fault(fault)
    assert np.isnan(readings[:late, PRESSURE]).all()
    assert (readings[late:, PRESSURE] == values[:-late, PRESSURE]).all()


def test_coarse_readings_come_in_steps_ten_times_as_large():
    readings = with_fault(SensorFault("coarse", "pump.p_out"), noise=True)[2][:, PRESSURE]
    readings = readings[~np.isnan(readings)]
    assert readings == pytest.approx(np.rint(readings), abs=1e-4)
    assert (np.abs(np.diff(readings)) > 0).any()


def test_a_diagnosis_could_send_the_codes_of_each_direction():
    assert SensorFault("drift", "pump.p_out").fmi == (20,)
    assert SensorFault("drift", "pump.p_out", direction=-1).fmi == (21,)
    assert SensorFault("rail", "pump.p_out", direction=-1).fmi == (4, 5)
    assert SensorFault("stuck", "pump.p_out").ne107 == ("F",)


def test_any_machine_may_get_any_fault_and_always_the_same():
    drawn = [draw_sensor_fault(MACHINE, Key(5, machine)) for machine in range(400)]
    assert {fault.kind for fault in drawn} == set(SENSOR_FAULTS)
    assert drawn[17] == draw_sensor_fault(MACHINE, Key(5, 17))
    assert all(check_sensor_fault(MACHINE, fault) == fault for fault in drawn)
    assert all(fault.sensor != "pump.cmd" for fault in drawn)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (SensorFault("melted", "pump.p_out"), "there is: bias, drift"),
        (SensorFault("bias", "pump.p_in"), "no sensor 'pump.p_in'"),
        (SensorFault("bias", "pump.p_out", 1.5), "within 0 and 1"),
        (SensorFault("swap", "tank.t_oil"), "exchanged"),
        (SensorFault("swap", "pump.p_out", partner="filter.dp"), "exchanged"),
    ],
)
def test_a_fault_that_does_not_fit_the_machine_is_refused(fault, text):
    with pytest.raises(InvalidInputError, match=text):
        check_sensor_fault(MACHINE, fault)


def test_only_plugs_that_fit_are_exchanged():
    assert partners(MACHINE, "pump.p_out") == ("valve.p_a",)
    assert partners(MACHINE, "filter.dp") == ()
