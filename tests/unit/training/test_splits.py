"""Splits keep groups whole, training complete and files honest."""

import json
from pathlib import Path

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.splits import (
    Split,
    group_folds,
    hold_out,
    read_splits,
    splits_sha256,
    train_validation_test,
    write_splits,
)

RNG = np.random.default_rng(0)
STATES = np.repeat(np.arange(40), RNG.integers(5, 16, 40))
GROUPS = np.char.add("block-", STATES.astype(str))
LABELS = np.stack([STATES % 4, (STATES // 4) % 3, np.where(STATES < 37, 0, 1)], axis=1)


def windows(groups: tuple[str, ...]) -> np.ndarray:
    return np.isin(GROUPS, groups)


def test_a_group_in_two_parts_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="'b' is in more than one part"):
        Split("s", train=("a", "b"), validation=(), test=("b",))


def test_part_of_names_the_part_of_each_window() -> None:
    split = Split("s", train=("a",), validation=("b",), test=("c",))
    assert split.part_of(np.array(["c", "a", "b", "z"])).tolist() == ["test", "train", "validation", ""]


def test_the_order_of_ids_does_not_change_the_hash_but_their_part_does() -> None:
    one = Split("s", train=("a", "b"), validation=(), test=("c",))
    assert Split("s", train=("b", "a"), validation=(), test=("c",)).sha256 == one.sha256
    assert Split("s", train=("a",), validation=("b",), test=("c",)).sha256 != one.sha256


def test_the_hash_of_a_known_split_stays_the_same_over_versions() -> None:
    split = Split("s", train=("a",), validation=("b",), test=("c",), commissioning=("7",))
    assert split.sha256 == "4218ac610bec6a92dd9ed8209b37940287875751c0a83300e1a26c6a9d8e0b06"


def test_groups_set_aside_are_in_no_part_and_listed_beside_them() -> None:
    split = Split("s", train=("a", "b"), validation=("c",), test=("d", "e")).setting_aside(["b", "d", "z"], ["7"])
    assert (split.train, split.validation, split.test) == (("a",), ("c",), ("e",))
    assert (split.set_aside, split.commissioning) == (("b", "d", "z"), ("7",))
    assert split.part_of(np.array(["a", "b", "d"])).tolist() == ["train", "", ""]
    assert split.to_json()["set_aside"] == ["b", "d", "z"]
    assert Split.from_json(split.to_json()) == split
    with pytest.raises(InvalidInputError, match="'a' is in more than one part"):
        Split("s", train=("a",), validation=(), test=(), set_aside=("a",))


def test_splits_survive_the_file(tmp_path: Path) -> None:
    splits = group_folds(GROUPS, LABELS, 4, seed=1)
    digest = write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits
    assert digest == splits_sha256(splits) == json.loads((tmp_path / "splits.json").read_text())["sha256"]


def test_a_file_of_splits_that_was_edited_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    write_splits(path, [Split("s", train=("a",), validation=("b",), test=("c",))])
    path.write_text(path.read_text().replace('"a"', '"d"'))
    with pytest.raises(InvalidInputError, match="was changed after it was written"):
        read_splits(path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}'])
def test_a_file_that_holds_no_splits_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"splits\.json"):
        read_splits(tmp_path / "splits.json")


def test_a_missing_file_of_splits_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.json"):
        read_splits(tmp_path / "nowhere.json")


def test_folds_hold_near_the_same_number_of_windows_and_of_each_level() -> None:
    folds = group_folds(GROUPS, LABELS, 5, seed=0)
    for fold in folds:
        tested = windows(fold.test)
        assert abs(tested.mean() - 0.2) < 0.03
        for task in range(2):
            for level in np.unique(LABELS[:, task]):
                of_level = LABELS[:, task] == level
                assert abs(tested[of_level].mean() - 0.2) < 0.1
        assert abs(windows(fold.validation).mean() - 0.8 * 0.15) < 0.05


def test_a_level_of_three_groups_is_in_every_training_part() -> None:
    for fold in group_folds(GROUPS, LABELS, 5, seed=0):
        assert 1 in LABELS[windows(fold.train), 2]


def test_another_seed_gives_other_folds() -> None:
    assert group_folds(GROUPS, LABELS, 5, seed=0) != group_folds(GROUPS, LABELS, 5, seed=1)


def test_no_validation_part_is_made_where_none_is_asked_for() -> None:
    assert all(fold.validation == () for fold in group_folds(GROUPS, LABELS, 5, seed=0, validation_fraction=0.0))


def test_a_small_set_still_gets_a_validation_group() -> None:
    groups = np.repeat(["a", "b", "c", "d"], 10)
    for fold in group_folds(groups, np.zeros((40, 1), dtype=int), 2, seed=0, validation_fraction=0.1):
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (1, 1, 2)


def test_fewer_groups_than_folds_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(InvalidInputError, match="2 groups cannot make 3 folds; use at most 2"):
        group_folds(np.array(["a", "a", "b"]), np.zeros((3, 1), dtype=int), 3, seed=0)


def test_levels_that_no_two_folds_can_share_are_an_error() -> None:
    groups = np.array(["a", "b", "c"])
    triangle = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1]])
    with pytest.raises(InvalidInputError, match="keep every level in training"):
        group_folds(groups, triangle, 2, seed=0, validation_fraction=0.0)


@pytest.mark.parametrize(
    ("groups", "labels", "k", "fraction", "message"),
    [
        ([], np.zeros((0, 1), dtype=int), 2, 0.1, "no windows"),
        (["a", "b"], np.zeros((3, 1), dtype=int), 2, 0.1, "for 2 windows"),
        (["a", "b"], np.zeros((2, 1), dtype=int), 1, 0.1, "at least 2"),
        (["a", "b"], np.zeros((2, 1), dtype=int), 2, 1.0, "validation fraction"),
        (["a", "b"], np.zeros((2, 1), dtype=int), 2, 0.1, "none can be spared"),
    ],
)
def test_folds_that_make_no_sense_are_refused(
    groups: list[str], labels: np.ndarray, k: int, fraction: float, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        group_folds(np.array(groups, dtype=np.str_), labels, k, seed=0, validation_fraction=fraction)


def test_holding_out_tests_one_value_at_a_time() -> None:
    value = np.where(STATES < 20, 3, 100)
    cold, hot = hold_out(value, GROUPS, labels=LABELS, key="cooler")
    assert (cold.name, hot.name) == ("cooler=3", "cooler=100")
    assert set(value[windows(cold.test)]) == {3}
    assert set(value[windows(cold.train + cold.validation)]) == {100}
    assert set(cold.test) == set(hot.train + hot.validation)
    assert cold.validation
    assert hot.validation


def test_holding_out_one_value_of_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="the same cooler"):
        hold_out(np.full(4, 3), np.array(["a", "a", "b", "b"]), key="cooler")


def test_a_group_that_holds_two_values_cannot_be_held_out() -> None:
    with pytest.raises(InvalidInputError, match="'b' holds more than one cooler"):
        hold_out(np.array([3, 3, 3, 100]), np.array(["a", "a", "b", "b"]), key="cooler")


def test_holding_out_needs_a_value_for_each_window() -> None:
    with pytest.raises(InvalidInputError, match="3 values for 4 windows"):
        hold_out(np.zeros(3), np.array(["a", "a", "b", "b"]))


def test_three_parts_have_their_shares_and_training_has_every_level() -> None:
    split = train_validation_test(GROUPS, LABELS, (0.7, 0.15, 0.15), seed=0)
    assert 1 in LABELS[windows(split.train), 2]
    assert abs(windows(split.train).mean() - 0.7) < 0.04
    assert abs(windows(split.test).mean() - 0.15) < 0.04


@pytest.mark.parametrize(("fractions", "message"), [((0.7, 0.2, 0.2), "sum to 1"), ((1.0, 0.0, 0.0), "above 0")])
def test_fractions_are_checked(fractions: tuple[float, float, float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train_validation_test(GROUPS, LABELS, fractions, seed=0)


def test_two_groups_cannot_fill_three_parts() -> None:
    with pytest.raises(InvalidInputError, match="at least 3"):
        train_validation_test(np.array(["a", "b"]), np.zeros((2, 1), dtype=int), (0.6, 0.2, 0.2), seed=0)
