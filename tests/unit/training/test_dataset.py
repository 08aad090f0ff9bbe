"""Windows meet their truth by time, and commissioning takes what it says it takes."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.domain.machine import FailureMode, Level, Machine
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording, Truth
from gnn_service.training.dataset import UNKNOWN, WindowSet, commissioning_rows, nearest_level, window_set
from tests.support.rig import EPOCH, PERIOD_S, Block, cut_short, rig_recording, rig_windows

HEALTHY = (0, 0, 0, 0)
MODES = ("cooler_fouling", "valve_switching_lag", "pump_internal_leakage", "accumulator_gas_loss")


def recorded(*blocks: tuple[tuple[int, int, int, int], int], **options) -> WindowSet:
    return window_set(rig_recording([Block(levels, cycles) for levels, cycles in blocks], **options))


def truth_of(recording: Recording) -> Truth:
    assert recording.truth is not None
    return recording.truth


def rows_of(truth: Truth, rows) -> Truth:
    columns = {name: getattr(truth, name)[rows] for name in ("start", "end", "component", "fault", "severity", "group")}
    return Truth(**columns, extra={name: column[rows] for name, column in truth.extra.items()})


def without_rows(recording: Recording, dropped) -> Recording:
    truth = truth_of(recording)
    return replace(recording, truth=rows_of(truth, ~dropped(truth)))


def levels_of(windows: WindowSet) -> list[tuple[int, ...]]:
    return list(zip(*(windows.levels[mode].tolist() for mode in MODES), strict=True))


def test_every_cycle_gets_the_levels_of_the_truth_that_covers_it():
    windows = recorded(((2, 0, 1, 0), 2), ((0, 3, 0, 2), 3))
    assert levels_of(windows) == [(2, 0, 1, 0)] * 2 + [(0, 3, 0, 2)] * 3
    assert windows.group.tolist() == ["block-000"] * 2 + ["block-001"] * 3
    assert windows.column("cooler").tolist() == [3, 3, 100, 100, 100]
    assert windows.settled.tolist() == [False, True, False, True, True]
    assert windows.grids.shape == (5, len(windows.machine.sensors), 60)


def test_truth_is_joined_by_time_whatever_the_order_of_its_rows():
    recording = rig_recording([Block((2, 0, 1, 0), 2), Block((0, 3, 0, 2), 3)])
    truth = truth_of(recording)
    shuffled = rows_of(truth, np.random.default_rng(1).permutation(len(truth.start)))
    got, expected = window_set(replace(recording, truth=shuffled)), window_set(recording)
    assert levels_of(got) == levels_of(expected)
    assert got.group.tolist() == expected.group.tolist()
    assert got.column("accumulator").tolist() == expected.column("accumulator").tolist()


def test_one_row_of_truth_may_cover_many_cycles_and_ends_before_the_next():
    recording = rig_recording([Block(HEALTHY, 4)])
    edge = EPOCH + 2 * PERIOD_S * MICROSECONDS
    truth = Truth(
        start=np.array([EPOCH, edge]),
        end=np.array([edge, EPOCH + 4 * PERIOD_S * MICROSECONDS]),
        component=np.array(["pump", "pump"]),
        fault=np.array(["", "pump_internal_leakage"]),
        severity=np.array([0.0, 0.5], np.float32),
        group=np.array(["before", "after"]),
    )
    windows = window_set(replace(recording, truth=truth))
    assert windows.levels["pump_internal_leakage"].tolist() == [0, 0, 1, 1]
    assert windows.levels["cooler_fouling"].tolist() == [UNKNOWN] * 4
    assert windows.group.tolist() == ["before", "before", "after", "after"]


def test_two_faults_of_one_component_are_both_kept_and_a_third_is_known_to_be_absent():
    recording = rig_recording([Block(HEALTHY, 1)])
    steps = (Level(name="none", severity=0.0), Level(name="full", severity=1.0))
    more = tuple(FailureMode(id=name, component="pump", mode=name, levels=steps) for name in ("worn", "noisy"))
    machine = recording.machine.model_copy(update={"failure_modes": (*recording.machine.failure_modes, *more)})
    end = EPOCH + PERIOD_S * MICROSECONDS
    for faults in (["worn", "pump_internal_leakage"], ["pump_internal_leakage", "worn"]):
        truth = Truth(
            start=np.array([EPOCH] * 2),
            end=np.array([end] * 2),
            component=np.array(["pump"] * 2),
            fault=np.array(faults),
            severity=np.array([1.0, 1.0], np.float32),
            group=np.array(["a"] * 2),
        )
        levels = window_set(replace(recording, machine=machine, truth=truth)).levels
        assert [levels[name].tolist() for name in ("worn", "pump_internal_leakage", "noisy")] == [[1], [2], [0]]


@pytest.mark.parametrize("rows", [None, 0], ids=["no table", "no rows"])
def test_without_truth_every_level_is_unknown_and_every_cycle_is_its_own_group(rows):
    recording = rig_recording([Block(HEALTHY, 3)])
    truth = None if rows is None else rows_of(truth_of(recording), np.zeros(len(truth_of(recording).start), bool))
    windows = window_set(replace(recording, truth=truth))
    assert levels_of(windows) == [(UNKNOWN,) * 4] * 3
    assert windows.modes == ()
    assert windows.group.tolist() == ["cycle-0", "cycle-1", "cycle-2"]
    assert windows.healthy().all()
    assert not windows.faulty().any()
    with pytest.raises(InvalidInputError, match="has no truth; there is nothing to learn from"):
        windows.level_table()


def test_a_cycle_that_truth_does_not_cover_is_neither_healthy_nor_settled_nor_found_by_value():
    recording = rig_recording([Block(HEALTHY, 3), Block((2, 0, 0, 0), 2)])
    windows = window_set(without_rows(recording, lambda truth: truth.extra["cycle"] == 1))
    assert levels_of(windows)[1] == (UNKNOWN,) * 4
    assert windows.group.tolist() == ["block-000", "cycle-1", "block-000", "block-001", "block-001"]
    assert windows.healthy().tolist() == [True, False, True, False, False]
    assert windows.settled.tolist() == [False, False, True, False, True]
    assert windows.column("cooler").tolist() == [100, None, 100, 3, 3]


def test_a_component_that_truth_never_speaks_of_does_not_make_its_machine_ill():
    recording = rig_recording([Block(HEALTHY, 2), Block((0, 1, 0, 0), 2)])
    windows = window_set(without_rows(recording, lambda truth: truth.component == "pump"))
    assert (windows.levels["pump_internal_leakage"] == UNKNOWN).all()
    assert windows.healthy().tolist() == [True, True, False, False]


def test_a_recording_without_a_cycle_is_refused():
    recording = rig_recording([Block(HEALTHY, 1)])
    sensors = recording.readings.sensors
    empty = Readings(
        np.zeros(0, np.int64), sensors, np.zeros((0, len(sensors)), np.float32), cycle=np.zeros(0, np.int64)
    )
    with pytest.raises(InvalidRecordingError, match="holds no cycle"):
        window_set(replace(recording, readings=empty))


def test_a_recording_without_a_whole_cycle_is_refused_with_the_reason():
    with pytest.raises(InvalidRecordingError, match="holds no whole cycle: the window covers 20 s of the 60 s"):
        window_set(cut_short(rig_recording([Block(HEALTHY, 1)])))


def test_a_cycle_that_the_recording_ends_in_is_left_out_and_counted():
    whole, windows = recorded((HEALTHY, 3)), window_set(cut_short(rig_recording([Block(HEALTHY, 3)])))
    assert [w.cycle for w in windows.windows] == [0, 1]
    assert np.array_equal(windows.grids, whole.grids[:2])
    assert (len(windows), windows.too_short, whole.too_short) == (2, 1, 0)
    assert windows.take(np.array([0])).too_short == 1
    assert windows.join(windows).too_short == 2


def test_a_severity_belongs_to_the_nearest_level():
    mode = rig_windows().machine.modes_of("valve")[0]
    assert [nearest_level(mode, s) for s in (0.0, 0.1, 0.3, 0.7, 0.9)] == [0, 0, 1, 2, 3]


def test_rows_are_taken_by_mask_or_by_index_with_all_that_belongs_to_them():
    windows = rig_windows()
    mask = np.zeros(len(windows), bool)
    mask[[3, 5]] = True
    taken = windows.take(mask)
    assert [w.cycle for w in taken.windows] == [3, 5]
    assert [w.cycle for w in windows.take(np.array([5, 3])).windows] == [5, 3]
    assert np.array_equal(taken.grids, windows.grids[[3, 5]])
    assert taken.column("valve").tolist() == windows.column("valve")[[3, 5]].tolist()


def test_an_unknown_truth_column_is_named_with_those_there_are():
    with pytest.raises(InvalidInputError, match="no column 'colour'; there are: group, accumulator, cooler"):
        rig_windows().column("colour")


def test_recordings_of_one_machine_are_joined_with_the_columns_that_both_have():
    first, second = recorded((HEALTHY, 2)), recorded(((2, 0, 0, 0), 1))
    bare = replace(second, extra={"cooler": second.extra["cooler"]})
    joined = first.join(bare)
    assert joined.column("cooler").tolist() == [100, 100, 3]
    assert sorted(joined.extra) == ["cooler"]
    assert levels_of(joined) == [HEALTHY, HEALTHY, (2, 0, 0, 0)]


def test_recordings_that_describe_one_machine_differently_are_not_joined():
    first = recorded((HEALTHY, 1))
    described = first.machine.model_dump()
    other = Machine.model_validate({**described, "sensors": described["sensors"][::-1]})
    with pytest.raises(InvalidInputError, match="describe machine uci-hydraulic-rig differently"):
        first.join(replace(first, machine=other))


def test_commissioning_takes_the_first_healthy_and_settled_cycles_wherever_they_lie():
    windows = recorded(((0, 1, 0, 0), 3), (HEALTHY, 3), ((0, 0, 1, 0), 2), (HEALTHY, 3))
    # Cycles 3 and 8 are the first of their blocks and not settled.
    assert commissioning_rows(windows, 3).tolist() == [4, 5, 9]


def test_a_fault_at_one_unchanging_level_belongs_to_the_regime():
    windows = recorded(((2, 0, 0, 0), 4), ((2, 1, 0, 0), 2), ((2, 0, 0, 0), 2))
    assert windows.constant_modes() == {"cooler_fouling"}
    assert commissioning_rows(windows, 4).tolist() == [1, 2, 3, 7]


def test_a_fault_that_changes_its_level_once_is_no_regime():
    windows = recorded(((2, 0, 0, 0), 4), ((1, 0, 0, 0), 2))
    assert windows.constant_modes() == frozenset()
    with pytest.raises(InvalidInputError, match="needs 1 healthy and settled windows, and there are 0"):
        commissioning_rows(windows, 1)


def test_the_regime_is_that_of_the_part_which_is_looked_at():
    windows = recorded((HEALTHY, 3), ((2, 0, 0, 0), 3))
    part = windows.take(windows.column("cooler") == 3)
    assert commissioning_rows(windows, 2).tolist() == [1, 2]
    assert commissioning_rows(part, 2).tolist() == [1, 2]


def test_too_few_healthy_cycles_are_counted_in_the_error():
    with pytest.raises(InvalidInputError, match="needs 10 healthy and settled windows, and there are 3;"):
        commissioning_rows(recorded((HEALTHY, 4), ((0, 1, 0, 0), 9)), 10)


def test_a_time_takes_as_many_cycles_as_it_lasts():
    windows = recorded((HEALTHY, 6))
    assert commissioning_rows(windows, seconds=120.0).tolist() == [1, 2]
    assert commissioning_rows(windows, seconds=121.0).tolist() == [1, 2, 3]
    assert commissioning_rows(windows, seconds=30.0).tolist() == [1]


def test_a_clock_that_jitters_costs_no_cycle():
    recording = rig_recording([Block(HEALTHY, 8)], rate_hz=10)
    jitter = np.random.default_rng(0).integers(-9000, 9000, len(recording.readings.times))
    readings = replace(recording.readings, times=recording.readings.times + jitter)
    windows = window_set(replace(recording, readings=readings))
    for count in range(1, 8):
        assert len(commissioning_rows(windows, seconds=60.0 * count)) == count


def test_too_long_a_time_is_told_in_time():
    with pytest.raises(InvalidInputError, match=r"needs 600 s .*, and there are 180 s in 3 cycles"):
        commissioning_rows(recorded((HEALTHY, 4)), seconds=600.0)


def test_without_truth_commissioning_takes_the_first_cycles():
    assert commissioning_rows(recorded(((0, 3, 2, 3), 4), truth=False), 3).tolist() == [0, 1, 2]
