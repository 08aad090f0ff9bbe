from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.check import parse_machine
from gnn_service.domain.recording import Readings, Recording
from gnn_service.recordings.windows import cycle_windows


def recording_of(seconds, cycle=None, period=10.0, phases=()):
    """One sensor that counts its rows, at the given seconds."""
    machine = parse_machine(
        {
            "id": "m",
            "components": [{"id": "pump", "type": "pump"}],
            "sensors": [
                {"id": "P", "component": "pump", "quantity": "pressure", "unit": "bar", "range": {"low": 0, "high": 9}}
            ],
            "duty_cycle": None if period is None else {"period_s": period, "phases": list(phases)},
        }
    )
    times = (np.asarray(seconds, dtype=np.float64) * 1e6).astype(np.int64)
    values = np.arange(len(times), dtype=np.float32)[:, None]
    labels = None if cycle is None else np.asarray(cycle, dtype=np.int64)
    return Recording(machine, Readings(times, ("P",), values, cycle=labels))


def test_the_cycle_column_cuts():
    windows = list(cycle_windows(recording_of(range(30), np.repeat([7, 8, 9], 10))))
    assert [window.cycle for window in windows] == [7, 8, 9]
    assert [window.values.shape for window in windows] == [(1, 10)] * 3
    assert windows[1].values[0, 0] == 10
    assert windows[1].times[0] == 10.0
    assert [window.phase_s for window in windows] == [0.0, 0.0, 0.0]


def test_without_a_cycle_column_the_period_cuts():
    windows = list(cycle_windows(recording_of(np.arange(100, 125))))
    assert [window.values.shape[1] for window in windows] == [10, 10, 5]
    assert [window.cycle for window in windows] == [None, None, None]
    assert [window.start for window in windows] == [100, 110, 120]


def test_a_first_cycle_joined_late_is_placed_by_its_end():
    windows = list(cycle_windows(recording_of(range(4, 20), [0] * 6 + [1] * 10)))
    assert [window.phase_s for window in windows] == [4.0, 0.0]


def test_a_last_cycle_cut_short_starts_at_its_start():
    windows = list(cycle_windows(recording_of(range(16), [0] * 10 + [1] * 6)))
    assert [window.phase_s for window in windows] == [0.0, 0.0]


def test_a_pause_before_the_second_cycle_says_nothing_about_the_first():
    windows = list(cycle_windows(recording_of([*range(6), *range(50, 60)], [0] * 6 + [1] * 10)))
    assert windows[0].phase_s == 0.0


def test_the_same_number_again_after_another_is_another_cycle():
    assert len(list(cycle_windows(recording_of(range(30), np.repeat([1, 2, 1], 10))))) == 3


def test_without_cycles_there_is_nothing_to_cut_by():
    with pytest.raises(InvalidRecordingError, match="cannot be cut into cycles"):
        list(cycle_windows(recording_of(range(10), period=None)))


def test_a_windows_rows_lie_together_and_carry_the_state():
    recording = recording_of(range(20), np.repeat([1, 2], 10))
    states = np.array(["run"] * 10 + [""] * 10)
    windows = list(cycle_windows(replace(recording, readings=replace(recording.readings, operating_state=states))))
    assert [window.operating_state for window in windows] == ["run", None]
    assert all(window.values.flags["C_CONTIGUOUS"] for window in windows)


FREE = ({"id": "cut", "kind": "free", "start_s": 0.0, "end_s": 10.0},)


def test_short_cycles_of_a_free_programme_are_cut_by_the_period():
    recording = recording_of(range(36), np.repeat(np.arange(9), 4), phases=FREE)
    windows = list(cycle_windows(recording))
    assert [window.start for window in windows] == [0.0, 10.0, 20.0, 30.0]
    assert [window.values.shape[1] for window in windows] == [10, 10, 10, 6]


def test_long_cycles_of_a_free_programme_stay_whole_with_a_short_one_at_the_end():
    recording = recording_of(range(38), np.repeat([1, 2, 3], [14, 16, 8])[:38], phases=FREE)
    assert [window.values.shape[1] for window in cycle_windows(recording)] == [14, 16, 8]


def test_short_cycles_are_not_joined_over_a_pause_or_a_change_of_state():
    recording = recording_of([*range(12), *range(50, 62)], np.repeat(np.arange(6), 4), phases=FREE)
    assert [window.start for window in cycle_windows(recording)] == [0.0, 50.0]
    states = np.array(["test"] * 8 + ["work"] * 16)
    changed = replace(recording, readings=replace(recording.readings, operating_state=states))
    assert [window.operating_state for window in cycle_windows(changed)] == ["test", "work", "work"]


def test_short_cycles_with_a_fixed_place_for_something_are_left_alone():
    fixed = ({"id": "hold", "kind": "plateau", "start_s": 2.0, "end_s": 8.0},)
    recording = recording_of(range(36), np.repeat(np.arange(9), 4), phases=fixed)
    assert len(list(cycle_windows(recording))) == 9
