"""The gas charge of an accumulator, estimated from cycles whose charge is known."""

import numpy as np
import pytest

from gnn_service.model.grid import step_s
from gnn_service.model.virtual.accumulator import GRID, TYPICAL, GasCharge, events, step_table
from gnn_service.model.virtual.estimate import Z90
from gnn_service.model.virtual.view import bind
from tests.support.duty_cycle import Cycle, grids, rig

ESTIMATOR = GasCharge()
CHARGES = [90.0, 100.0, 115.0, 130.0]
TEMPERATURES = [30.0, 45.0, 60.0]


def view(values):
    binding = next(b for b in bind(rig()) if b.sensor.id == "gas_charge")
    return binding.view(values, step_s(rig()))


def measure(*cycles, noise=0.0, seed=0, parameters=TYPICAL):
    return ESTIMATOR.measure(view(grids(cycles, noise=noise, seed=seed)), parameters, None)


@pytest.mark.parametrize("charge", CHARGES)
@pytest.mark.parametrize("oil", TEMPERATURES)
def test_the_charge_that_wrote_a_cycle_is_read_back(charge, oil):
    found = measure(Cycle(charge_bar=charge, oil_c=oil))
    assert found.valid.all()
    assert found.value == pytest.approx(charge, abs=1.0)


@pytest.mark.parametrize("charge", CHARGES)
def test_the_charge_is_read_back_from_noisy_sensors(charge):
    found = measure(*[Cycle(charge_bar=charge)] * 50, noise=1.0)
    assert np.median(found.value) == pytest.approx(charge, abs=2.0)
    assert np.abs(found.value - charge).max() < 10.0


@pytest.mark.parametrize("charge", CHARGES)
def test_an_interval_holds_the_truth_at_about_its_rate(charge):
    """Events scattered by exactly the errors that the estimate assumes."""
    random = np.random.default_rng(5)
    values = grids([Cycle(charge_bar=charge + random.uniform(-0.5, 0.5)) for _ in range(400)])
    truth = np.full(400, charge)
    flow, pressure = rig().sensor_ids.index("FS1"), rig().sensor_ids.index("PS1")
    for at in (19, 29, 39, 49):
        values[:, flow, at] += random.normal(0, 0.3, 400)
    values[:, pressure, 0] += random.normal(0, 1.0, 400)
    found = ESTIMATOR.measure(view(values), TYPICAL, None)
    held = np.abs(found.value - truth) <= Z90 * found.error + 0.5
    assert 0.82 <= held.mean() <= 0.98


def test_plateaus_in_relief_mode_are_not_read():
    _, valid = events(view(grids([Cycle(), Cycle(relief=(2, 3, 4)), Cycle(relief=(2,))])))
    table = step_table(view(grids([Cycle()])))
    assert [(before, after) for before, after, _ in table] == [(1, 2), (2, 3), (3, 4), (4, 5)]
    assert valid[0].tolist() == [True] * 5
    assert valid[1].tolist() == [False, False, False, True, True]
    assert valid[2].tolist() == [False, False, True, True, True]


def test_relief_mode_does_not_pull_the_charge_away():
    relief = measure(Cycle(charge_bar=100.0, relief=(2, 3)))
    assert relief.value == pytest.approx(100.0, abs=1.0)


def test_without_the_shut_off_pressure_no_load_step_is_believed():
    values = grids([Cycle(relief=(2, 3, 4))])
    values[:, rig().sensor_ids.index("PS1"), 0:9] = np.nan
    found = ESTIMATOR.measure(view(values), TYPICAL, None)
    assert not found.valid.any()


def test_a_full_accumulator_at_the_start_says_nothing():
    values = grids([Cycle()])
    values[:, rig().sensor_ids.index("PS1"), 0] = values[:, rig().sensor_ids.index("PS1"), 3]
    _, valid = events(view(values))
    assert valid[0].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("sensor", ["FS1", "PS1", "TS1"])
def test_without_one_of_its_sensors_there_is_no_estimate_but_a_reason(sensor):
    only = {name for name in ("FS1", "PS1", "TS1", "TS2", "TS3", "TS4") if sensor[0] == name[0]}
    found = measure(Cycle(), Cycle(missing=tuple(only)))
    assert found.valid.tolist() == [True, False]
    assert found.reason
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.error).all()


def test_an_estimate_from_fewer_events_is_less_sure():
    values = grids([Cycle()])
    half = values.copy()
    half[:, rig().sensor_ids.index("FS1"), 30:] = np.nan
    whole, part = (ESTIMATOR.measure(view(v), TYPICAL, None) for v in (values, half))
    assert part.valid.all()
    assert part.value == pytest.approx(whole.value, abs=2.0)
    assert part.error > whole.error


def test_one_lost_plateau_does_not_lose_the_cycle():
    values = grids([Cycle(charge_bar=100.0)])
    values[:, rig().sensor_ids.index("FS1"), 9:19] = np.nan
    found = ESTIMATOR.measure(view(values), TYPICAL, None)
    assert found.valid.all()
    assert found.value == pytest.approx(100.0, abs=3.0)


def test_an_accumulator_of_unknown_size_is_not_estimated():
    found = measure(Cycle(), parameters=ESTIMATOR.defaults())
    assert not found.valid.any()
    assert "calibration" in found.reason
    assert ESTIMATOR.reference(view(grids([Cycle()])), ESTIMATOR.defaults()) is None


def test_one_error_for_all_steps_is_the_same_as_one_for_each():
    each = {**TYPICAL, "error": [0.3, 0.3, 0.3, 0.3, 1.0]}
    cycles = [Cycle(charge_bar=charge) for charge in CHARGES]
    short, long = measure(*cycles, noise=1.0), measure(*cycles, noise=1.0, parameters=each)
    assert np.array_equal(short.value, long.value)
    assert np.array_equal(short.error, long.error)


def test_estimates_of_several_windows_are_those_of_each_alone():
    values = grids([Cycle(charge_bar=charge, relief=(2,)) for charge in CHARGES], noise=1.0)
    together = ESTIMATOR.measure(view(values), TYPICAL, None)
    for k in range(len(values)):
        alone = ESTIMATOR.measure(view(values[k : k + 1]), TYPICAL, None)
        assert alone.value[0] == together.value[k]
        assert alone.error[0] == pytest.approx(together.error[k])


def test_a_reference_is_the_median_of_the_healthy_charges():
    values = grids([Cycle(charge_bar=charge) for charge in (120.0, 125.0, 140.0)])
    reference = ESTIMATOR.reference(view(values), TYPICAL)
    assert reference["centre"] == [pytest.approx(125.0, abs=1.0)]
    assert {name: len(v) for name, v in reference.items()} == ESTIMATOR.reference_sizes(rig().duty_cycle)


@pytest.mark.parametrize("charge, valid", [(30.0, False), (49.0, False), (52.0, True), (148.0, True), (185.0, False)])
def test_a_charge_beyond_those_that_are_tried_is_no_estimate(charge, valid):
    found = measure(Cycle(charge_bar=charge))
    assert found.valid.tolist() == [valid]
    if valid:
        assert found.value == pytest.approx(charge, abs=1.0)
    else:
        assert found.reason == "the charge may lie beyond 50 to 179 bar, where the estimate ends"


def test_every_charge_that_is_tried_is_positive_and_rising():
    assert GRID[0] > 0
    assert (np.diff(GRID) > 0).all()
