"""The same machine gives the same frames, bit for bit, whatever runs beside it and however time is divided."""

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.modes import MODES
from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal

STATES = ("truck_loading", "hard_digging", "idle", "heavy_lift", "hold_test", "off", "levelling", "travel", "stall")


def same(one, other):
    return (
        np.array_equal(one.values, other.values, equal_nan=True)
        and np.array_equal(one.phase, other.phase)
        and np.array_equal(one.cycle, other.cycle)
    )


def test_a_machine_alone_equals_itself_among_others(build):
    many = build(STATES, machines=range(1, 10)).advance(230)
    for index in (0, 4, 8):
        alone = build((STATES[index],), machines=(index + 1,)).advance(230)
        assert np.array_equal(alone.values[..., 0], many.values[..., index], equal_nan=True)
        assert np.array_equal(alone.cycle[:, 0], many.cycle[:, index])


def test_a_machine_settles_alone_as_it_does_among_others(build):
    class Coarse(Excavator):
        STEP_S = 0.5

    many = build(STATES[:5], machines=range(1, 6), kind=Coarse, settle=True).advance(20)
    alone = build((STATES[1],), machines=(2,), kind=Coarse, settle=True).advance(20)
    assert np.array_equal(alone.values[..., 0], many.values[..., 1], equal_nan=True)


def test_time_in_pieces_equals_time_in_one(build):
    whole = build(STATES, machines=range(1, 10)).advance(120)
    pieces = build(STATES, machines=range(1, 10))
    parts = [pieces.advance(steps) for steps in (1, 6, 33, 80)]
    assert np.array_equal(whole.values, np.concatenate([part.values for part in parts]), equal_nan=True)


def test_the_ledger_changes_nothing(build):
    assert same(build(STATES).advance(60), build(STATES).advance(60, ledger=True))


def test_no_severity_is_the_healthy_machine_bit_for_bit(build):
    healthy = alike(nominal("excavator"), 2)
    none = degrade(healthy, MODES, {mode.id: np.zeros(2) for mode in MODES})
    assert same(build(STATES[:2]).advance(200), build(STATES[:2], none).advance(200))


def test_one_sick_machine_leaves_its_neighbour_as_it_is(build):
    sick = degrade(alike(nominal("excavator"), 2), MODES, {mode.id: np.array([0.0, 0.7]) for mode in MODES})
    alone, beside = build(STATES[:2]).advance(200), build(STATES[:2], sick).advance(200)
    assert np.array_equal(alone.values[..., 0], beside.values[..., 0], equal_nan=True)
    assert not np.array_equal(alone.values[..., 1], beside.values[..., 1], equal_nan=True)


def test_taking_over_the_same_parameters_on_the_way_changes_nothing(build):
    plain, told = build(STATES), build(STATES)
    first = told.advance(37)
    told.set_parameters(alike(nominal("excavator"), len(STATES)))
    parts = np.concatenate([first.values, told.advance(63).values])
    assert np.array_equal(plain.advance(100).values, parts, equal_nan=True)


def test_a_fault_can_begin_in_the_middle(build, sensor):
    plant = build(("travel",))
    before = sensor(plant.advance(100), "pump_main_1.q_case")[-20:].mean()
    worn = dict(alike(nominal("excavator"), 1)) | {"pump_main_1.leakage": np.array([1.6e-11])}
    plant.set_parameters(worn)
    assert sensor(plant.advance(1), "pump_main_1.q_case")[0, 0] > 2.5 * before


@pytest.mark.parametrize("other", [2, 3])
def test_another_machine_has_other_cycles(build, other):
    one = build(("truck_loading",) * 2, machines=(1, other)).advance(300)
    assert not np.array_equal(one.values[..., 0], one.values[..., 1], equal_nan=True)
