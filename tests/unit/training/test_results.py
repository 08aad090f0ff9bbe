"""A report compares like with like and says how sure it is."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.metrics import METRICS
from gnn_service.training.results import Kind, PredictorRow, Report, scores_json

N = 120
LEVELS = ("130 bar", "115 bar", "100 bar")
TRUTH = np.repeat(np.random.default_rng(0).integers(0, 3, N // 6), 6)


def row(predictor: str, kind: Kind, skill: float, component: str = "accumulator", **changes: Any) -> PredictorRow:
    """Answers that are right more often the more skill; two folds, groups of six windows."""
    seed = changes.get("seed", 0)
    rng = np.random.default_rng([len(predictor), seed])
    raw = rng.dirichlet(np.ones(3), N) + skill * np.eye(3)[TRUTH]
    given: dict[str, Any] = {
        "levels": LEVELS,
        "truth": TRUTH,
        "probabilities": raw / raw.sum(1, keepdims=True),
        "groups": np.char.add("block-", (np.arange(N) // 6).astype(str)),
        "folds": np.where(np.arange(N) < N // 2, "cooler=3", "cooler=100"),
        "starts": np.arange(N, dtype=np.int64) * 60_000_000,
    }
    return PredictorRow(predictor=predictor, kind=kind, component=component, **(given | changes))


OURS = row("network", Kind.OURS, 0.9)
ROWS = (OURS, row("no edges", Kind.ABLATION, 0.4), row("forest", Kind.BASELINE, 0.2), row("majority", Kind.CHANCE, 0.0))


def report(*rows: PredictorRow) -> Report:
    return Report("Rig", "block 5-fold", "ab" * 32, rows)


def test_scores_are_sorted_into_ours_baselines_and_ablations() -> None:
    document = scores_json(report(*ROWS))
    keys = {"accuracy", "macro_f1", "ordinal_mae", "auroc", "ece", "ci"}
    assert keys <= document["components"]["accumulator"].keys()
    assert document["baselines"].keys() == {"forest", "majority"}
    assert document["ablations"].keys() == {"no edges"}
    assert document["baselines"]["majority"]["kind"] == "chance"
    assert keys <= document["baselines"]["forest"]["components"]["accumulator"].keys()
    assert json.loads(json.dumps(document)) == document


def two_modes() -> tuple[PredictorRow, ...]:
    noisy = row("network", Kind.OURS, 0.2, "valve", mode="noise", levels=("no", "yes"), truth=TRUTH % 2,
                probabilities=np.tile([0.6, 0.4], (N, 1)))  # fmt: skip
    return (
        row("network", Kind.OURS, 0.9, "pump", mode="leak"),
        row("network", Kind.OURS, 0.9, "valve", mode="lag"),
        noisy,
        replace(noisy, predictor="majority", kind=Kind.CHANCE),
    )


def test_two_failure_modes_of_one_component_are_scored_each_by_itself() -> None:
    found = report(*two_modes())
    assert list(found.tasks) == ["pump", "valve.lag", "valve.noise"]
    assert found.scores.keys() == {
        ("pump", "network"), ("valve.lag", "network"), ("valve.noise", "network"), ("valve.noise", "majority"),
    }  # fmt: skip
    assert found.differences.keys() == {("valve.noise", "majority")}


def test_a_component_with_several_modes_shows_the_first_and_then_each() -> None:
    found = report(*two_modes())
    document = scores_json(found)
    valve = document["components"]["valve"]
    assert valve["mode"] == "lag"
    assert list(valve["modes"]) == ["lag", "noise"]
    assert (
        valve["accuracy"] == valve["modes"]["lag"]["accuracy"] == found.scores["valve.lag", "network"].overall.accuracy
    )
    assert valve["modes"]["noise"] == found.scores["valve.noise", "network"].to_dict()
    assert "modes" not in document["components"]["pump"]
    # What does not answer for the first mode has a score for the others only.
    chance = document["baselines"]["majority"]["components"]["valve"]
    assert chance.keys() == {"mode", "modes"}
    assert json.loads(json.dumps(document)) == document


def test_chance_comes_first_and_ours_last() -> None:
    assert list(report(*ROWS).predictors) == ["majority", "forest", "no edges", "network"]


def test_ours_is_compared_with_every_other_predictor_of_the_component() -> None:
    found = report(*ROWS)
    assert {predictor for _, predictor in found.differences} == {"majority", "forest", "no edges"}
    gain = found.differences["accumulator", "majority"]["accuracy"]
    ours, chance = (found.scores["accumulator", name].overall for name in ("network", "majority"))
    assert gain.value == pytest.approx(ours.accuracy - chance.accuracy)
    assert gain.is_clear


def test_an_estimator_that_answers_for_one_component_only_is_left_out_of_the_others() -> None:
    found = report(OURS, row("estimator", Kind.ABLATION, 0.5), row("network", Kind.OURS, 0.9, "valve"))
    assert ("valve", "estimator") not in found.scores
    assert list(found.tasks) == ["accumulator", "valve"]
    assert found.differences.keys() == {("accumulator", "estimator")}


def test_the_mean_over_folds_counts_each_fold_the_same() -> None:
    right = np.arange(N) < N // 4
    probabilities = np.eye(3)[np.where(right, TRUTH, (TRUTH + 1) % 3)]
    folds = np.where(np.arange(N) < N // 4, "small", "large")
    found = report(row("network", Kind.OURS, 0, probabilities=probabilities, folds=folds)).scores[
        "accumulator", "network"
    ]
    assert found.overall.accuracy == pytest.approx(0.25)
    assert {name: fold["accuracy"] for name, fold in found.folds.items()} == {"small": 1.0, "large": 0.0}
    assert found.fold_mean["accuracy"] == pytest.approx(0.5)


def test_a_metric_without_value_in_one_fold_has_no_mean_over_folds() -> None:
    folds = np.where(TRUTH > 0, "faulty", "all")
    folds[-6:] = "all"
    found = report(row("network", Kind.OURS, 0.5, folds=folds)).scores["accumulator", "network"]
    assert found.folds["faulty"]["auroc"] is None
    assert found.fold_mean["auroc"] is None
    assert found.fold_mean["accuracy"] is not None


def test_several_seeds_are_pooled_without_counting_windows_twice_and_their_spread_is_told() -> None:
    rows = [row("network", Kind.OURS, 0.3, seed=seed) for seed in range(3)]
    found = report(*rows).scores["accumulator", "network"]
    alone = [report(each).scores["accumulator", "network"] for each in rows]
    accuracies = [each.overall.accuracy for each in alone]
    assert found.seeds == 3
    assert found.overall.n == N
    assert found.overall.accuracy == pytest.approx(np.mean(accuracies))
    assert found.seed_std["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert set(alone[0].seed_std.values()) == {None}


def test_the_auroc_of_two_seeds_compares_no_answer_of_one_with_an_answer_of_the_other() -> None:
    def constant(seed: int, fault: float) -> PredictorRow:
        probabilities = np.tile([1 - fault, fault, 0.0], (N, 1))
        return row("network", Kind.OURS, 0, seed=seed, probabilities=probabilities)

    found = report(constant(0, 0.2), constant(1, 0.7)).scores["accumulator", "network"]
    assert found.overall.auroc == pytest.approx(0.5)


def test_every_metric_is_scored() -> None:
    found = report(*ROWS).scores["accumulator", "network"]
    assert all(getattr(found.overall, name) is not None for name in METRICS)


def reversed_in_time(given: PredictorRow) -> PredictorRow:
    flipped = {name: getattr(given, name)[::-1] for name in ("truth", "probabilities", "groups", "folds", "starts")}
    return replace(given, **flipped)


def test_the_order_of_windows_is_each_predictors_own_business() -> None:
    turned = report(OURS, reversed_in_time(ROWS[1])).differences["accumulator", "no edges"]["accuracy"]
    plain = report(OURS, ROWS[1]).differences["accumulator", "no edges"]["accuracy"]
    assert turned == plain


def other_truth() -> PredictorRow:
    truth = TRUTH.copy()
    truth[0] = (truth[0] + 1) % 3
    return row("forest", Kind.BASELINE, 0.2, truth=truth)


def first_half(given: PredictorRow) -> PredictorRow:
    halves = {name: getattr(given, name)[: N // 2] for name in ("truth", "probabilities", "groups", "folds", "starts")}
    return replace(given, **halves)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "at least one predictor"),
        ((OURS, first_half(ROWS[2])), "forest, accumulator: was scored on other windows than network"),
        ((OURS, other_truth()), "was scored on other windows"),
        ((OURS, row("forest", Kind.BASELINE, 0.2, levels=("a", "b", "c"))), "other levels"),
        ((OURS, row("rival", Kind.OURS, 0.2)), "only one predictor can be ours; there are network, rival"),
        ((OURS, row("network", Kind.BASELINE, 0.2, "valve")), "both ours and baseline"),
    ],
)
def test_what_cannot_be_compared_is_no_report(rows: tuple[PredictorRow, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        report(*rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": ("a", "b")}, "2 level names for 3 columns"),
        ({"starts": np.zeros(3, dtype=np.int64)}, "starts: 3 values for 120 windows"),
        ({"severity": np.zeros(3)}, "severity: 3 values for 120 windows"),
        ({"probabilities": np.ones((N, 3))}, "sum to 1"),
    ],
)
def test_answers_that_do_not_fit_their_windows_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        row("network", Kind.OURS, 0.5, **changes)
