"""Calibration finds the constants that the recording was made with, and says nothing where nothing can be told."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.model.grid import step_s
from gnn_service.model.virtual.estimate import Estimate, Parameters
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import Binding, CycleView, bind
from gnn_service.training.dataset import WindowSet
from gnn_service.training.prepare import learn_kind
from gnn_service.training.virtual_fit import POLYTROPIC_EXPONENT, fit_parameters, fit_scale
from tests.support.rig import (
    CHARGE_BAR,
    FILL_DELAY_S,
    FLOW_SLOPE_PER_K,
    LITRE_PER_MINUTE,
    LOAD_FLOW,
    LOST_PERCENT,
    OIL_C,
    SHELL_M3,
    SWITCH_FRACTION,
    SWITCHING_DELAY_S,
    rig_windows,
)

MODES = {
    "switching_delay": "valve_switching_lag",
    "pump_leakage": "pump_internal_leakage",
    "gas_charge": "accumulator_gas_loss",
}
QUARTERS = (0.0, 0.25, 0.5, 1.0)


def binding(sensor: str) -> Binding:
    return next(b for b in bind(rig_windows().machine) if b.sensor.id == sensor)


def view(sensor: str, windows: WindowSet) -> CycleView:
    return binding(sensor).view(windows.grids, step_s(windows.machine))


def fitted(sensor: str, windows: WindowSet | None = None) -> Parameters:
    chosen = windows or rig_windows()
    return fit_parameters(sensor, view(sensor, chosen), chosen.levels[MODES[sensor]])


def centres(sensor: str, windows: WindowSet | None = None) -> list[float]:
    """Median of the estimate on each level."""
    chosen = windows or rig_windows()
    estimate = ESTIMATORS[sensor].measure(view(sensor, chosen), fitted(sensor, chosen), None)
    level = chosen.levels[MODES[sensor]]
    return [float(np.median(estimate.value[estimate.valid & (level == k)])) for k in np.unique(level)]


def blinded(sensor_id: str) -> WindowSet:
    windows = rig_windows()
    grids = windows.grids.copy()
    grids[:, windows.machine.sensor_ids.index(sensor_id)] = np.nan
    return replace(windows, grids=grids)


def estimate(values: list[float], valid: list[bool] | None = None) -> Estimate:
    array = np.array(values)
    return Estimate(array, np.full(len(array), 0.1), np.ones(len(array), bool) if valid is None else np.array(valid))


def test_the_gas_model_finds_shell_delay_and_switching_fraction():
    found = fitted("gas_charge")
    assert found["shell_m3"][0] == pytest.approx(SHELL_M3, rel=0.02)
    assert found["delay_s"][0] == pytest.approx(FILL_DELAY_S, rel=0.1)
    assert found["switch_fraction"][0] == pytest.approx(SWITCH_FRACTION, abs=0.05)
    assert found["flow_factor"][0] == pytest.approx(1.0, rel=0.02)
    assert found["exponent"] == [POLYTROPIC_EXPONENT]


def test_the_gas_charge_of_every_level_is_found():
    assert centres("gas_charge") == pytest.approx(CHARGE_BAR, abs=1.5)


def test_a_tenth_of_the_windows_gone_wild_moves_no_gas_charge():
    windows = rig_windows()
    grids = windows.grids.copy()
    grids[::10, windows.machine.sensor_ids.index("FS1"), 19] += 5.0
    assert centres("gas_charge", replace(windows, grids=grids)) == pytest.approx(CHARGE_BAR, abs=2.0)


def test_the_leak_free_flow_and_its_temperature_law_are_found():
    found = fitted("pump_leakage")
    assert found["slope_per_k"][0] == pytest.approx(FLOW_SLOPE_PER_K, rel=0.05)
    rise = found["temperature_k"][0] - 273.15 - OIL_C[0]
    first, last = (LOAD_FLOW[k] * LITRE_PER_MINUTE * np.exp(FLOW_SLOPE_PER_K * rise) for k in (1, 5))
    assert found["flow"][1] == pytest.approx(first, rel=0.005)
    assert found["flow"][5] == pytest.approx(last, rel=0.005)
    assert found["flow"][0] == 0.0
    assert centres("pump_leakage") == pytest.approx(LOST_PERCENT, abs=0.2)


def test_without_a_range_of_temperature_there_is_no_temperature_law():
    windows = rig_windows()
    oil = windows.grids[:, windows.machine.sensor_ids.index("TS1")].mean(1)
    narrow = windows.take(np.abs(oil - 36.0) < 0.4)
    assert fitted("pump_leakage", narrow)["slope_per_k"] == [0.0]


def test_the_switching_delay_of_every_level_and_its_error_are_found():
    assert centres("switching_delay") == pytest.approx(SWITCHING_DELAY_S, abs=0.002)
    assert fitted("switching_delay")["error_s"][0] == pytest.approx(0.001, abs=0.0005)


@pytest.mark.parametrize("sensor, blind", [("pump_leakage", "FS1"), ("gas_charge", "FS1"), ("gas_charge", "PS1")])
def test_where_a_real_sensor_is_missing_throughout_the_defaults_stay(sensor, blind):
    assert fitted(sensor, blinded(blind)) == ESTIMATORS[sensor].defaults()


def test_without_a_leak_free_window_the_pump_keeps_its_defaults():
    windows = rig_windows()
    leaking = windows.take(windows.levels["pump_internal_leakage"] > 0)
    assert fitted("pump_leakage", leaking) == ESTIMATORS["pump_leakage"].defaults()


def test_a_window_with_a_gap_is_left_out_and_the_others_are_fitted():
    windows = rig_windows()
    grids = windows.grids.copy()
    for sensor, rows in (("PS1", slice(0, 9, 3)), ("FS1", slice(1, 9, 3)), ("TS1", slice(2, 9, 3))):
        grids[rows, windows.machine.sensor_ids.index(sensor)] = np.nan
    torn = replace(windows, grids=grids)
    assert fitted("gas_charge", torn)["shell_m3"][0] == pytest.approx(SHELL_M3, rel=0.06)
    assert centres("gas_charge", torn) == pytest.approx(CHARGE_BAR, abs=2.5)
    assert fitted("pump_leakage", torn)["slope_per_k"][0] == pytest.approx(FLOW_SLOPE_PER_K, rel=0.05)


def test_levels_lie_at_the_median_with_a_robust_spread():
    values = [0.0, 0.1, -0.1, 0.0, 50.0, 1.0, 1.1, 0.9, 3.0, 3.1, 2.9, 7.0, 7.2, 6.8]
    level = np.array([0] * 5 + [1] * 3 + [2] * 3 + [3] * 3)
    scale = fit_scale(estimate(values), level, QUARTERS)
    assert scale is not None
    assert scale.centres == pytest.approx((0.0, 1.0, 3.0, 7.0))
    assert scale.spreads == pytest.approx((0.14826, 0.14826, 0.14826, 0.29652), rel=0.01)
    assert scale.severities == QUARTERS


def test_a_level_without_windows_is_interpolated_by_severity():
    level = np.array([0, 0, 1, 1, 3, 3])
    scale = fit_scale(estimate([0.0, 0.2, 1.0, 1.2, 4.0, 4.2]), level, QUARTERS)
    assert scale is not None
    assert scale.centres == pytest.approx((0.1, 1.1, 2.1, 4.1))
    assert all(spread > 0 for spread in scale.spreads)


def test_a_level_of_one_window_or_of_invalid_windows_counts_as_not_seen():
    level = np.array([0, 0, 1, 2, 2, 3, 3])
    valid = [True, True, True, False, False, True, True]
    scale = fit_scale(estimate([0.0, 0.0, 100.0, 200.0, 200.0, 4.0, 4.0], valid), level, QUARTERS)
    assert scale is not None
    assert scale.centres == pytest.approx((0.0, 1.0, 2.0, 4.0))


def test_estimates_without_scatter_still_get_a_spread():
    scale = fit_scale(estimate([0.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1]), (0.0, 1.0))
    assert scale is not None
    assert scale.spreads == pytest.approx((0.02, 0.02))


@pytest.mark.parametrize(
    "values, level, valid",
    [
        ([1.0, 2.0, 3.0], [0, 0, 0], None),
        ([1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1], None),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], [True, True, False, False]),
        ([1.0, 2.0, 3.0, 4.0], [-1, -1, -1, -1], None),
        ([], [], None),
    ],
    ids=["one level", "one value", "one valid level", "none known", "nothing"],
)
def test_what_tells_no_levels_apart_makes_no_scale(values, level, valid):
    assert fit_scale(estimate(values, valid), np.array(level, np.int64), (0.0, 1.0)) is None


def test_centres_drift_with_a_condition_that_many_groups_span():
    level = np.tile([0, 1], 40)
    condition = np.repeat([300.0, 320.0], 40)
    groups = np.array([f"g{k // 4}" for k in range(80)])
    values = level + 0.1 * (condition - 300) / 20 + np.tile([-0.01, -0.01, 0.01, 0.01], 20)
    drifting = replace(estimate(values.tolist()), condition=condition)
    scale = fit_scale(drifting, level, (0.0, 1.0), groups)
    assert scale is not None
    found = scale.centres_at(np.array([300.0, 320.0]))
    assert found[0] == pytest.approx([0.0, 1.0], abs=0.02)
    assert found[1] == pytest.approx([0.1, 1.1], abs=0.02)
    few = fit_scale(drifting, level, (0.0, 1.0), np.where(condition > 310, "warm", "cold"))
    assert few is not None
    assert few.centres_at(np.array([300.0, 320.0]))[0] == pytest.approx([0.05, 1.05], abs=0.02)
    assert np.ptp(few.centres_at(np.array([300.0, 320.0])), axis=0) == pytest.approx([0.0, 0.0])


def test_a_kind_is_calibrated_from_end_to_end_with_a_level_missing():
    windows = rig_windows()
    without = windows.take(windows.levels["accumulator_gas_loss"] != 2)
    scale = learn_kind(without, without).calibrations["accumulator.gas_charge"].scale
    assert scale is not None
    known = scale.centres_at(np.array([OIL_C[0] + 273.15]))[0]
    assert known[[0, 1, 3]] == pytest.approx([130.0, 115.0, 90.0], abs=2.5)
    assert known[2] == pytest.approx((known[1] + known[3]) / 2, abs=0.5)
