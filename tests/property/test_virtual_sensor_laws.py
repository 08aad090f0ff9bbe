"""What virtual sensors keep whatever the machine was doing."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.virtual.accumulator import GRID
from gnn_service.model.virtual.estimate import Z90
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import CALIBRATIONS, healthy_baseline

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
cycles = st.builds(
    Cycle,
    charge_bar=st.floats(90.0, 130.0),
    oil_c=st.floats(30.0, 60.0),
    delay_s=st.floats(0.1, 0.9),
    lost_percent=st.floats(0.0, 8.0),
    relief=st.sampled_from([(), (2,), (2, 3), (2, 3, 4)]),
)
SENSORS = VirtualSensors.of(rig(), CALIBRATIONS)


def read(values, baseline=None):
    return {e.binding.key: e for e in SENSORS.read(values, baseline)}


@few
@given(cycles)
def test_every_estimate_finds_what_wrote_the_cycle(cycle):
    found = read(grids([cycle]), healthy_baseline())
    assert found["valve.switching_delay"].estimate.value[0] == pytest.approx(cycle.delay_s, abs=1e-3)
    assert found["pump.pump_leakage"].estimate.value[0] == pytest.approx(cycle.lost_percent, abs=0.2)
    # Hot and full of gas, an accumulator stands empty under most loads: the estimate must say how little it knows.
    charge = found["accumulator.gas_charge"].estimate
    assert abs(charge.value[0] - cycle.charge_bar) <= 1.0 + Z90 * charge.error[0]


@few
@given(st.floats(60.0, 130.0), st.floats(60.0, 130.0), st.floats(30.0, 60.0))
def test_more_gas_never_reads_as_less(one, other, oil):
    """Up to the resolution of the grid; an accumulator that stands empty under every load gives nothing away."""
    low, high = sorted((one, other))
    value = read(grids([Cycle(charge_bar=low, oil_c=oil), Cycle(charge_bar=high, oil_c=oil)]))
    less, more = value["accumulator.gas_charge"].estimate.value
    assert less <= more + (GRID[1] - GRID[0])


@few
@given(cycles, st.lists(st.sampled_from(rig().sensor_ids), max_size=6, unique=True), st.integers(0, 2**32 - 1))
def test_whatever_is_missing_estimates_are_finite_and_probabilities_sum_to_one(cycle, missing, seed):
    values = grids([cycle], noise=5.0, seed=seed)
    for sensor in missing:
        values[:, rig().sensor_ids.index(sensor)] = np.nan
    for evidence in read(values, healthy_baseline()).values():
        estimate = evidence.estimate
        assert np.isfinite(estimate.value).all()
        assert (estimate.error >= 0).all()
        assert estimate.valid.all() or estimate.reason
        assert np.exp(evidence.log_levels).sum(1) == pytest.approx(1.0)
        assert 0.0 <= evidence.severity[0] <= 1.0


@few
@given(cycles, st.sampled_from(rig().sensor_ids), st.integers(0, 59), st.integers(1, 59))
def test_a_gap_in_one_sensor_makes_no_estimate_noticeably_surer(cycle, sensor, first, length):
    values = grids([cycle])
    holed = values.copy()
    holed[:, rig().sensor_ids.index(sensor), first : first + length] = np.nan
    whole, part = read(values, healthy_baseline()), read(holed, healthy_baseline())
    for key, evidence in part.items():
        if evidence.estimate.valid[0]:
            assert evidence.estimate.error[0] >= 0.8 * whole[key].estimate.error[0] - 0.25, key


@few
@given(cycles, st.integers(0, 2**32 - 1))
def test_estimates_do_not_depend_on_the_order_of_the_description(cycle, seed):
    random = np.random.default_rng(seed)
    orders = {part: random.permutation(len(getattr(rig(), part))) for part in ("components", "connections", "sensors")}
    lists = {part: tuple(getattr(rig(), part)[k] for k in order) for part, order in orders.items()}
    turned = VirtualSensors.of(rig().model_copy(update=lists), CALIBRATIONS)
    values = grids([cycle], noise=1.0, seed=seed)
    plain = read(values, healthy_baseline())
    found = {e.binding.key: e for e in turned.read(values[:, orders["sensors"]], healthy_baseline())}
    assert found.keys() == plain.keys()
    for key, evidence in found.items():
        assert evidence.estimate.value[0] == plain[key].estimate.value[0]
        assert np.array_equal(evidence.log_levels, plain[key].log_levels)
