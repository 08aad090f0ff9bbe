import numpy as np
import pytest

from gnn_service.demo.modes import degrade, geometric, linear, times
from tests.support.tiny_plant import MODES

SEVERITY = np.array([0.0, 0.5, 1.0])
HEALTHY = {"pump.k_leak": np.array([4e-12, 5e-12, 4e-12]), "filter.resistance": np.full(3, 3e7)}


def test_leakage_grows_geometrically_to_a_multiple_of_each_machines_own():
    changed = times("pump.k_leak", 16.0).apply(HEALTHY["pump.k_leak"], SEVERITY)
    assert changed == pytest.approx([4e-12, 5e-12 * 4, 4e-12 * 16])


def test_a_geometric_change_reaches_its_value_from_any_start():
    changed = geometric("pump.k_leak", 6.4e-11).apply(HEALTHY["pump.k_leak"], np.ones(3))
    assert changed == pytest.approx(6.4e-11)


def test_a_set_pressure_changes_linearly():
    assert linear("p", 260e5).apply(np.full(3, 350e5), SEVERITY) == pytest.approx([350e5, 305e5, 260e5])


def test_a_change_from_nothing_is_linear_and_defined():
    assert linear("p", 8.0).apply(np.zeros(3), SEVERITY).tolist() == [0.0, 4.0, 8.0]


@pytest.mark.parametrize("change", [times("p", 3.0), geometric("p", 0.7), linear("p", 0.7)])
def test_severity_zero_leaves_a_parameter_to_the_bit(change):
    healthy = np.random.default_rng(0).random(1_000) + 0.1
    assert (change.apply(healthy, np.zeros(1_000)) == healthy).all()


def test_two_modes_of_one_parameter_act_one_after_the_other():
    pump = MODES[0]
    both = degrade(HEALTHY, [pump, pump], {"T1": SEVERITY})
    assert both["pump.k_leak"] == pytest.approx([4e-12, 5e-12 * 16, 4e-12 * 256])


def test_healthy_parameters_are_left_alone_and_what_does_not_degrade_is_passed_on():
    degraded = degrade(HEALTHY, MODES, {"T1": SEVERITY, "T2": np.zeros(3)})
    assert degraded["filter.resistance"] is HEALTHY["filter.resistance"]
    assert HEALTHY["pump.k_leak"].tolist() == [4e-12, 5e-12, 4e-12]
    assert degraded["pump.k_leak"][0] == 4e-12
