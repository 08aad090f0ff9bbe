"""Baselines learn from what ours learns from, see what ours sees, and no baseline gives a level away."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.domain.machine import SensorRole
from gnn_service.model.baseline import robust_centre
from gnn_service.training import rivals
from gnn_service.training.baselines import BASELINES
from gnn_service.training.dataset import UNKNOWN
from gnn_service.training.partition import Partition, partition
from gnn_service.training.results import Kind
from gnn_service.training.rivals import own_deviation, rival_rows
from gnn_service.training.scoring import scored_modes
from tests.support.rig import rig_split, rig_windows

VISIBLE = [k for k, s in enumerate(rig_windows().machine.sensors) if s.role is not SensorRole.DERIVED]


def rig_part() -> Partition:
    return partition(rig_windows(), rig_split())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What every baseline was given; they answer that all levels are as likely."""
    given: list[SimpleNamespace] = []

    class Recorder:
        def __init__(self, name: str, levels: int, **_: object) -> None:
            self.seen = SimpleNamespace(name=name, levels=levels)
            given.append(self.seen)

        def fit(self, x, y, seed, groups=None):
            self.seen.x, self.seen.y, self.seen.seed, self.seen.groups = x, y, seed, groups
            return self

        def predict_proba(self, x):
            self.seen.test = x
            return np.full((len(x), self.seen.levels), 1 / self.seen.levels)

    monkeypatch.setattr(rivals, "make_baseline", Recorder)
    return given


def centre_of(windows):
    healthy = windows.take(windows.healthy() & windows.settled)
    return robust_centre(windows.machine, healthy.grids)[0]


def test_they_learn_from_training_and_validation_and_answer_for_the_test_windows(seen):
    part = rig_part()
    modes = scored_modes(part.test)
    rows = list(rival_rows(part, modes, None, fold="f", seed=3))
    assert [r.predictor for r in rows] == list(BASELINES) * 4
    assert [s.name for s in seen] == list(BASELINES) * 4
    learned = np.concatenate([part.train.grids, part.validation.grids])[:, VISIBLE]
    for given, found in zip(seen, rows, strict=True):
        assert np.array_equal(given.x, learned)
        assert np.array_equal(given.test, part.test.grids[:, VISIBLE])
        assert set(given.groups) == {*part.train.group, *part.validation.group}
        assert not set(given.groups) & set(found.groups)
        assert (given.seed, found.seed, found.folds[0]) == (3, 3, "f")
    assert {r.kind for r in rows if r.predictor == "majority"} == {Kind.CHANCE}
    assert {r.kind for r in rows if r.predictor != "majority"} == {Kind.BASELINE}


def test_windows_without_truth_are_neither_learned_from_nor_scored(seen):
    part = rig_part()
    blank = {"valve_switching_lag": np.where(np.arange(len(part.train)) < 5, UNKNOWN, 1)}
    test = {"valve_switching_lag": np.where(np.arange(len(part.test)) < 7, UNKNOWN, 1)}
    part = replace(
        part,
        train=replace(part.train, levels={**part.train.levels, **blank}),
        test=replace(part.test, levels={**part.test.levels, **test}),
    )
    mode = next(m for m in part.test.machine.failure_modes if m.id == "valve_switching_lag")
    found = next(iter(rival_rows(part, [mode], None, fold="f", seed=0)))
    assert len(seen[0].y) == len(seen[0].x) == len(part.train) + len(part.validation) - 5
    assert (seen[0].y >= 0).all()
    assert len(found.truth) == len(part.test) - 7


def test_with_a_baseline_of_the_machine_they_also_see_deviations_from_it(seen):
    part, centre = rig_part(), centre_of(rig_windows())
    mode = next(m for m in part.test.machine.failure_modes if m.id == "pump_internal_leakage")
    told: list[str] = []
    rows = list(rival_rows(part, [mode], centre, fold="f", seed=0, tick=told.append))
    names = [name + suffix for name in BASELINES for suffix in ("", ", commissioned")]
    names.remove("majority, commissioned")
    assert [r.predictor for r in rows] == names
    assert told == [f"{name}, pump" for name in names]
    commissioned = seen[-1]
    count = len(VISIBLE)
    learned = np.concatenate([part.train.grids, part.validation.grids])
    # Both regimes are scored, so one centre serves all windows, those learned from like those answered for.
    for given, grids in ((commissioned.test, part.test.grids), (commissioned.x, learned)):
        assert np.array_equal(given[:, :count], grids[:, VISIBLE])
        assert np.allclose(given[:, count:], (grids - centre)[:, VISIBLE])


def test_of_a_regime_held_out_they_see_deviations_from_the_own_regime_as_they_did_in_training(seen):
    fouled = rig_windows().column("cooler") == 3
    known, held_out = rig_windows().take(~fouled), rig_windows().take(fouled)
    half = np.arange(len(known)) < 24
    part = Partition(known.take(half), known.take(~half), held_out, known.take(half))
    healthy = held_out.take(held_out.healthy(frozenset({"cooler_fouling"})) & held_out.settled)
    centre = robust_centre(healthy.machine, healthy.grids)[0]
    mode = next(m for m in held_out.machine.failure_modes if m.id == "pump_internal_leakage")
    list(rival_rows(part, [mode], centre, fold="f", seed=0))
    filter_pressure = len(VISIBLE) + VISIBLE.index(rig_windows().machine.sensor_ids.index("PS5"))
    for given in (seen[-1].x, seen[-1].test):
        assert np.abs(given[:, filter_pressure].mean(-1)).max() < 0.1
    assert np.allclose(seen[-1].test[:, len(VISIBLE) :], (held_out.grids - centre)[:, VISIBLE])


def mean_of(deviation: np.ndarray, sensor: str) -> np.ndarray:
    return deviation[:, rig_windows().machine.sensor_ids.index(sensor)].mean(-1)


def test_a_deviation_is_from_the_healthy_centre_of_the_own_regime():
    # A fouled cooler lowers the filter's pressure by 0.8 bar; against its own regime that cannot be seen.
    deviation = mean_of(own_deviation(rig_windows(), rig_windows(), "pump_internal_leakage"), "PS5")
    assert np.abs(deviation).max() < 0.1


def test_a_baseline_of_a_cooler_level_never_enters_the_cooler_task():
    windows = rig_windows()
    deviation = mean_of(own_deviation(windows, windows, "cooler_fouling"), "PS5")
    fouled = windows.column("cooler") == 3
    assert np.abs(deviation[~fouled]).max() < 0.1
    assert (deviation[fouled] < -0.7).all()


def test_without_a_healthy_window_there_is_no_deviation():
    windows = rig_windows()
    ill = windows.take(windows.levels["valve_switching_lag"] > 0)
    assert not own_deviation(windows, ill).any()


def test_real_baselines_learn_the_levels_of_the_rig():
    part = rig_part()
    mode = next(m for m in part.test.machine.failure_modes if m.id == "cooler_fouling")
    rows = {r.predictor: r for r in rival_rows(part, [mode], None, fold="f", seed=0)}
    for name in ("random_forest", "minirocket_ridge"):
        assert (rows[name].probabilities.argmax(1) == rows[name].truth).mean() == 1.0
