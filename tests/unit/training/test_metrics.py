"""Metrics agree with scikit-learn, a detector that knows nothing scores at chance, intervals respect groups."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from gnn_service.core.errors import InvalidInputError
from gnn_service.training import metrics as scored
from gnn_service.training.metrics import (
    METRICS,
    Predictions,
    TaskScore,
    confusion,
    paired_difference,
    reliability,
)

RNG = np.random.default_rng(7)
N, L = 600, 4
TRUTH = RNG.integers(0, L, N)
GROUPS = np.char.add("g", (np.arange(N) // 10).astype(str))
SKILLED = RNG.dirichlet(np.ones(L), N) + 1.2 * np.eye(L)[TRUTH] * RNG.random((N, 1))
SKILLED /= SKILLED.sum(1, keepdims=True)
RANDOM = RNG.dirichlet(np.ones(L), N)


def certain(levels: NDArray[np.int64], of: int = L) -> NDArray[np.float64]:
    return np.eye(of)[levels]


def score(
    truth: NDArray[np.int64], probabilities: NDArray[np.float64], groups: NDArray[Any], seed: int = 0, draws: int = 1000
) -> TaskScore:
    return scored.score(Predictions(truth, probabilities, groups), seed, draws)


def interval(of: TaskScore, name: str) -> tuple[float, float]:
    pair = of.ci[name]
    assert pair is not None
    return pair


def test_points_agree_with_scikit_learn() -> None:
    predicted = SKILLED.argmax(1)
    result = score(TRUTH, SKILLED, GROUPS)
    assert result.accuracy == pytest.approx(reference.accuracy_score(TRUTH, predicted))
    assert result.macro_f1 == pytest.approx(reference.f1_score(TRUTH, predicted, average="macro"))
    assert result.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(TRUTH, predicted))
    assert result.ordinal_mae == pytest.approx(np.abs(TRUTH - predicted).mean())
    assert result.auroc == pytest.approx(reference.roc_auc_score(TRUTH > 0, 1 - SKILLED[:, 0]))
    assert (result.n, result.groups) == (600, 60)


def test_macro_f1_leaves_out_levels_that_are_never_true_but_counts_the_errors_towards_them() -> None:
    truth = np.array([0, 0, 1, 1])
    predicted = np.array([0, 3, 1, 1])
    result = score(truth, certain(predicted), np.arange(4))
    expected = reference.f1_score(truth, predicted, labels=[0, 1], average="macro")
    assert result.macro_f1 == pytest.approx(expected)
    assert result.balanced_accuracy == pytest.approx(0.75)


def test_tied_scores_count_half_in_the_auroc() -> None:
    truth = np.array([0, 0, 1, 1, 1])
    probabilities = np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.2, 0.8], [0.1, 0.9]])
    result = score(truth, probabilities, np.arange(5))
    assert result.auroc == pytest.approx(reference.roc_auc_score(truth > 0, 1 - probabilities[:, 0]))


def test_the_auroc_compares_only_answers_of_the_same_model() -> None:
    truth = np.array([0, 1, 1, 1, 0, 0, 0, 1])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    fault = np.array([0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.75])
    constant = np.stack([1 - fault, fault], 1)
    assert scored.score(Predictions(truth, constant, np.arange(8))).auroc == pytest.approx(0.25)
    assert scored.score(Predictions(truth, constant, np.arange(8), folds)).auroc == pytest.approx(0.5)
    better = fault + np.array([0, 0.1, -0.1, 0.1, 0, 0, 0.1, 0.05])
    within = scored.score(Predictions(truth, np.stack([1 - better, better], 1), np.arange(8), folds)).auroc
    assert within == pytest.approx((2 + 2) / 6)


@pytest.mark.parametrize("level", [0, 2])
def test_the_auroc_of_one_class_has_no_value(level: int) -> None:
    result = score(np.full(10, level), RANDOM[:10], np.arange(10))
    assert result.auroc is None
    assert result.ci["auroc"] is None
    assert result.ci["accuracy"] is not None


def test_calibration_error_of_a_known_case() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.65, 0.35]] * 10)
    truth = np.array([0] * 6 + [1] * 4 + [0] * 8 + [1] * 2)
    result = score(truth, probabilities, np.arange(20))
    assert result.ece == pytest.approx(0.5 * (0.9 - 0.6) + 0.5 * (0.8 - 0.65))


def test_a_calibrated_predictor_has_a_small_calibration_error_and_an_overconfident_one_a_large() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(L), 20_000)
    truth = (rng.random((20_000, 1)) > probabilities.cumsum(1)).sum(1).clip(0, L - 1)
    groups = np.arange(20_000) // 20
    assert score(truth, probabilities, groups, draws=20).ece < 0.02
    sharpened = probabilities**4 / (probabilities**4).sum(1, keepdims=True)
    assert score(truth, sharpened, groups, draws=20).ece > 0.15


def test_a_random_detector_scores_at_chance() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, L, 8000)
    result = score(truth, rng.dirichlet(np.ones(L), 8000), np.arange(8000) // 10, draws=200)
    assert result.accuracy == pytest.approx(1 / L, abs=0.02)
    assert result.balanced_accuracy == pytest.approx(1 / L, abs=0.02)
    assert result.macro_f1 == pytest.approx(1 / L, abs=0.02)
    assert result.ordinal_mae == pytest.approx(1.25, abs=0.05)
    assert result.auroc == pytest.approx(0.5, abs=0.02)


def test_intervals_of_random_detectors_hold_chance_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    held = np.zeros(2)
    for seed in range(100):
        truth = rng.integers(0, L, 400)
        result = score(truth, rng.dirichlet(np.ones(L), 400), np.arange(400) // 5, seed, draws=200)
        for place, (name, chance) in enumerate((("accuracy", 1 / L), ("auroc", 0.5))):
            low, high = interval(result, name)
            held[place] += low <= chance <= high
    assert (held >= 86).all()
    assert (held < 100).all()


def test_always_the_commonest_level_is_right_as_often_as_that_level_and_ranks_nothing() -> None:
    truth = np.array([0] * 70 + [1] * 20 + [2] * 10)
    result = score(truth, certain(np.zeros(100, dtype=int), 3), np.arange(100))
    assert result.accuracy == pytest.approx(0.7)
    assert result.balanced_accuracy == pytest.approx(1 / 3)
    assert result.auroc == pytest.approx(0.5)


def test_a_perfect_predictor_is_perfect_in_every_draw() -> None:
    result = score(TRUTH, certain(TRUTH), GROUPS)
    for name, value in (("accuracy", 1), ("macro_f1", 1), ("balanced_accuracy", 1), ("auroc", 1)):
        assert getattr(result, name) == value
        assert result.ci[name] == (1, 1)
    assert result.ordinal_mae == result.ece == 0


def test_intervals_agree_with_a_plain_loop_over_drawn_groups() -> None:
    result = score(TRUTH, SKILLED, GROUPS, seed=3)
    rng = np.random.default_rng(9)
    members = [np.flatnonzero(name == GROUPS) for name in np.unique(GROUPS)]
    drawn = []
    for _ in range(600):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append(
            (
                reference.f1_score(TRUTH[rows], SKILLED[rows].argmax(1), average="macro"),
                reference.roc_auc_score(TRUTH[rows] > 0, 1 - SKILLED[rows, 0]),
            )
        )
    for column, name in enumerate(("macro_f1", "auroc")):
        expected = np.quantile(np.array(drawn)[:, column], [0.025, 0.975])
        assert result.ci[name] == pytest.approx(expected, abs=0.008)


def test_copies_of_a_group_do_not_narrow_its_interval() -> None:
    tenfold = np.repeat(np.arange(N), 10)
    once = score(TRUTH, SKILLED, GROUPS)
    copied = score(TRUTH[tenfold], SKILLED[tenfold], GROUPS[tenfold])
    as_if_independent = score(TRUTH[tenfold], SKILLED[tenfold], np.arange(10 * N), draws=200)
    assert copied.ci["accuracy"] == pytest.approx(once.ci["accuracy"])
    narrow, wide = interval(as_if_independent, "accuracy"), interval(copied, "accuracy")
    assert narrow[1] - narrow[0] < 0.6 * (wide[1] - wide[0])


def test_one_group_gives_no_interval() -> None:
    assert set(score(TRUTH, SKILLED, np.zeros(N)).ci.values()) == {None}


def test_the_interval_of_an_auroc_survives_many_windows_and_few_draws() -> None:
    groups = np.arange(60_000) // 600
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 60_000)
    fault = np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1)
    result = score(truth, np.stack([1 - fault, fault], 1), groups, draws=80)
    low, high = interval(result, "auroc")
    assert result.auroc is not None
    assert low < result.auroc < high
    assert result.auroc == pytest.approx(reference.roc_auc_score(truth, fault))


def test_a_better_predictor_is_clearly_better_and_itself_is_no_different() -> None:
    skilled, random = Predictions(TRUTH, SKILLED, GROUPS), Predictions(TRUTH, RANDOM, GROUPS)
    better = paired_difference(skilled, random)
    assert better["accuracy"].is_clear
    assert better["accuracy"].value == pytest.approx(
        (SKILLED.argmax(1) == TRUTH).mean() - (RANDOM.argmax(1) == TRUTH).mean()
    )
    assert better["ordinal_mae"].ci is not None
    assert better["ordinal_mae"].ci[1] < 0
    same = paired_difference(skilled, skilled)
    assert all(same[name].ci == (0, 0) and not same[name].is_clear for name in METRICS)


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    slightly_worse = np.where(np.arange(N)[:, None] % 40 == 0, RANDOM, SKILLED)
    pair = paired_difference(Predictions(TRUTH, SKILLED, GROUPS), Predictions(TRUTH, slightly_worse, GROUPS))
    alone = interval(score(TRUTH, SKILLED, GROUPS), "accuracy")
    paired = pair["accuracy"].ci
    assert paired is not None
    assert paired[1] - paired[0] < 0.5 * (alone[1] - alone[0])


def test_predictors_on_different_groups_are_not_compared() -> None:
    other = Predictions(TRUTH[:300], SKILLED[:300], GROUPS[:300])
    with pytest.raises(InvalidInputError, match="different groups"):
        paired_difference(Predictions(TRUTH, SKILLED, GROUPS), other)


def test_confusion_has_truth_in_rows() -> None:
    table = confusion(Predictions(np.array([0, 0, 1, 2]), certain(np.array([0, 1, 1, 0]), 3), np.arange(4)))
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_reliability_counts_every_window_once_and_gives_no_share_for_an_empty_bin() -> None:
    confidence, correct, count = reliability(Predictions(TRUTH, SKILLED, GROUPS))
    assert count.sum() == N
    assert np.isnan(correct[count == 0]).all()
    filled = count > 0
    assert ((confidence[filled] > 0) & (confidence[filled] <= 1)).all()
    assert (np.diff(confidence[filled]) > 0).all()


def test_the_document_is_plain_json() -> None:
    document = score(TRUTH, SKILLED, GROUPS).to_dict()
    assert {"accuracy", "macro_f1", "ordinal_mae", "auroc", "ece", "ci", "n", "groups"} <= document.keys()
    low, high = document["ci"]["accuracy"]
    assert low < document["accuracy"] < high


@pytest.mark.parametrize(
    ("truth", "probabilities", "groups", "message"),
    [
        (np.zeros(0, dtype=int), np.zeros((0, 2)), np.zeros(0), "no windows"),
        (np.zeros(2, dtype=int), np.ones((3, 1)), np.zeros(2), "do not fit"),
        (np.zeros(2, dtype=int), np.ones((2, 1)), np.zeros(3), "do not fit"),
        (np.array([0, 2]), np.full((2, 2), 0.5), np.zeros(2), r"must be 0\.\.1"),
        (np.array([0, -1]), np.full((2, 2), 0.5), np.zeros(2), r"must be 0\.\.1"),
        (np.array([0, 1]), np.array([[np.nan, 1], [0, 1]]), np.zeros(2), "finite"),
        (np.array([0, 1]), np.array([[-0.5, 1.5], [0, 1]]), np.zeros(2), "not negative"),
        (np.array([0, 1]), np.array([[0.5, 0.7], [0, 1]]), np.zeros(2), "sum to 1"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(
    truth: NDArray[np.int64], probabilities: NDArray[np.float64], groups: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Predictions(truth, probabilities, groups)


def test_a_fold_is_needed_for_each_window() -> None:
    with pytest.raises(InvalidInputError, match="1 folds for 2 windows"):
        Predictions(np.array([0, 1]), np.full((2, 2), 0.5), np.zeros(2), np.zeros(1))
