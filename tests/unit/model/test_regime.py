"""Which operating regimes count as seen in training."""

import numpy as np
import orjson
import pytest

from gnn_service.model.regime import MISSING, RegimeMap, context_bins, fit_regime
from tests.support.duty_cycle import Cycle, grids, rig


def at(*temperatures, missing=()):
    return grids([Cycle(oil_c=t, missing=missing) for t in temperatures])


def names(count):
    return np.array([f"group-{k}" for k in range(count)])


def fitted(temperatures, groups=None):
    return fit_regime(rig(), at(*temperatures), names(len(temperatures)) if groups is None else np.array(groups))


def test_a_regime_in_which_many_groups_ran_is_fully_supported():
    regime = fitted(np.linspace(36, 40, 20))
    assert regime.support(rig(), at(37.0, 38.5)) == pytest.approx([1.0, 1.0])


def test_a_regime_in_which_no_group_ran_has_no_support():
    regime = fitted(np.linspace(36, 40, 20))
    assert regime.support(rig(), at(20.0, 50.0, 70.0)) == pytest.approx([0.0, 0.0, 0.0])


def test_a_regime_that_one_or_two_groups_passed_through_has_no_support():
    regime = fitted([*np.linspace(36, 38, 20), 55.0, 55.5])
    assert regime.support(rig(), at(55.0))[0] == 0.0


def test_support_grows_with_the_groups_that_ran_in_a_regime():
    support = [fitted([*np.linspace(36, 38, 20), *[55.0] * n]).support(rig(), at(55.0))[0] for n in (2, 3, 4, 5)]
    assert support == pytest.approx([0.0, 0.2, 0.6, 1.0])


def test_many_windows_of_one_group_are_one_witness():
    regime = fitted([*np.linspace(36, 38, 20), *[55.0] * 30], [*names(20), *["late"] * 30])
    assert regime.support(rig(), at(55.0))[0] == 0.0


def test_the_least_supported_context_sensor_decides():
    values = at(*np.linspace(36, 40, 20))
    regime = fit_regime(rig(), values, names(20))
    odd = at(38.0)
    odd[:, rig().sensor_ids.index("TS2")] = 90.0
    assert regime.support(rig(), odd)[0] == 0.0


@pytest.mark.parametrize("strange", [-30.0, 130.0])
def test_a_reading_outside_its_range_is_no_missing_reading(strange):
    regime = fitted(np.linspace(36, 40, 20))
    assert regime.support(rig(), at(strange))[0] == 0.0


def test_a_missing_context_sensor_has_no_say():
    regime = fitted(np.linspace(36, 40, 20))
    assert regime.support(rig(), at(38.0, missing=("TS2",)))[0] == 1.0
    assert regime.support(rig(), at(60.0, missing=("TS2",)))[0] == 0.0


def test_a_context_sensor_that_training_never_knew_has_no_say():
    regime = fit_regime(rig(), at(*np.linspace(36, 40, 20), missing=("TS1",)), names(20))
    assert regime.support(rig(), at(90.0))[0] == 1.0


def test_only_temperatures_in_the_role_of_context_make_a_regime():
    assert {rig().sensors[r].id for r in context_bins(rig(), at(40.0))} == {"TS1", "TS2"}
    bins = context_bins(rig(), at(40.0, 41.0, missing=("TS1",)))[rig().sensor_ids.index("TS1")]
    assert bins.tolist() == [MISSING, MISSING]


def test_json_there_and_back_is_the_same_map():
    regime = fitted([-40.0, *np.linspace(36, 40, 20)])
    again = RegimeMap.from_dict(orjson.loads(orjson.dumps(regime.to_dict())))
    assert again == regime
    assert min(again.groups["TS1"]) < 0


def test_support_does_not_depend_on_the_order_of_the_sensors():
    regime = fitted(np.linspace(36, 40, 20))
    order = np.random.default_rng(0).permutation(len(rig().sensors))
    turned = rig().model_copy(update={"sensors": tuple(rig().sensors[k] for k in order)})
    values = at(30.0, 38.0, 41.0)
    assert np.array_equal(regime.support(turned, values[:, order]), regime.support(rig(), values))
