"""What holds for the score of any answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from gnn_service.training.metrics import METRICS, Predictions, score

LAW = settings(max_examples=60, deadline=None)
Answers = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_]]


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    """1 to 60 windows, 2 to 5 levels, probabilities in steps of 1/10 so that ties are common."""
    n = draw(st.integers(1, 60))
    levels = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = rng.multinomial(10, rng.dirichlet(np.ones(levels), n)) / 10
    groups = np.char.add("g", rng.integers(0, draw(st.integers(1, 12)), n).astype(str))
    return rng.integers(0, levels, n), probabilities, groups


@LAW
@given(answers())
def test_points_are_those_of_scikit_learn(case: Answers) -> None:
    truth, probabilities, groups = case
    result = score(Predictions(truth, probabilities, groups), draws=10)
    predicted = probabilities.argmax(1)
    present = np.unique(truth).tolist()
    f1 = reference.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    recall = reference.recall_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert result.accuracy == pytest.approx(reference.accuracy_score(truth, predicted))
    assert result.macro_f1 == pytest.approx(f1)
    assert result.balanced_accuracy == pytest.approx(recall)
    if 0 < (truth > 0).sum() < len(truth):
        assert result.auroc == pytest.approx(reference.roc_auc_score(truth > 0, 1 - probabilities[:, 0]))
    else:
        assert result.auroc is None


@LAW
@given(answers(), st.integers(0, 99))
def test_the_order_of_windows_changes_nothing(case: Answers, seed: int) -> None:
    truth, probabilities, groups = case
    order = np.random.default_rng(seed).permutation(len(truth))
    one = score(Predictions(truth, probabilities, groups), seed, draws=50)
    other = score(Predictions(truth[order], probabilities[order], groups[order]), seed, draws=50)
    for name in METRICS:
        assert getattr(one, name) == pytest.approx(getattr(other, name))
        assert one.ci[name] == pytest.approx(other.ci[name])


@LAW
@given(answers(), st.integers(1, 4))
def test_the_auroc_of_several_models_is_the_mean_of_theirs_weighed_by_pairs(case: Answers, models: int) -> None:
    truth, probabilities, groups = case
    folds = np.arange(len(truth)) % models
    right, pairs = 0.0, 0
    for fold in range(models):
        mine = folds == fold
        faulty = truth[mine] > 0
        if 0 < faulty.sum() < len(faulty):
            count = int(faulty.sum() * (~faulty).sum())
            right += count * reference.roc_auc_score(faulty, 1 - probabilities[mine, 0])
            pairs += count
    result = score(Predictions(truth, probabilities, groups, folds), draws=10).auroc
    assert result == (pytest.approx(right / pairs) if pairs else None)


@LAW
@given(answers())
def test_values_stay_in_their_range_and_intervals_are_ordered(case: Answers) -> None:
    truth, probabilities, groups = case
    result = score(Predictions(truth, probabilities, groups), draws=50)
    top = probabilities.shape[1] - 1
    for name in METRICS:
        value, interval = getattr(result, name), result.ci[name]
        bound = top if name == "ordinal_mae" else 1
        assert value is None or -1e-9 <= value <= bound + 1e-9
        if interval is not None:
            assert -1e-9 <= interval[0] <= interval[1] <= bound + 1e-9
