import numpy as np
import pytest

from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.sensors_noise import noise_of, resolution_of
from gnn_service.demo.streams import Key
from tests.support.tiny_plant import tiny_system

MACHINE = tiny_system().machine
ROW = {sensor.id: row for row, sensor in enumerate(MACHINE.sensors)}
STEP_S = 0.1
PERFECT = (120.0, 110.0, 4.0, 0.5, 60.0, 50.0)


def keys(count, window=0):
    return [Key(11, machine, window) for machine in range(count)]


def steady(rows, machines, values=PERFECT):
    block = np.empty((rows, len(values), machines), dtype=np.float32)
    block[:] = np.array(values, dtype=np.float32)[:, None]
    return block


def read(values, machines=None, machine=MACHINE, **how):
    count = values.shape[2] if machines is None else machines
    return SensorBank(machine, keys(count), STEP_S, **how).measure(values)[1]


def test_readings_are_the_same_to_the_bit_alone_and_in_a_crowd():
    values = np.random.default_rng(1).uniform(20, 50, (800, 6, 9)).astype(np.float32)
    crowd = read(values)
    alone = SensorBank(MACHINE, keys(9)[4:5], STEP_S).measure(values[:, :, 4:5])[1]
    assert np.array_equal(crowd[:, :, 4], alone[:, :, 0], equal_nan=True)


@pytest.mark.parametrize("stride", [1, 5, 10])
def test_readings_are_the_same_however_time_is_cut(stride):
    values = np.random.default_rng(1).uniform(20, 50, (900, 6, 3)).astype(np.float32)
    faults = [
        [SensorFault("lag", "pump.p_out", start_s=7.0), SensorFault("clock", "filter.dp", 0.1)],
        [SensorFault("noise", "filter.dp", start_s=11.0), SensorFault("stuck", "pump.q_case", start_s=31.0)],
        [SensorFault("dropout", "valve.p_a", 1.0), SensorFault("spikes", "pump.p_out", rate_per_h=900.0)],
    ]
    whole = SensorBank(MACHINE, keys(3), STEP_S, stride=stride, start_s=-10.0, faults=faults)
    cut = SensorBank(MACHINE, keys(3), STEP_S, stride=stride, start_s=-10.0, faults=faults)
    times, readings = whole.measure(values)
    pieces = [cut.measure(piece) for piece in np.split(values, [1, 2, 9, 300, 303])]
    assert np.array_equal(times, np.concatenate([piece[0] for piece in pieces]))
    assert np.array_equal(readings, np.concatenate([piece[1] for piece in pieces]), equal_nan=True)
    assert times[0] == -10.0
    assert np.diff(times) == pytest.approx(stride * STEP_S)


def test_another_window_of_a_machine_has_other_noise_and_the_same_calibration():
    values = steady(4_000, 3)
    one = SensorBank(MACHINE, keys(3), STEP_S).measure(values)[1]
    other = SensorBank(MACHINE, keys(3, window=1), STEP_S).measure(values)[1]
    pressure = ROW["pump.p_out"]
    assert not np.array_equal(one, other, equal_nan=True)
    assert np.nanmean(one[:, pressure], axis=0) == pytest.approx(np.nanmean(other[:, pressure], axis=0), abs=0.05)
    assert np.ptp(np.nanmean(one[:, pressure], axis=0)) > 0.05


def test_noise_is_that_of_the_description_with_ripple_on_a_pumps_pressure():
    readings = read(steady(20_000, 2))
    scatter = np.nanstd(readings, axis=(0,))[:, 0]
    assert scatter[ROW["filter.dp"]] == pytest.approx(np.hypot(0.01, 0.01 / np.sqrt(12)), rel=0.03)
    assert scatter[ROW["pump.p_out"]] == pytest.approx(0.4 + 0.004 * 120, rel=0.03)
    assert scatter[ROW["pump.q_case"]] == pytest.approx(0.15 + 0.003 * 4, rel=0.06)
    assert scatter[ROW["pump.cmd"]] == 0.0
    assert noise_of(MACHINE, MACHINE.sensors[ROW["pump.p_out"]]) == (0.4, 0.004)


def test_noise_is_white():
    readings = read(steady(20_000, 1))[:, ROW["filter.dp"], 0]
    noise = np.nan_to_num(readings - np.nanmean(readings))
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03


def test_sensors_of_many_machines_are_off_by_no_more_than_their_accuracy():
    readings = np.nanmean(read(steady(1_000, 200)), axis=0)
    pressure, oil = readings[ROW["pump.p_out"]], readings[ROW["tank.t_oil"]]
    assert np.abs(pressure - 120.0).max() < 0.005 * 120 + 0.0025 * 600 + 0.2
    assert 0.3 < pressure.std() < 1.5
    assert np.abs(oil - 60.0).max() < 0.5 + 0.06 + 0.2
    assert readings[ROW["pump.cmd"]] == pytest.approx(50.0, abs=0.21)


def test_readings_come_in_steps_of_the_resolution():
    values = np.random.default_rng(2).uniform(1, 4, (500, 6, 2)).astype(np.float32)
    readings = read(values)
    for sensor in MACHINE.sensors:
        counts = readings[:, ROW[sensor.id]] / resolution_of(sensor)
        assert np.nanmax(np.abs(counts - np.rint(counts))) < 1e-3, sensor.id


def test_a_reading_never_leaves_the_sensors_range():
    readings = read(steady(300, 4, (900.0, -50.0, 90.0, 7.0, 60.0, 50.0)))
    assert np.nanmax(readings[:, ROW["pump.p_out"]]) == 600.0
    assert np.nanmin(readings[:, ROW["valve.p_a"]]) == 0.0
    assert np.nanmax(readings[:, ROW["pump.q_case"]]) == 60.0


def test_a_thermometer_follows_a_step_with_its_time_constant_and_starts_settled():
    values = steady(1_200, 1)
    values[200:, ROW["tank.t_oil"]] = 80.0
    oil = read(values)[::10, ROW["tank.t_oil"], 0]
    assert oil[:20] == pytest.approx(oil[0], abs=0.3)
    after = oil[20:] - oil[0]
    assert after[8] == pytest.approx(20.0 * (1 - np.exp(-8.1 / 8)), abs=0.4)
    assert after[-1] == pytest.approx(20.0, abs=0.4)


def test_a_slow_sensor_has_samples_at_its_own_rate_and_nothing_between():
    readings = read(steady(200, 1))
    present = np.flatnonzero(~np.isnan(readings[:, ROW["tank.t_oil"], 0]))
    assert (present == np.arange(0, 200, 10)).all()
    at_one_a_second = read(steady(200, 1), stride=10)
    assert np.isfinite(at_one_a_second[:, ROW["tank.t_oil"]]).all()


def test_a_healthy_bus_loses_a_sample_now_and_then():
    lost = np.isnan(read(steady(40_000, 2))[:, ROW["pump.p_out"]]).mean()
    assert 0 < lost < 2e-4


def test_a_test_that_was_not_made_has_no_reading():
    values = steady(100, 2)
    values[10:60, ROW["filter.dp"], 0] = np.nan
    readings = read(values)
    assert np.isnan(readings[10:60, ROW["filter.dp"], 0]).all()
    assert readings[60:, ROW["filter.dp"], 0] == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("moment", [63, 67, 70])
@pytest.mark.parametrize("stride", [1, 5, 10])
def test_a_slow_sensor_reports_a_momentary_result_with_its_next_sample(moment, stride):
    values = steady(200, 2)
    values[:, ROW["tank.t_oil"]] = np.nan
    values[moment, ROW["tank.t_oil"], 1] = 55.0
    for pieces in ([], [64, 66, 69]):
        bank = SensorBank(MACHINE, keys(2), STEP_S, stride=stride, noise=False)
        parts = [bank.measure(piece) for piece in np.split(values, pieces)]
        times, readings = (np.concatenate(column) for column in zip(*parts, strict=True))
        shown = readings[:, ROW["tank.t_oil"]]
        assert times[np.isfinite(shown[:, 1])] == pytest.approx([7.0])
        assert np.nanmax(shown) == 55.0
        assert np.isnan(shown[:, 0]).all()


def test_perfect_sensors_show_what_is_there():
    values = np.random.default_rng(2).uniform(1, 4, (50, 6, 2)).astype(np.float32)
    readings = read(values, noise=False)
    present = ~np.isnan(readings)
    assert (readings[present] == values[present]).all()
    assert present[:, ROW["pump.p_out"]].all()


def test_what_the_description_leaves_out_comes_from_the_catalogue():
    sensors = [sensor.model_copy(update={"noise_sd": None, "resolution": None}) for sensor in MACHINE.sensors]
    machine = MACHINE.model_copy(update={"sensors": tuple(sensors)})
    dp = machine.sensors[ROW["filter.dp"]]
    assert noise_of(machine, dp) == (0.01, 0.0)
    assert resolution_of(dp) == 0.01
