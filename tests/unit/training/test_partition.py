"""Who is trained on, validated on and scored: each window once, each group whole."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.partition import overlaps, partition, reserved_for_commissioning, stretches
from gnn_service.training.splits import Split
from tests.support.rig import rig_split, rig_windows


def starts(windows) -> set[float]:
    return {w.start for w in windows.windows}


def test_parts_hold_the_groups_of_the_split_and_nothing_twice():
    windows, split = rig_windows(), rig_split()
    parts = partition(windows, split)
    for name in ("train", "validation", "test"):
        assert set(np.unique(getattr(parts, name).group)) == set(getattr(split, name))
    assert sum(len(p) for p in (parts.train, parts.validation, parts.test)) == len(windows)
    assert starts(parts.healthy) == starts(parts.train)


def test_groups_with_commissioning_cycles_are_in_no_part_and_the_cycles_make_baselines():
    windows = rig_windows()
    reserved = reserved_for_commissioning(windows, 5)
    parts = partition(windows, rig_split(), reserved)
    kept, groups = starts(windows.take(reserved)), set(windows.group[reserved].tolist())
    assert len(kept) == 10
    assert len(groups) == 4
    for part in (parts.train, parts.validation, parts.test):
        assert not set(part.group.tolist()) & groups
    assert sum(len(part) for part in (parts.train, parts.validation, parts.test)) == 96 - 4 * 4
    assert starts(parts.healthy) == starts(parts.train) | kept


def test_groups_that_the_split_leaves_out_are_in_no_part():
    windows, split = rig_windows(), rig_split()
    parts = partition(windows, replace(split, test=split.test[1:]))
    everywhere = np.concatenate([p.group for p in (parts.train, parts.validation, parts.test, parts.healthy)])
    assert split.test[0] not in everywhere


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_split_that_leaves_nothing_to_learn_from_is_refused(name):
    split = replace(rig_split(), **{name: ()})
    with pytest.raises(InvalidInputError, match=f"leaves no window for {name}; give more groups"):
        partition(rig_windows(), split)


def test_cycles_are_set_aside_in_every_regime_that_has_enough_healthy_ones():
    windows = rig_windows()
    reserved = reserved_for_commissioning(windows, 12)
    assert windows.column("cooler")[reserved].tolist() == [100] * 12 + [3] * 12
    assert windows.settled[reserved].all()
    assert not len(reserved_for_commissioning(windows, 13))
    ill = (windows.column("cooler") == 3) & (windows.group == windows.group[1])
    fewer = windows.take(~ill)
    assert set(fewer.column("cooler")[reserved_for_commissioning(fewer, 12)].tolist()) == {100}


def test_stretches_merge_neighbours_and_leave_gaps():
    windows = rig_windows().take(np.array([0, 1, 2, 5, 7, 8]))
    first = rig_windows().windows[0].start
    assert stretches(windows) == [(first, first + 179), (first + 300, first + 359), (first + 420, first + 539)]


def test_stretches_tell_trained_groups_from_all_others():
    windows, split = rig_windows(), rig_split()
    parts = partition(windows, split, reserved_for_commissioning(windows, 5))
    trained = overlaps(windows, stretches(parts.train))
    assert set(np.unique(windows.group[trained])) == set(np.unique(parts.train.group))


def test_a_group_with_one_trained_window_is_trained_whole():
    windows = rig_windows()
    trained = overlaps(windows, stretches(windows.take(np.array([6]))))
    assert np.flatnonzero(trained).tolist() == [4, 5, 6, 7]


def test_nothing_trained_overlaps_nothing():
    assert not overlaps(rig_windows(), []).any()


def test_a_group_cannot_be_in_two_parts():
    with pytest.raises(InvalidInputError, match="more than one part"):
        Split("twice", ("a",), ("a",), ())
