"""The newest readings in memory: what counts, what leaves, and what is given out."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.db.events import Operation
from gnn_service.db.layouts import Layout
from gnn_service.monitoring.newest import MOMENTS_MAX, NewestReadings
from gnn_service.monitoring.pieces import Doing
from tests.support.flaky_store import SECOND_US, START_US, block


def newest(**values):
    return NewestReadings(**({"span_s": 10.0, "ticks_max": 100, "machines_max": 10} | values))


def machine(number=1, layouts=((1, 1),)):
    """What `NewestReadings` needs of a stored machine: two sensors in each rate group."""
    groups = tuple(Layout(layout, number, group, (10 * group, 10 * group + 1)) for group, layout in layouts)
    sensors = [sensor for group in groups for sensor in group.sensor_ids]
    return SimpleNamespace(
        machine_id=number, groups=groups, columns={sensor: place for place, sensor in enumerate(sensors)},
        machine=SimpleNamespace(sensor_ids=tuple(map(str, sensors))), created_at=datetime.now(UTC),
    )  # fmt: skip


def seconds(readings):
    return ((readings.times - START_US) // SECOND_US).tolist()


def test_the_last_seconds_are_given_in_order():
    subject = newest()
    subject.add([block([1, 2], 1.0), block([3], 2.0)])
    found = subject.readings(machine(), 2.0)
    assert seconds(found) == [2, 3]
    assert found.values[:, 0].tolist() == [1.0, 2.0]
    assert subject.until_us(1) == START_US + 3 * SECOND_US
    assert subject.readings(machine(2), 2.0) is None
    assert subject.until_us(2) is None


def test_a_late_reading_is_put_in_its_place_and_a_present_value_replaces_the_old():
    subject = newest()
    subject.add([block([1, 3], 1.0)])
    subject.add([block([2, 3], 2.0)])
    missing = block([1], np.nan)
    subject.add([missing])
    found = subject.readings(machine(), 10.0)
    assert seconds(found) == [1, 2, 3]
    assert found.values[:, 0].tolist() == [1.0, 2.0, 2.0]


def test_what_is_read_back_from_the_database_fills_gaps_only():
    subject = newest()
    subject.add([block([3, 4], 1.0)])
    subject.add([block([1, 3], 5.0)], older=True)
    found = subject.readings(machine(), 10.0)
    assert seconds(found) == [1, 3, 4]
    assert found.values[:, 0].tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize("step", [1, 7])
def test_memory_is_bounded_by_time_ticks_and_machines(step):
    subject = newest(span_s=50.0, ticks_max=20, machines_max=3)
    for start in range(0, 300, step):
        for number in range(1, 6):
            subject.add([block(range(start, start + step), float(start), machine=number)])
        assert subject.stats().machines <= 3
        assert subject.stats().ticks <= 3 * (2 * 20 + step)
    assert subject.stats().evicted_total > 0
    found = subject.readings(machine(5), 1000.0)
    assert len(found.times) <= 2 * 20 + step
    assert seconds(found)[-1] == 299 if step == 1 else True


def test_one_block_that_is_too_long_is_cut_to_its_newest_ticks():
    subject = newest(span_s=1000.0, ticks_max=5)
    subject.add([block(range(100), 1.0)])
    assert seconds(subject.readings(machine(), 1000.0)) == [95, 96, 97, 98, 99]


def test_rate_groups_come_on_one_grid_and_a_former_layout_is_left_out():
    subject = newest()
    both = machine(layouts=((1, 1), (2, 7)))
    subject.add([block([1, 2, 3], 1.0), block([2], 9.0, group=2, layout=7)])
    found = subject.readings(both, 10.0)
    assert seconds(found) == [1, 2, 3]
    np.testing.assert_equal(found.values[:, 2], [np.nan, 9.0, np.nan])
    subject.add([block([4], 2.0, layout=3)])
    assert seconds(subject.readings(machine(layouts=((1, 3),)), 10.0)) == [4]
    assert subject.readings(machine(layouts=((1, 1),)), 10.0) is None
    subject.add([block([1], 5.0)], older=True)  # of a layout that is gone
    assert seconds(subject.readings(machine(layouts=((1, 3),)), 10.0)) == [4]


def test_a_machine_can_be_forgotten():
    subject = newest()
    subject.add([block([1], 1.0)])
    subject.forget(1)
    subject.forget(1)
    assert subject.readings(machine(), 10.0) is None


def test_a_machine_that_is_heard_of_stays():
    subject = newest(machines_max=2)
    for tick, number in enumerate([1, 2, 1, 3]):
        subject.add([block([tick], 1.0, machine=number)])
    assert subject.until_us(1) is not None
    assert subject.until_us(2) is None


def doing(*rows):
    """Rows of second, cycle, state."""
    times, cycles, states = zip(*rows, strict=True)
    return Doing(1, Operation(START_US + np.array(times) * SECOND_US, cycle=cycles, operating_state=states))


def news(subject, *rows):
    found = subject.news(doing(*rows)).operation
    return list(zip(((found.times - START_US) // SECOND_US).tolist(), found.cycle, found.operating_state, strict=True))


def test_what_a_machine_does_is_kept_in_order_and_the_later_word_counts():
    subject = newest()
    subject.add([doing((5, 2, "on"), (9, 3, "on"))])
    subject.add([doing((1, 1, "off"), (5, 2, "idle"))])
    subject.add([doing((5, 7, "x"), (7, 2, "old"))], older=True)
    found = [(m.time_us - START_US) // SECOND_US for m in subject.moments(1)]
    assert found == [1, 5, 7, 9]
    assert [m.operating_state for m in subject.moments(1)] == ["off", "idle", "old", "on"]
    assert subject.moments(2) == ()
    for start in range(20, 2000):
        subject.add([doing((start, start, None))])
    assert len(subject.moments(1)) == MOMENTS_MAX


def test_only_what_is_new_of_what_a_machine_does_is_stored():
    subject = newest()
    assert news(subject, (1, 1, "on")) == [(1, 1, "on")]
    subject.add([doing((1, 1, "on"), (5, 2, "on"))])
    assert news(subject, (6, 2, "on")) == []
    assert news(subject, (6, 2, "on"), (7, 2, "on"), (8, 3, "on"), (9, 3, "on")) == [(8, 3, "on")]
    assert news(subject, (6, 2, "off")) == [(6, 2, "off")]
    assert news(subject, (0, 1, "on")) == [(0, 1, "on")]
    assert news(subject, (3, 1, "on"), (4, 2, "on")) == [(4, 2, "on")]
