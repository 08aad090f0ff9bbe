"""The lost flow of a pump, against its own healthy flow or a temperature law of its kind."""

import numpy as np
import pytest

from gnn_service.model.grid import step_s
from gnn_service.model.virtual.pump import PumpLeakage, load_flows
from gnn_service.model.virtual.view import bind
from tests.support.duty_cycle import LITRE_PER_MINUTE, LOAD_FLOW, Cycle, grids, rig

ESTIMATOR = PumpLeakage()
LAW = {
    "flow": [0.0, 7.7e-3 / 60, 0.0, 0.0, 0.0, 8.0e-3 / 60],
    "temperature_k": [318.15],
    "slope_per_k": [0.0],
    "error_percent": [0.1],
}


def view(values):
    binding = next(b for b in bind(rig()) if b.sensor.id == "pump_leakage")
    return binding.view(values, step_s(rig()))


def healthy(noise=0.0):
    return ESTIMATOR.reference(view(grids([Cycle()] * 10, noise=noise)), ESTIMATOR.defaults())


@pytest.mark.parametrize("lost", [0.0, 1.0, 3.0, 4.3])
def test_the_flow_that_was_taken_away_is_read_back(lost):
    found = ESTIMATOR.measure(view(grids([Cycle(lost_percent=lost)])), ESTIMATOR.defaults(), healthy())
    assert found.valid.all()
    assert found.value == pytest.approx(lost, abs=0.05)


@pytest.mark.parametrize("lost", [0.0, 3.0])
def test_a_law_of_its_kind_does_without_commissioning(lost):
    found = ESTIMATOR.measure(view(grids([Cycle(lost_percent=lost)])), LAW, None)
    assert found.valid.all()
    assert found.value == pytest.approx(lost, abs=0.05)


def test_with_neither_baseline_nor_law_there_is_no_estimate_but_a_reason():
    found = ESTIMATOR.measure(view(grids([Cycle()])), ESTIMATOR.defaults(), None)
    assert not found.valid.any()
    assert "commissioning" in found.reason


def test_noise_of_the_sensors_stays_within_the_stated_error():
    cycles = grids([Cycle(lost_percent=3.0)] * 200, noise=1.0)
    found = ESTIMATOR.measure(view(cycles), LAW, None)
    assert np.abs(found.value - 3.0).mean() < found.error.mean()


@pytest.mark.parametrize("relief", [(2,), (3, 4), (2, 3, 4), (1,), (5,)])
def test_plateaus_in_relief_mode_are_not_read(relief):
    found = ESTIMATOR.measure(view(grids([Cycle(relief=relief, lost_percent=3.0)])), LAW, None)
    assert found.valid.all()
    assert found.value == pytest.approx(3.0, abs=0.1)


def test_half_the_plateaus_make_a_less_sure_estimate():
    both, one = (ESTIMATOR.measure(view(grids([Cycle(relief=r)])), LAW, None) for r in ((), (1,)))
    assert one.error > both.error


def test_only_the_outer_loaded_plateaus_are_looked_at():
    flow = load_flows(view(grids([Cycle()])))[0] / LITRE_PER_MINUTE
    assert np.flatnonzero(np.isfinite(flow)).tolist() == [1, 5]
    assert flow[[1, 5]] == pytest.approx([LOAD_FLOW[1], LOAD_FLOW[5]], rel=0.01)


@pytest.mark.parametrize("missing", [("FS1", "FS2"), ("TS1", "TS2", "TS3", "TS4")])
def test_without_flow_or_oil_temperature_there_is_no_estimate_but_a_reason(missing):
    found = ESTIMATOR.measure(view(grids([Cycle(), Cycle(missing=missing)])), LAW, None)
    assert found.valid.tolist() == [True, False]
    assert "no flow" in found.reason


def test_a_standing_pump_has_no_leakage():
    values = grids([Cycle()])
    values[:, rig().sensor_ids.index("FS1")] = 0.0
    assert not ESTIMATOR.measure(view(values), LAW, None).valid.any()


def test_a_reference_holds_a_flow_a_plateau_and_the_temperature():
    reference = healthy()
    assert {name: len(values) for name, values in reference.items()} == ESTIMATOR.reference_sizes(rig().duty_cycle)
    assert reference["temperature_k"] == [pytest.approx(318.15, abs=0.01)]
    assert reference["flow"][1] == pytest.approx(LOAD_FLOW[1] * LITRE_PER_MINUTE, rel=0.01)
    assert reference["flow"][3] == 0.0


def test_windows_without_temperature_make_no_reference_and_spoil_none():
    lost = Cycle(missing=("TS1", "TS2", "TS3", "TS4"), lost_percent=50.0)
    assert ESTIMATOR.reference(view(grids([lost])), {}) is None
    mixed = ESTIMATOR.reference(view(grids([Cycle(), lost, Cycle()])), {})
    assert mixed["flow"] == pytest.approx(healthy()["flow"])
