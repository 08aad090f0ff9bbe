"""Every fold is trained and scored on its own windows; what makes the baseline is neither trained on nor scored."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training import crossval as cv
from gnn_service.training import rivals
from gnn_service.training.baselines import make_baseline
from gnn_service.training.crossval import Options, crossval
from gnn_service.training.dataset import WindowSet, commissioning_rows
from gnn_service.training.fit import fit_model
from gnn_service.training.loop import Recipe
from gnn_service.training.partition import Partition
from gnn_service.training.results import Kind
from gnn_service.training.scoring import anomaly_scores
from gnn_service.training.splits import Split, group_folds, hold_out
from tests.support.rig import TINY, one_thread, rig_windows

RECIPE = Recipe(epochs=1, batch_size=32)
OPTIONS = Options(RECIPE, architecture=TINY)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[Partition]:
    """Every part that a network was trained on."""
    parts: list[Partition] = []

    def fit(given, *arguments, **options):
        parts.extend(given)
        return fit_model(given, *arguments, **options)

    monkeypatch.setattr(cv, "fit_model", fit)
    return parts


def folds(windows: WindowSet, count: int = 2) -> list[Split]:
    return group_folds(windows.group, windows.level_table(), count, 0)


def held_out(windows: WindowSet) -> list[Split]:
    return hold_out(windows.column("cooler"), windows.group, labels=windows.level_table(), key="cooler")


def cycles(windows: WindowSet) -> set[int]:
    return {w.cycle for w in windows.windows if w.cycle is not None}


def test_every_group_is_scored_once_by_a_model_that_was_not_trained_on_it(trained_on):
    windows = rig_windows()
    found = crossval(windows, folds(windows), OPTIONS)
    for part in trained_on:
        assert not set(part.train.group) & set(part.test.group)
        assert not set(part.validation.group) & set(part.test.group)
    for row in found.rows:
        assert sorted(row.cycles.tolist()) == sorted(cycles(windows))
        for fold, part in zip(("fold-0", "fold-1"), trained_on, strict=True):
            assert set(row.cycles[row.folds == fold].tolist()) == cycles(part.test)
    names = {(row.predictor, row.component) for row in found.rows}
    assert len(names) == len(found.rows) == 4 + 4 + 3
    assert ("estimators alone", "cooler") not in names
    assert {row.kind for row in found.rows if row.predictor == "fused"} == {Kind.OURS}


def test_groups_with_commissioning_cycles_of_folds_are_neither_trained_on_nor_scored(trained_on):
    windows = rig_windows()
    found = crossval(windows, folds(windows), replace(OPTIONS, commission=10))
    rows = commissioning_rows(windows, 10)
    reserved, groups = cycles(windows.take(rows)), set(windows.group[rows].tolist())
    assert (len(reserved), len(groups)) == (10, 4)
    for part in trained_on:
        for each in (part.train, part.validation, part.test):
            assert not set(each.group.tolist()) & groups
        assert reserved <= cycles(part.healthy)
    for row in found.rows:
        assert sorted(row.cycles.tolist()) == sorted(cycles(windows.take(~np.isin(windows.group, sorted(groups)))))
    assert [set(split.set_aside) for split in found.splits] == [groups] * 2
    for split in found.splits:
        assert not groups & {*split.train, *split.validation, *split.test}
    assert [set(split.commissioning) for split in found.splits] == [{str(c) for c in reserved}] * 2


def test_a_value_held_out_is_commissioned_from_itself_and_training_never_sees_it(trained_on):
    windows = rig_windows()
    found = crossval(windows, held_out(windows), replace(OPTIONS, commission=10, hold_out=True))
    for part, value, split in zip(trained_on, (3, 100), found.splits, strict=True):
        scored = windows.take(windows.column("cooler") == value)
        reserved = cycles(scored.take(commissioning_rows(scored, 10)))
        assert cycles(part.test) == cycles(scored) - reserved
        for learned in (part.train, part.validation, part.healthy):
            assert (learned.column("cooler") != value).all()
        assert set(split.commissioning) == {str(c) for c in reserved}
        assert split.name == f"cooler={value}"
    # A cooler that never changes in training is how the machine ran, not what is asked.
    assert {row.component for row in found.rows if row.predictor == "fused"} == {"valve", "pump", "accumulator"}


def test_a_time_makes_the_baseline_as_well_as_a_count(trained_on):
    windows = rig_windows()
    found = crossval(windows, held_out(windows), replace(OPTIONS, seconds=240.0, hold_out=True))
    assert [len(split.commissioning) for split in found.splits] == [4, 4]


def test_too_few_healthy_cycles_are_counted():
    windows = rig_windows()
    with pytest.raises(InvalidInputError, match="needs 13 healthy and settled windows, and there are 12"):
        crossval(windows, held_out(windows), replace(OPTIONS, commission=13, hold_out=True))


def test_a_window_without_the_value_that_is_held_out_is_told():
    windows = rig_windows()
    column = np.array([None, *windows.column("cooler")[1:]], dtype=object)
    with pytest.raises(InvalidInputError, match="1 windows have no cooler in the truth"):
        held_out(replace(windows, extra={**windows.extra, "cooler": column}))


def test_a_part_that_is_all_baseline_has_nothing_to_score():
    windows = rig_windows()
    healthy = windows.healthy() & windows.settled & (windows.column("cooler") == 100)
    rest = windows.take(healthy | (windows.column("cooler") == 3))
    with pytest.raises(InvalidInputError, match="cooler=100: every window held out makes the baseline"):
        crossval(rest, held_out(rest)[1:], replace(OPTIONS, commission=12, hold_out=True))


def test_baselines_and_ablations_answer_for_the_same_windows(monkeypatch):
    monkeypatch.setattr(rivals, "make_baseline", lambda name, levels, **_: make_baseline("majority", levels))
    windows = rig_windows()
    options = replace(OPTIONS, commission=3, hold_out=True, baselines=True, ablations=True)
    found = crossval(windows, held_out(windows)[:1], options)
    report = found.report(windows, "one value held out")  # refuses rows of other windows
    names = {row.predictor for row in found.rows}
    assert {"fused", "network alone", "estimators alone", *cv.ABLATIONS, "majority"} <= names
    assert {"random_forest, commissioned", "minirocket_ridge, commissioned"} <= names
    assert set(found.seconds) == {"training", "asking", "ablations", "baselines"}
    assert report.facts["windows, groups"] == "96, 24"
    assert found.parameters > 0
    assert found.support.keys() == {"cooler=3"}
    assert found.support["cooler=3"] == 0.0
    assert report.facts["mean weight of the network, cooler=3"] == "0.000"
    # Where training never ran, the product says nothing of what no physics covers, and physics covers these three.
    assert found.unknown == {"valve": 0.0, "pump": 0.0, "accumulator": 0.0}
    assert report.facts["windows that the product answers with unknown"].startswith("valve 0.0 %, pump 0.0 %")


def test_a_network_without_edges_and_virtual_sensors_sees_neither(monkeypatch):
    asked_for: list[tuple[bool, str]] = []

    def fit(parts, recipe, architecture, wiring="true", **options):
        asked_for.append((architecture.use_evidence, wiring))
        return fit_model(parts, recipe, architecture, wiring, **options)

    monkeypatch.setattr(cv, "fit_model", fit)
    windows = rig_windows()
    crossval(windows, held_out(windows)[:1], replace(OPTIONS, hold_out=True, ablations=True))
    assert asked_for == [(True, "true"), (False, "true"), (True, "none"), (False, "none"), (True, "shuffled")]


def test_seeds_train_again_and_are_told_apart():
    windows = rig_windows()
    found = crossval(windows, held_out(windows)[:1], replace(OPTIONS, seeds=2, hold_out=True))
    fused = [row for row in found.rows if row.predictor == "fused" and row.component == "valve"]
    assert [row.seed for row in fused] == [0, 1]
    network = [row for row in found.rows if row.predictor == "network alone" and row.component == "valve"]
    assert not np.array_equal(network[0].probabilities, network[1].probabilities)


def test_the_anomaly_of_all_folds_is_scored_together_and_progress_is_told():
    windows = rig_windows()
    told: list[tuple[str, int, int]] = []
    found = crossval(windows, folds(windows), OPTIONS, lambda *line: told.append(line))
    assert sum(len(a.windows) for a in found.asked) == len(windows)
    assert anomaly_scores(found.asked)["auroc"] is not None
    assert ("fold-0, seed 0: training", 1, 1) in told
    asked = [(done, total) for what, done, total in told if what == "fold-1: asking"]
    assert asked == [(k + 1, len(found.asked[1].windows)) for k in range(len(asked))]
    assert len(asked) == len(found.asked[1].windows)


def test_the_same_seed_gives_the_same_answers():
    windows = rig_windows()
    split = held_out(windows)[:1]
    first, second = (crossval(windows, split, replace(OPTIONS, hold_out=True)).rows for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-6)
