"""Nothing that is held out reaches what is learned, whatever it holds.

The whole of a model is compared, bit by bit: constants of the physics, level scales, regime map, reference baseline,
weights after an epoch, fusion weights and the canary.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gnn_service.core.config import load_settings
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.recording import Recording
from gnn_service.training import run
from gnn_service.training.dataset import UNKNOWN, WindowSet, window_set
from gnn_service.training.fit import Model
from gnn_service.training.partition import Partition, partition, reserved_for_commissioning
from gnn_service.training.splits import Split, group_folds
from tests.support.rig import PERIOD_S, fit_tiny, rig_blocks, rig_recording, rig_split, rig_windows, weights_of

LEAK_SETTINGS = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RESERVED = 4
"""Healthy cycles of each regime that are set aside for commissioning."""


def learned(model: Model) -> dict[str, Any]:
    """All that a model has learned."""
    item, answer = model.canary
    return {
        "weights": weights_of(model),
        "knowledge": {key: knowledge.to_dict() for key, knowledge in model.knowledge.items()},
        "vocabulary": model.vocabulary,
        "history": model.fitted.history,
        "canary": {name: value.tobytes() for name, value in {**item, **answer}.items()},
    }


@cache
def untouched() -> dict[str, Any]:
    return learned(fit_tiny(part_of(rig_windows(), rig_split())))


def part_of(windows: WindowSet, split: Split) -> Partition:
    """The parts, with the commissioning cycles of the untouched recording set aside by their time."""
    kept = {rig_windows().windows[k].start for k in reserved_for_commissioning(rig_windows(), RESERVED)}
    return partition(windows, split, np.flatnonzero([w.start in kept for w in windows.windows]))


def cycles_of(*parts: WindowSet) -> list[int]:
    return sorted(w.cycle for part in parts for w in part.windows if w.cycle is not None)


TEST = cycles_of(part_of(rig_windows(), rig_split()).test)


def with_readings(recording: Recording, cycles: list[int], random: np.random.Generator) -> Recording:
    """Other readings in some cycles: noise of any size, and gaps."""
    readings = recording.readings
    assert readings.cycle is not None
    rows = np.isin(readings.cycle, cycles)
    values = readings.values.copy()
    noise = random.normal(0, 10.0 ** random.integers(-3, 6), (rows.sum(), values.shape[1]))
    values[rows] += noise.astype(np.float32)
    values[rows] = np.where(random.random((rows.sum(), values.shape[1])) < 0.1, np.nan, values[rows])
    return replace(recording, readings=replace(readings, values=values))


def with_levels(windows: WindowSet, cycles: list[int], random: np.random.Generator) -> WindowSet:
    """Other levels in some windows, some of them unknown, and other marks of what is settled."""
    rows = np.isin([w.cycle for w in windows.windows], cycles)
    levels = {}
    for mode in windows.machine.failure_modes:
        drawn = random.integers(UNKNOWN, len(mode.levels), len(windows))
        levels[mode.id] = np.where(rows, drawn, windows.levels[mode.id])
    settled = np.where(rows, random.random(len(windows)) < 0.5, windows.settled)
    return replace(windows, levels=levels, settled=settled)


def without_cycles(recording: Recording, cycles: list[int]) -> Recording:
    readings = recording.readings
    assert readings.cycle is not None
    kept = ~np.isin(readings.cycle, cycles)
    part = replace(
        readings, times=readings.times[kept], values=readings.values[kept], cycle=np.asarray(readings.cycle[kept])
    )
    return replace(recording, readings=part)


@given(seed=st.integers(0, 2**16), share=st.floats(0.1, 1.0))
@LEAK_SETTINGS
def test_readings_and_levels_of_the_test_part_change_nothing_that_is_learned(seed, share):
    random = np.random.default_rng(seed)
    chosen = random.choice(TEST, max(1, round(share * len(TEST))), replace=False).tolist()
    windows = window_set(with_readings(rig_recording(), chosen, random))
    changed = with_levels(windows, chosen, random)
    assert not np.array_equal(changed.grids, rig_windows().grids, equal_nan=True)
    assert learned(fit_tiny(part_of(changed, rig_split()))) == untouched()


@given(seed=st.integers(0, 2**16), share=st.floats(0.1, 0.9))
@LEAK_SETTINGS
def test_windows_taken_from_the_test_part_change_nothing_that_is_learned(seed, share):
    random = np.random.default_rng(seed)
    dropped = random.choice(TEST, max(1, round(share * len(TEST))), replace=False).tolist()
    windows = window_set(without_cycles(rig_recording(), dropped))
    assert len(windows) == len(rig_windows()) - len(dropped)
    assert learned(fit_tiny(part_of(windows, rig_split()))) == untouched()


@given(seed=st.integers(0, 2**16), blocks=st.integers(1, 6))
@LEAK_SETTINGS
def test_windows_added_to_the_test_part_change_nothing_that_is_learned(seed, blocks):
    random = np.random.default_rng(seed)
    more = rig_blocks(coolers=(1,))[:blocks]
    windows = window_set(with_readings(rig_recording([*rig_blocks(), *more]), list(range(96, 96 + 4 * blocks)), random))
    split = rig_split()
    added = tuple(np.unique(windows.group[96:]).tolist())
    assert learned(fit_tiny(part_of(windows, replace(split, test=(*split.test, *added))))) == untouched()


@given(seed=st.integers(0, 2**16))
@LEAK_SETTINGS
def test_validation_windows_reach_neither_calibrations_nor_scales_nor_regimes_nor_the_reference(seed):
    random = np.random.default_rng(seed)
    part = part_of(rig_windows(), rig_split())
    chosen = cycles_of(part.validation, part.test)
    changed = with_levels(window_set(with_readings(rig_recording(), chosen, random)), chosen, random)
    for key, found in learned(fit_tiny(part_of(changed, rig_split())))["knowledge"].items():
        assert {**found, "fusion": {}} == {**untouched()["knowledge"][key], "fusion": {}}


def test_the_comparison_notices_one_changed_reading_of_the_training_part():
    part = part_of(rig_windows(), rig_split())
    grids = part.train.grids.copy()
    grids[5, 7, 20] += 0.5
    assert learned(fit_tiny(replace(part, train=replace(part.train, grids=grids)))) != untouched()


@pytest.mark.parametrize("mode", ["valve_switching_lag", "pump_internal_leakage"])
def test_the_comparison_notices_one_changed_level_of_the_training_part(mode):
    part = part_of(rig_windows(), rig_split())
    levels = part.train.levels[mode].copy()
    levels[5] = (levels[5] + 1) % 3
    changed = replace(part.train, levels={**part.train.levels, mode: levels})
    assert learned(fit_tiny(replace(part, train=changed)))["weights"] != untouched()["weights"]


@given(folds=st.integers(2, 8), seed=st.integers(0, 2**16), count=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_no_group_is_in_two_parts_and_one_with_a_commissioning_cycle_is_in_none(folds, seed, count):
    windows = rig_windows()
    reserved = reserved_for_commissioning(windows, count)
    aside = set(windows.group[reserved].tolist())
    scored: list[int] = []
    for split in group_folds(windows.group, windows.level_table(), folds, seed):
        try:
            part = partition(windows, split, reserved)
        except InvalidInputError:  # all groups of a small part were set aside
            assume(False)
            raise
        groups = [set(p.group.tolist()) for p in (part.train, part.validation, part.test)]
        assert sum(len(g) for g in groups) == len(set.union(*groups))
        assert not aside & set.union(*groups)
        # Nothing that a baseline is learned from shares a group with what is validated on or scored.
        assert not set(part.healthy.group.tolist()) & (groups[1] | groups[2])
        assert set(cycles_of(part.healthy)) == set(cycles_of(part.train)) | set(cycles_of(windows.take(reserved)))
        scored += cycles_of(part.test)
    assert sorted(scored) == cycles_of(windows.take(~np.isin(windows.group, sorted(aside))))


@pytest.mark.parametrize("seed", range(3))
def test_a_training_run_learns_from_no_group_that_it_validates_on_or_scores(seed):
    fractions = {"train_fraction": 0.5, "validation_fraction": 0.2, "test_fraction": 0.3}
    chosen = load_settings(training={**fractions, "commissioning_cycles": 5, "seed": seed}).training
    ((split,), (part,)) = run._partitions([rig_windows()], chosen, None)
    learned = set(part.healthy.group.tolist()) | set(part.train.group.tolist())
    assert not learned & {*part.validation.group.tolist(), *part.test.group.tolist()}
    assert set(split.set_aside) == learned - set(split.train)
    assert set(split.set_aside).isdisjoint({*split.validation, *split.test})
    assert len(split.commissioning) == 10


def test_the_made_up_recording_is_whole():
    # What these tests take for granted: 96 cycles of a minute, so that cycles can be cut out by number.
    assert len(rig_recording().readings.times) == 96 * PERIOD_S
    assert 20 < len(TEST) < 40
