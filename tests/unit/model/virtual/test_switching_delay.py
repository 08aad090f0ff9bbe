"""The switching delay of a valve, read from the pressure behind it."""

import numpy as np
import pytest

from gnn_service.model.grid import step_s
from gnn_service.model.virtual.valve import SwitchingDelay
from gnn_service.model.virtual.view import bind
from tests.support.duty_cycle import Cycle, grids, rig

ESTIMATOR = SwitchingDelay()
PARAMETERS = {"error_s": [0.01]}


def view(values):
    binding = next(b for b in bind(rig()) if b.sensor.id == "switching_delay")
    return binding.view(values, step_s(rig()))


@pytest.mark.parametrize("delay", [0.0, 0.30, 0.37, 0.48, 0.61, 1.0])
def test_the_delay_that_wrote_a_cycle_is_read_back(delay):
    found = ESTIMATOR.measure(view(grids([Cycle(delay_s=delay)])), PARAMETERS, None)
    assert found.valid.all()
    assert found.value == pytest.approx(delay, abs=1e-4)


@pytest.mark.parametrize("oil, charge", [(30.0, 90.0), (60.0, 130.0)])
def test_neither_oil_temperature_nor_gas_charge_moves_the_delay(oil, charge):
    found = ESTIMATOR.measure(view(grids([Cycle(delay_s=0.37, oil_c=oil, charge_bar=charge)])), PARAMETERS, None)
    assert found.value == pytest.approx(0.37, abs=1e-4)


def test_without_its_pressure_there_is_no_estimate_but_a_reason():
    found = ESTIMATOR.measure(view(grids([Cycle(), Cycle(missing=("PS2",))])), PARAMETERS, None)
    assert found.valid.tolist() == [True, False]
    assert "pressure" in found.reason


def test_a_valve_that_never_opened_has_no_delay():
    values = grids([Cycle()])
    values[:, rig().sensor_ids.index("PS2")] = 0.0
    assert not ESTIMATOR.measure(view(values), PARAMETERS, None).valid.any()


def test_a_reference_is_the_median_of_the_valid_delays():
    cycles = [Cycle(delay_s=d) for d in (0.29, 0.30, 0.9)] + [Cycle(missing=("PS2",))]
    reference = ESTIMATOR.reference(view(grids(cycles)), PARAMETERS)
    assert reference["centre"] == [pytest.approx(0.30, abs=1e-4)]
    assert {name: len(v) for name, v in reference.items()} == ESTIMATOR.reference_sizes(rig().duty_cycle)
    assert ESTIMATOR.reference(view(grids([Cycle(missing=("PS2",))])), PARAMETERS) is None


def test_noise_of_the_sensor_stays_within_the_stated_error():
    found = ESTIMATOR.measure(view(grids([Cycle(delay_s=0.48)] * 100, noise=1.0)), PARAMETERS, None)
    assert np.abs(found.value - 0.48).max() < 0.01
