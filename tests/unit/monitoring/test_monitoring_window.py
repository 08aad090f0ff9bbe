"""Which stretch is diagnosed: the last whole cycle where cycles are known, else the newest stretch."""

import numpy as np
import pytest

from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.monitoring.newest import Moment
from gnn_service.monitoring.window import newest_window, span_s
from tests.support.flaky_store import SECOND_US, START_US
from tests.support.tiny_plant import DESCRIPTION

PHASES = [{"id": "dig", "start_s": 0, "end_s": 2, "kind": "plateau"}, {"id": "rest", "start_s": 2, "end_s": 5}]
CYCLIC = Machine.model_validate(DESCRIPTION | {"duty_cycle": {"period_s": 5, "phases": PHASES}})
FREE = Machine.model_validate(DESCRIPTION)
ALONE = Machine.model_validate(DESCRIPTION | {"duty_cycle": None})


def readings(seconds, rate=10):
    times = START_US + np.arange(round(seconds * rate)) * SECOND_US // rate
    values = np.tile((times - START_US)[:, None] / SECOND_US, (1, 6)).astype(np.float32)
    return Readings(times, FREE.sensor_ids, values)


def cycles(*starts, first=7):
    return [Moment(START_US + round(start * SECOND_US), first + n, "busy") for n, start in enumerate(starts)]


def bounds(window):
    return window.start - START_US / 1e6, window.end - START_US / 1e6


@pytest.mark.parametrize(("machine", "length"), [(ALONE, 60.0), (FREE, 5.0), (CYCLIC, 5.0)])
def test_where_no_cycle_is_known_it_is_the_newest_stretch(machine, length):
    window = newest_window(machine, readings(100), [])
    first, last = bounds(window)
    assert last == pytest.approx(99.9)
    assert first == pytest.approx(100 - length, abs=0.101)
    assert window.phase_s is None
    assert window.values.shape == (6, round(length * 10))
    assert window.values[0, 0] == pytest.approx(first, abs=1e-3)


def test_it_is_the_last_cycle_that_has_ended():
    window = newest_window(CYCLIC, readings(13), cycles(0, 4.5, 9.5))
    assert bounds(window) == pytest.approx((4.5, 9.4))
    assert (window.phase_s, window.cycle, window.operating_state) == (0.0, 8, "busy")


def test_a_cycle_that_has_lasted_its_period_has_ended():
    window = newest_window(CYCLIC, readings(10), cycles(0, 5))
    assert bounds(window) == pytest.approx((5.0, 9.9))


def test_a_cycle_that_began_before_memory_does_not_count_as_whole_but_is_better_than_none():
    known = [Moment(START_US - 2 * SECOND_US, 3), Moment(START_US + 3 * SECOND_US, 4)]
    assert bounds(newest_window(CYCLIC, readings(4), known)) == pytest.approx((3.0, 3.9))
    window = newest_window(CYCLIC, readings(2), known[:1])
    assert bounds(window) == pytest.approx((0.0, 1.9))
    assert window.phase_s == 2.0
    assert window.cycle == 3


def test_the_first_reading_of_a_cycle_may_come_after_its_beginning():
    window = newest_window(CYCLIC, readings(12), cycles(0.05, 5.05, 10.05))
    assert window.phase_s == pytest.approx(0.05)
    assert bounds(window) == pytest.approx((5.1, 10.0))


def test_notes_that_do_not_begin_a_cycle_do_not_cut_it():
    known = [*cycles(0, 5), Moment(START_US + 7 * SECOND_US, 8, "pause"), *cycles(10, first=9)]
    assert bounds(newest_window(CYCLIC, readings(12), known)) == pytest.approx((5.0, 9.9))


def test_where_nothing_has_a_fixed_place_cycles_do_not_matter_but_are_told():
    window = newest_window(FREE, readings(13), cycles(0, 4.5, 9.5))
    assert bounds(window) == pytest.approx((8.0, 12.9), abs=0.11)
    assert window.cycle == 8


def test_cycles_without_a_reading_are_passed_over():
    window = newest_window(CYCLIC, readings(3), cycles(500, 505))
    assert bounds(window) == pytest.approx((0.0, 2.9))


def test_one_reading_is_a_window():
    assert newest_window(CYCLIC, readings(0.1), cycles(0)).values.shape == (6, 1)


def test_the_span_holds_a_whole_cycle_wherever_it_begins():
    assert [span_s(machine) for machine in (ALONE, FREE, CYCLIC)] == [60.0, 5.0, 10.0]
