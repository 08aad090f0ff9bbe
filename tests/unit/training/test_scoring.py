"""Answers through the path of the service, lined up with the truth."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.recording import MICROSECONDS
from gnn_service.model.encode import encode
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.judge import judge
from gnn_service.training.dataset import UNKNOWN, WindowSet, window_set
from gnn_service.training.export import run_torch
from gnn_service.training.results import Kind
from gnn_service.training.scoring import (
    Asked,
    anomaly_scores,
    ask,
    in_words,
    joined,
    row,
    scored_modes,
    together,
    unknown_shares,
)
from tests.support.rig import asking, one_thread, rig_model, rig_recording, rig_structure, rig_windows, with_cavitation

RIG = "uci-hydraulic-rig"


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with one_thread():
        yield


def mode_of(windows: WindowSet, mode: str):
    return next(m for m in windows.machine.failure_modes if m.id == mode)


def some_windows() -> WindowSet:
    return rig_windows().take(np.arange(0, 96, 3))


async def test_answers_stand_in_the_order_of_the_windows_and_are_those_of_the_network():
    windows, knowledge = some_windows(), rig_model().knowledge[RIG]
    async with asking(rig_model()) as diagnoser:
        asked = await ask(diagnoser, windows, None)
    evidence = VirtualSensors.of(windows.machine, knowledge.calibrations).read(windows.grids, knowledge.reference)
    moving = encode(rig_structure(), windows.grids, knowledge.reference, evidence)
    static = {name: np.stack([value] * len(windows)) for name, value in rig_structure().arrays.items()}
    logits = run_torch(rig_model().network, {**static, **moving})["severity"]
    support = knowledge.regime.support(windows.machine, windows.grids)
    for expected in judge(rig_structure(), knowledge, logits, evidence, support):
        for source in ("fused", "network", "physics"):
            wanted, got = getattr(expected, source), asked.probabilities(expected.mode.id, source)
            assert (wanted is None) == (got is None)
            if wanted is not None:
                assert got == pytest.approx(wanted, abs=1e-5)
    assert asked.probabilities("cooler_fouling", "physics") is None
    assert asked.probabilities("no_such_mode", "fused") is None
    assert np.array_equal(asked.support, support)
    assert asked.anomalies().shape == asked.health("pump").shape == (len(windows),)
    assert ((asked.health("pump") >= 0) & (asked.health("pump") <= 1)).all()


async def test_progress_counts_every_window_once():
    told: list[tuple[int, int]] = []
    async with asking(rig_model()) as diagnoser:
        await ask(diagnoser, some_windows().take(np.arange(5)), None, lambda *counts: told.append(counts))
    assert told == [(k, 5) for k in range(1, 6)]


async def test_a_window_that_is_too_short_ends_the_scoring_with_one_plain_error():
    windows = some_windows().take(np.arange(3))
    first = windows.windows[1]
    short = replace(first, values=first.values[:, :10], times=first.times[:10])
    torn = replace(windows, windows=(windows.windows[0], short, windows.windows[2]))
    async with asking(rig_model()) as diagnoser:
        with pytest.raises(InvalidInputError, match=r"cycle 3: the window covers 10 s of the 60 s of a cycle"):
            await ask(diagnoser, torn, None)


async def test_what_is_done_together_comes_back_in_order():
    async def slow(value: int) -> int:
        await asyncio.sleep((5 - value) / 1000)
        return value

    assert await together(slow(k) for k in range(5)) == [0, 1, 2, 3, 4]
    assert await together(()) == []


async def test_the_first_error_ends_the_others_and_is_raised_by_itself():
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise InvalidInputError("no good")

    with pytest.raises(InvalidInputError, match="no good"):
        await together([waits(), fails()])
    assert ended.is_set()


async def test_a_defect_is_not_taken_for_bad_input():
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await together([broken()])
    assert caught.group_contains(ZeroDivisionError)


def test_modes_of_the_regime_and_modes_without_truth_are_not_scored():
    windows = rig_windows()
    assert len(scored_modes(windows)) == 4
    hot = windows.take(windows.column("cooler") == 3)
    assert [m.component for m in scored_modes(hot)] == ["valve", "pump", "accumulator"]
    levels = {**hot.levels, "pump_internal_leakage": np.full(len(hot), UNKNOWN)}
    assert [m.component for m in scored_modes(replace(hot, levels=levels))] == ["valve", "accumulator"]


def test_a_row_holds_the_windows_whose_truth_is_known():
    windows = rig_windows().take(np.arange(4))
    known = replace(windows, levels={**windows.levels, "valve_switching_lag": np.array([0, UNKNOWN, 2, 3])})
    mode = mode_of(windows, "valve_switching_lag")
    probabilities = np.eye(4)
    found = row(known, mode, "ours", Kind.OURS, probabilities, fold="f", seed=2, health=np.arange(4.0))
    assert found.truth.tolist() == [0, 2, 3]
    assert found.probabilities.tolist() == np.eye(4)[[0, 2, 3]].tolist()
    assert found.health.tolist() == [0.0, 2.0, 3.0]
    assert found.severity == pytest.approx([0.0, 2 / 3, 1.0])
    assert found.cycles.tolist() == [0, 2, 3]
    assert found.starts.tolist() == [round(windows.windows[k].start * MICROSECONDS) for k in (0, 2, 3)]
    assert (found.component, found.seed, found.folds.tolist()) == ("valve", 2, ["f"] * 3)
    assert found.levels == tuple(level.name for level in mode.levels)


def test_a_mode_without_named_levels_is_scored_by_severity():
    windows = rig_windows().take(np.arange(2))
    continuous = mode_of(windows, "valve_switching_lag").model_copy(update={"levels": ()})
    found = row(windows, continuous, "ours", Kind.OURS, np.full((2, 7), 1 / 7), fold="f")
    assert found.levels == ("0.00", "0.17", "0.33", "0.50", "0.67", "0.83", "1.00")
    assert found.severity == pytest.approx([0.5, 0.5])


def test_folds_are_joined_by_predictor_component_and_seed():
    windows = rig_windows()
    mode, other = mode_of(windows, "valve_switching_lag"), mode_of(windows, "pump_internal_leakage")

    def part(rows: list[int], fold: str, name: str = "ours", seed: int = 0, of: Any = mode):
        levels = len(of.levels)
        probabilities = np.full((len(rows), levels), 1 / levels)
        return row(windows.take(np.array(rows)), of, name, Kind.OURS, probabilities, fold=fold, seed=seed)

    parts = [part([0, 1], "a"), part([0], "a", of=other), part([5], "b"), part([0], "a", seed=1), part([2], "a", "rf")]
    found = {(r.predictor, r.component, r.seed): r for r in joined(parts)}
    assert len(found) == 4
    assert found["ours", "valve", 0].cycles.tolist() == [0, 1, 5]
    assert found["ours", "valve", 0].folds.tolist() == ["a", "a", "b"]
    assert found["ours", "valve", 0].health is None
    assert found["ours", "valve", 1].cycles.tolist() == [0]


def test_folds_of_two_modes_of_one_component_are_not_mixed_up():
    windows = window_set(with_cavitation(rig_recording()))
    modes = [m for m in scored_modes(windows) if m.component == "pump"]
    assert [len(mode.levels) for mode in modes] == [3, 2]

    def part(mode: Any, rows: list[int], fold: str):
        probabilities = np.full((len(rows), len(mode.levels)), 1 / len(mode.levels))
        return row(windows.take(np.array(rows)), mode, "ours", Kind.OURS, probabilities, fold=fold)

    found = joined([part(mode, rows, fold) for rows, fold in (([0, 1], "a"), ([5], "b")) for mode in modes])
    assert [r.mode for r in found] == ["pump_internal_leakage", "pump_cavitation"]
    assert [r.probabilities.shape for r in found] == [(3, 3), (3, 2)]


def asked_with(windows: WindowSet, anomalies: list[float | None]) -> Asked:
    diagnoses: tuple[Any, ...] = tuple(SimpleNamespace(anomaly=a) for a in anomalies)
    return Asked(windows, diagnoses, {}, np.ones(len(windows)))


def test_anomaly_is_told_from_none_by_its_threshold():
    # Rows 0 and 1 are healthy, 4 and 5 have a lagging valve.
    windows = rig_windows(coolers=(0,)).take(np.array([0, 1, 4, 5]))
    found = anomaly_scores([asked_with(windows, [0.1, 0.7, 0.8, 0.2])])
    assert found["far"] == 0.5
    assert found["mar"] == 0.5
    assert found["f1"] == 0.5
    assert found["auroc"] == 0.75


def test_windows_answered_with_unknown_are_counted_for_each_component():
    def answer(**health: float | None) -> Any:
        return SimpleNamespace(components=[SimpleNamespace(component=c, health=h) for c, h in health.items()])

    windows = rig_windows().take(np.arange(2))
    first = Asked(windows, (answer(pump=0.1, valve=None), answer(pump=None, valve=None)), {}, np.ones(2))
    second = Asked(windows, (answer(pump=0.1, valve=0.2), answer(pump=0.3, valve=None)), {}, np.ones(2))
    found = unknown_shares([first, second], ["valve", "pump"])
    assert found == {"valve": 0.75, "pump": 0.25}
    assert in_words(found) == "valve 75.0 %, pump 25.0 %"


def test_a_fault_of_the_regime_is_no_anomaly():
    windows = rig_windows(coolers=(2,)).take(np.array([0, 1, 4, 5]))
    found = anomaly_scores([asked_with(windows, [0.1, 0.2, 0.8, 0.9])])
    assert (found["far"], found["mar"], found["auroc"]) == (0.0, 0.0, 1.0)


def test_no_answer_is_no_alarm_and_no_truth_is_not_counted():
    windows = rig_windows(coolers=(0,)).take(np.array([0, 1, 4, 5]))
    levels = {mode: np.where(np.arange(4) == 1, UNKNOWN, v) for mode, v in windows.levels.items()}
    found = anomaly_scores([asked_with(replace(windows, levels=levels), [None, 0.9, None, 0.9])])
    assert (found["far"], found["mar"]) == (0.0, 0.5)


def test_without_healthy_or_faulty_windows_a_rate_has_no_value():
    healthy = rig_windows(coolers=(0,)).take(np.array([0, 1]))
    assert anomaly_scores([asked_with(healthy, [0.1, 0.2])]) == {"f1": None, "far": 0.0, "mar": None, "auroc": None}
    ill = rig_windows(coolers=(0,)).take(np.array([0, 4, 5])).take(np.array([1, 2]))
    mixed = replace(ill, levels={**ill.levels, "valve_switching_lag": np.array([1, 2])})
    assert anomaly_scores([asked_with(mixed, [0.9, 0.9])])["far"] is None
