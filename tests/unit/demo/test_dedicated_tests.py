"""Tests that people run on machines: whole ones, in every life alike, so that each sensor is seen at last."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.demo.dedicated_tests import EVERY, planned_tests
from gnn_service.demo.fleet import lapse_schedule, shift_schedule
from gnn_service.demo.life_kinds import LifeKind
from gnn_service.demo.life_windows import LapsePlan, simulate_lapse
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from tests.support.tiny_plant import tiny_system

TINY = replace(tiny_system(), tests={"stall": 40.0})
KEYS = [Key(5, machine, window) for machine in range(6) for window in range(24)]


@pytest.mark.parametrize("name", list_systems())
def test_tests_are_those_states_that_hidden_faults_need(name):
    system = get_system(name)
    assert set(system.tests) <= set(system.shift)
    for mode in system.modes:
        rare = {state for state in mode.needs if system.shift[state] < 0.03}
        assert rare <= set(system.tests)


@pytest.mark.parametrize("name", list_systems())
def test_a_quarter_of_the_windows_of_every_life_holds_a_test_and_each_test_has_its_turn(name):
    tests = get_system(name).tests
    planned = np.array(planned_tests(tests, KEYS, 600.0)).reshape(6, 24)
    assert ((planned != "").sum(axis=1) == 24 // EVERY).all()
    for life in planned.tolist():
        counts = Counter(state for state in life if state)
        assert set(counts) == set(tests)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_test_lasts_as_long_as_it_takes_whenever_it_is_begun():
    for schedule in (lapse_schedule(TINY, KEYS, 200.0), shift_schedule(TINY, KEYS, 200.0)):
        stall = TINY.plant.STATES.index("stall")
        found = 0
        for starts, states in zip(schedule.starts_s, schedule.states, strict=True):
            ends = np.append(starts[1:], 200.0)
            for start, end in zip(starts[states == stall], ends[states == stall], strict=True):
                if end > start:
                    found += 1
                    assert end - start >= 40.0 - 1e-9
        assert found > 20


def test_a_window_that_is_shorter_than_a_test_plans_none():
    assert set(planned_tests({"stall": 40.0}, KEYS, 39.0)) == {""}


def test_a_shift_gives_a_short_test_its_share_of_time():
    schedule = shift_schedule(TINY, KEYS, 12_000.0)
    stall = TINY.plant.STATES.index("stall")
    lengths = np.diff(np.column_stack([schedule.starts_s, np.full(len(KEYS), 12_000.0)]), axis=1)
    share = lengths[schedule.states == stall].sum() / lengths.sum()
    assert share == pytest.approx(TINY.shift["stall"] / sum(TINY.shift.values()), abs=0.015)


def test_what_fails_has_no_part_in_which_windows_hold_a_test():
    plan = LapsePlan(windows=8, window_s=60.0, full_share=0.0)
    keys, names = [Key(2, number) for number in range(2)], ["a", "b"]
    held = []
    for kind in (LifeKind("T1"), LifeKind("T3"), LifeKind(None)):
        lives = simulate_lapse(TINY, [kind] * 2, keys, plan, names)
        states = [recording.readings.operating_state.reshape(8, 60) for _, recording, _ in lives]
        held.append(np.array([(life == "stall").any(axis=1) for life in states]))
    assert held[0].sum(axis=1).tolist() == [2, 2]
    assert (held[0] == held[1]).all()
    assert (held[0] == held[2]).all()


@pytest.mark.parametrize("name", list_systems())
def test_every_sensor_of_every_machine_has_readings_in_one_life(name):
    system = get_system(name)
    longest = max(system.tests.values())
    plan = LapsePlan(windows=EVERY * len(system.tests), window_s=longest + 2.0, full_share=0.0)
    ((_, recording, _),) = simulate_lapse(system, [LifeKind(None)], [Key(1, 0)], plan, [f"{name}-0"])
    seen = np.isfinite(recording.readings.values).any(axis=0)
    assert [sensor for sensor, there in zip(recording.readings.sensors, seen, strict=True) if not there] == []
