"""A bundle is scored on what it has not seen: whole groups, without the cycles that made its baseline."""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.training import rivals
from gnn_service.training.baselines import make_baseline
from gnn_service.training.dataset import UNKNOWN, WindowSet
from gnn_service.training.evaluate import Selection, evaluate, facts_of, matching, rival_rows_of, select
from gnn_service.training.partition import partition, reserved_for_commissioning, stretches
from tests.support.rig import asking, one_thread, rig_model, rig_split, rig_windows


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with one_thread():
        yield


def bundle(trained: WindowSet | None = None, commissioning: WindowSet | None = None) -> Any:
    """A bundle that says what it was trained on and commissioned with."""
    facts = {
        "trained": stretches(trained) if trained is not None and len(trained) else [],
        "commissioning": stretches(commissioning) if commissioning is not None else [],
    }
    return SimpleNamespace(manifest=json.loads(json.dumps({"data": {rig_windows().machine.id: facts}})))


def cycles(windows: WindowSet | None) -> list[int]:
    return [] if windows is None else [w.cycle for w in windows.windows if w.cycle is not None]


def group(number: int) -> WindowSet:
    return rig_windows().take(rig_windows().group == f"block-{number:03d}")


def test_on_a_recording_it_was_not_trained_on_everything_is_scored():
    selection = select(SimpleNamespace(manifest={}), rig_windows())
    assert len(selection.scored) == len(rig_windows())
    assert selection.note == ""
    assert not len(selection.trained)
    assert selection.commissioning is None


def test_only_groups_held_out_are_scored_and_a_note_says_so():
    part = partition(rig_windows(), rig_split())
    learned = part.train.join(part.validation)
    selection = select(bundle(learned), rig_windows())
    assert cycles(selection.scored) == cycles(part.test)
    assert sorted(cycles(selection.trained)) == sorted(cycles(learned))
    assert selection.note == (
        f"the bundle was trained on {len(learned)} of these windows; "
        f"scoring the {len(np.unique(part.test.group))} groups held out"
    )


def test_a_group_of_which_one_window_was_trained_on_is_not_scored_at_all():
    selection = select(bundle(group(3).take(np.array([1]))), rig_windows())
    assert "block-003" not in selection.scored.group
    assert len(selection.scored) == len(rig_windows()) - 4


def test_groups_that_made_the_bundles_baseline_are_never_scored_but_may_make_one_again():
    windows = rig_windows()
    reserved = windows.take(reserved_for_commissioning(windows, 3))
    plain = select(bundle(group(1), reserved), windows)
    assert not set(plain.scored.group) & set(reserved.group)
    assert len(plain.scored) == 96 - 4 - 8
    assert plain.note.endswith(f"scoring the {24 - 1 - 2} groups held out")
    again = select(bundle(group(1), reserved), windows, {"cooler": "100"}, commission=3)
    assert set(cycles(again.commissioning)) == {c for c in cycles(reserved) if c >= 48}
    more = select(bundle(group(1), reserved), windows, {"cooler": "100"}, commission=5)
    assert not set(cycles(more.commissioning)) & set(cycles(more.scored))
    assert len(more.scored) == 48 - 4 - 2


def test_where_everything_was_trained_on_nothing_is_scored_and_the_error_says_so():
    with pytest.raises(InvalidInputError, match="was trained on all of these windows; nothing is left to score"):
        select(bundle(rig_windows()), rig_windows())
    with pytest.raises(InvalidInputError, match="was trained on all of these windows"):
        select(bundle(rig_windows(coolers=(2, 0)).take(np.arange(48))), rig_windows(), {"cooler": "3"})


def test_windows_that_all_make_the_baseline_leave_nothing_to_score():
    with pytest.raises(InvalidInputError, match="every window left makes the baseline"):
        select(bundle(), rig_windows(), {"group": "block-000", "stable": "true"}, commission=3)


@pytest.mark.parametrize(
    "only, count",
    [
        ({"cooler": "3"}, 48),
        ({"cooler": "3.0"}, 48),
        ({"cooler": "3", "valve": "73"}, 4),
        ({"group": "block-007"}, 4),
        ({"stable": "true"}, 72),
        ({"stable": "0"}, 24),
    ],
)
def test_only_what_is_asked_for_is_scored(only, count):
    scored = select(bundle(), rig_windows(), only).scored
    assert len(scored) == count
    for key, value in only.items():
        assert len(set(scored.column(key).tolist())) == 1, (key, value)


def test_a_value_or_a_column_that_is_not_there_is_told():
    with pytest.raises(InvalidInputError, match="no window has cooler=4"):
        select(bundle(), rig_windows(), {"cooler": "4"})
    with pytest.raises(InvalidInputError, match="no column 'kooler'; there are: group, accumulator"):
        select(bundle(), rig_windows(), {"kooler": "3"})


def test_windows_without_truth_match_no_value():
    windows = rig_windows().take(np.arange(3))
    column = np.array([3, None, 100], dtype=object)
    given = replace(windows, extra={"cooler": column})
    assert matching(given, {"cooler": "3"}).tolist() == [True, False, False]
    with pytest.raises(InvalidInputError, match="no window has cooler=None"):
        matching(given, {"cooler": "None"})


def test_the_baseline_comes_from_the_part_that_is_scored_and_is_not_scored():
    selection = select(bundle(), rig_windows(), {"cooler": "3"}, commission=10)
    assert selection.commissioning is not None
    assert set(selection.commissioning.column("cooler").tolist()) == {3}
    assert selection.commissioning.settled.all()
    assert not set(cycles(selection.commissioning)) & set(cycles(selection.scored))
    assert len(selection.scored) == 38


def test_the_baseline_is_not_taken_from_what_the_bundle_was_trained_on():
    selection = select(bundle(group(0)), rig_windows(), {"cooler": "3"}, commission=9)
    assert not set(cycles(selection.commissioning)) & set(cycles(group(0)))
    with pytest.raises(InvalidInputError, match="needs 10 healthy and settled windows, and there are 9"):
        select(bundle(group(0)), rig_windows(), {"cooler": "3"}, commission=10)


async def test_every_mode_that_varies_is_scored_by_each_source():
    selection = select(bundle(), rig_windows(), {"cooler": "100"}, commission=3)
    async with asking(rig_model()) as diagnoser:
        asked, rows = await evaluate(diagnoser, selection)
    assert len(asked.windows) == 45
    names = {(row.predictor, row.component) for row in rows}
    parts = ("fused", "network alone", "estimators alone")
    wanted = {(name, component) for name in parts for component in ("valve", "pump", "accumulator")}
    assert names == wanted | {("fused", "cooler"), ("network alone", "cooler")}
    physics = next(r for r in rows if (r.predictor, r.component) == ("estimators alone", "valve"))
    assert (physics.probabilities.argmax(1) == physics.truth).mean() == 1.0
    facts = facts_of(asked, rows)
    assert float(facts["mean weight of the network"]) == pytest.approx(asked.support.mean(), abs=1e-3)
    assert "crossval --ablations" in facts["without edges or virtual sensors"]


async def test_without_truth_nothing_is_asked_and_the_error_says_why():
    windows = rig_windows()
    unknown = replace(windows, levels={mode: np.full_like(v, UNKNOWN) for mode, v in windows.levels.items()})
    with pytest.raises(InvalidInputError, match="no failure mode has a known and varying level here"):
        await evaluate(SimpleNamespace(), Selection(unknown, None, unknown.take(np.zeros(0, np.int64)), ""))


async def test_a_bundle_that_speaks_of_nothing_here_says_so():
    windows = rig_windows().take(np.arange(8))
    levels = {m: v if m == "cooler_fouling" else np.full_like(v, UNKNOWN) for m, v in windows.levels.items()}
    levels["cooler_fouling"] = np.arange(8) % 3
    model = rig_model()
    mute = replace(model.vocabulary, modes=("pump.internal_leakage",) * len(model.vocabulary.modes))
    async with asking(replace(model, vocabulary=mute)) as diagnoser:
        selection = Selection(replace(windows, levels=levels), None, windows.take(np.zeros(0, np.int64)), "")
        with pytest.raises(InvalidInputError, match="speaks of none of the failure modes that vary here"):
            await evaluate(diagnoser, selection)


def test_baselines_learn_from_the_groups_that_the_bundle_was_trained_on(monkeypatch):
    monkeypatch.setattr(rivals, "make_baseline", lambda name, levels, **_: make_baseline("majority", levels))
    part = partition(rig_windows(), rig_split())
    selection = select(bundle(part.train), rig_windows(), commission=3)
    rows = rival_rows_of(selection)
    assert {row.component for row in rows} == {"cooler", "valve", "pump", "accumulator"}
    assert "minirocket_ridge, commissioned" in {row.predictor for row in rows}
    for row in rows:
        assert row.cycles.tolist() == cycles(selection.scored)


def test_baselines_need_the_recording_that_the_bundle_was_trained_on():
    with pytest.raises(InvalidInputError, match="baselines need the recording that the bundle was trained on"):
        rival_rows_of(select(bundle(group(2)), rig_windows()))
