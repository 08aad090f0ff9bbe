"""What holds for every split of any groups and labels."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.splits import Split, group_folds, hold_out, train_validation_test

LAW = settings(max_examples=50, deadline=None)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Windows of 6 to 24 groups of any size; levels of 1 to 3 tasks, constant in a group."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=6, max_size=24))
    tasks = draw(st.integers(1, 3))
    levels = draw(
        st.lists(st.lists(st.integers(-1, 3), min_size=tasks, max_size=tasks), min_size=len(sizes), max_size=len(sizes))
    )
    index = np.repeat(np.arange(len(sizes)), sizes)
    return np.char.add("g", index.astype(str)), np.array(levels)[index]


def folds_or_discard(groups: NDArray[np.str_], labels: NDArray[np.int64], k: int, seed: int) -> list[Split]:
    """Folds, unless these labels allow none (then the error says so, which a unit test holds)."""
    try:
        return group_folds(groups, labels, k, seed)
    except InvalidInputError:
        assume(False)
        raise


@LAW
@given(recordings(), st.integers(2, 5), st.integers(0, 99))
def test_each_group_is_in_one_part_and_tested_once(
    recording: tuple[NDArray[np.str_], NDArray[np.int64]], k: int, seed: int
) -> None:
    groups, labels = recording
    splits = folds_or_discard(groups, labels, k, seed)
    everything = sorted(set(groups.tolist()))
    assert len(splits) == k
    for split in splits:
        assert sorted(split.train + split.validation + split.test) == everything
        assert split.train
        assert split.validation
        assert split.test
    assert sorted(group for split in splits for group in split.test) == everything


@LAW
@given(recordings(), st.integers(2, 5), st.integers(0, 99))
def test_training_sees_every_level_of_two_groups_or_more(
    recording: tuple[NDArray[np.str_], NDArray[np.int64]], k: int, seed: int
) -> None:
    groups, labels = recording
    for split in folds_or_discard(groups, labels, k, seed):
        seen = labels[np.isin(groups, split.train)]
        for task in range(labels.shape[1]):
            for level in np.unique(labels[:, task]):
                if level >= 0 and len(set(groups[labels[:, task] == level].tolist())) >= 2:
                    assert level in seen[:, task]


@LAW
@given(recordings(), st.integers(2, 5), st.integers(0, 99), st.integers(0, 99))
def test_the_order_of_windows_changes_nothing(
    recording: tuple[NDArray[np.str_], NDArray[np.int64]], k: int, seed: int, shuffle: int
) -> None:
    groups, labels = recording
    splits = folds_or_discard(groups, labels, k, seed)
    order = np.random.default_rng(shuffle).permutation(len(groups))
    assert group_folds(groups[order], labels[order], k, seed) == splits
    assert group_folds(groups, labels, k, seed) == splits


@LAW
@given(recordings(), st.integers(0, 99))
def test_three_parts_hold_everything_and_training_every_level(
    recording: tuple[NDArray[np.str_], NDArray[np.int64]], seed: int
) -> None:
    groups, labels = recording
    try:
        split = train_validation_test(groups, labels, (0.6, 0.2, 0.2), seed)
    except InvalidInputError:
        assume(False)
        raise
    assert sorted(split.train + split.validation + split.test) == sorted(set(groups.tolist()))
    seen = labels[np.isin(groups, split.train)]
    for task in range(labels.shape[1]):
        assert set(labels[:, task].tolist()) - {-1} <= set(seen[:, task].tolist())


@LAW
@given(recordings(), st.integers(0, 99))
def test_a_held_out_value_is_never_trained_on(recording: tuple[NDArray[np.str_], NDArray[np.int64]], seed: int) -> None:
    groups, labels = recording
    values = labels[:, 0]
    assume(len(np.unique(values)) > 1)
    try:
        splits = hold_out(values, groups, labels=labels, seed=seed)
    except InvalidInputError:
        assume(False)
        raise
    for value, split in zip(np.unique(values), splits, strict=True):
        assert set(values[np.isin(groups, split.test)].tolist()) == {value}
        assert value not in values[np.isin(groups, split.train + split.validation)]
