"""What is learned before the network: calibrations, references, and examples that give no level away."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gnn_service.model.encode import CHANNELS
from gnn_service.model.judge import Knowledge
from gnn_service.training.dataset import UNKNOWN, WindowSet, window_set
from gnn_service.training.prepare import Examples, healthy_regimes, learn_kind, make_examples, regimes
from tests.support.rig import Block, rig_recording, rig_structure, rig_windows

HEALTHY = (0, 0, 0, 0)
DEVIATION = 1
"""The channel that holds the deviation from the baseline."""


def recorded(*blocks: tuple[tuple[int, int, int, int], int]) -> WindowSet:
    return window_set(rig_recording([Block(levels, cycles) for levels, cycles in blocks]))


@cache
def knowledge() -> Knowledge:
    return learn_kind(rig_windows(), rig_windows())


@cache
def examples() -> Examples:
    return make_examples(rig_structure(), knowledge(), rig_windows(), rig_windows(), seed=0)


def own_baseline(found: Examples):
    """Whether each example was compared with a commissioning baseline."""
    return found.arrays["context"][:, 1] == 1


def mean_deviation(found: Examples, sensor: str):
    column = [found.structure.machine.sensors[row].id for row in found.structure.rows].index(sensor)
    return found.arrays["readings"][:, column, DEVIATION].mean(-1)


def test_a_fault_that_holds_each_level_for_one_stretch_is_where_the_machine_was_run():
    parts = regimes(rig_windows())
    assert [(len(rows), sorted(constant)) for rows, constant in parts] == [(48, []), (48, ["cooler_fouling"])]
    assert (rig_windows().column("cooler")[parts[1][0]] == 3).all()


def test_a_fault_that_comes_back_is_no_regime():
    windows = recorded((HEALTHY, 2), ((2, 0, 0, 0), 2), (HEALTHY, 2))
    assert [(len(rows), constant) for rows, constant in regimes(windows)] == [(6, frozenset())]


def test_a_fault_that_came_and_stayed_is_no_regime():
    windows = recorded((HEALTHY, 5), ((0, 0, 2, 0), 5))
    assert [(len(rows), constant) for rows, constant in regimes(windows)] == [(10, frozenset())]


def test_a_fault_that_never_changes_is_the_only_regime():
    windows = recorded(((2, 0, 0, 0), 2), ((2, 0, 1, 0), 1), ((2, 0, 0, 0), 2))
    assert [(len(rows), constant) for rows, constant in regimes(windows)] == [(5, frozenset({"cooler_fouling"}))]


def test_baselines_come_from_healthy_and_settled_windows_of_one_regime():
    for regime in healthy_regimes(rig_windows(), rig_windows()):
        assert len(regime.healthy) == 12
        assert regime.source.settled[regime.healthy].all()
        assert regime.source.healthy(regime.constant)[regime.healthy].all()
        assert len(np.unique(regime.source.column("cooler"))) == 1


def test_only_where_settled_windows_are_too_few_the_others_are_taken_as_well():
    windows = recorded((HEALTHY, 6), ((0, 1, 0, 0), 2))
    assert [len(r.healthy) for r in healthy_regimes(windows, windows)] == [6]


def test_a_regime_with_two_healthy_windows_makes_no_baseline():
    windows = recorded((HEALTHY, 2), ((0, 1, 0, 0), 4))
    assert not list(healthy_regimes(windows, windows))


def test_every_window_appears_with_the_reference_and_with_baselines_of_machines_commissioned_before():
    # The reference, the baseline of the machine when all was well, and for half of them that of their own regime.
    found = examples()
    assert len(found) == 96 + 96 + 48
    assert not own_baseline(found)[:96].any()
    assert own_baseline(found)[96:].all()
    assert np.bincount(found.row).tolist() == [3] * 48 + [2] * 48


def test_levels_stay_with_their_windows():
    found, windows = examples(), rig_windows()
    for mode, levels in found.levels.items():
        told = levels != UNKNOWN
        assert (levels[told] == windows.levels[mode][found.row[told]]).all()
        if mode != "cooler_fouling":
            assert told.all()


def test_a_baseline_of_a_cooler_level_never_enters_the_cooler_task():
    found, windows = examples(), rig_windows()
    fouled = windows.levels["cooler_fouling"][found.row] == 2
    unknown = found.levels["cooler_fouling"] == UNKNOWN
    # Behind a fouled cooler the filter's pressure is lower; against a baseline of the same regime it is not.
    looks_fouled = mean_deviation(found, "PS5") < -1
    own = own_baseline(found)
    assert unknown[own & fouled & ~looks_fouled].all()
    assert not unknown[own & fouled & looks_fouled].any()
    assert (own & fouled & ~looks_fouled).sum() == 48
    # So wherever the level is asked for, the baseline is the same one for all levels.
    asked = own & ~unknown
    assert np.bincount(windows.levels["cooler_fouling"][found.row[asked]]).tolist() == [48, 0, 48]


def test_where_the_whole_recording_runs_in_one_fault_that_fault_is_never_asked_for_with_a_baseline():
    windows = rig_windows(coolers=(2,))
    found = make_examples(rig_structure(), learn_kind(windows, windows), windows, windows, seed=0)
    assert own_baseline(found).sum() == len(windows)
    assert (found.levels["cooler_fouling"][own_baseline(found)] == UNKNOWN).all()


def test_the_baselines_of_validation_windows_come_from_the_training_part():
    windows = rig_windows()
    even, odd = (windows.take(np.arange(k, len(windows), 2)) for k in (0, 1))
    shifted = replace(odd, grids=odd.grids + 7.0)
    found = [make_examples(rig_structure(), knowledge(), part, even, seed=0) for part in (odd, shifted)]
    assert (mean_deviation(found[1], "PS5") - mean_deviation(found[0], "PS5") > 1).all()


def test_the_same_seed_draws_the_same_baselines():
    def drawn(seed: int):
        return make_examples(rig_structure(), knowledge(), rig_windows(), rig_windows(), seed).arrays["readings"]

    assert drawn(0).tobytes() == drawn(0).tobytes()
    assert drawn(0).tobytes() != drawn(1).tobytes()
    assert drawn(0).shape[2] == CHANNELS


def test_physics_speaks_of_every_example_of_its_modes():
    found = examples()
    assert sorted(found.physics) == ["accumulator_gas_loss", "pump_internal_leakage", "valve_switching_lag"]
    for mode, (probability, usable) in found.physics.items():
        assert usable.all()
        assert probability.sum(1) == pytest.approx(np.ones(len(found)))
        assert (probability.argmax(1) == rig_windows().levels[mode][found.row]).mean() > 0.95


def test_the_reference_is_learned_from_healthy_and_settled_windows_of_all_regimes_but_the_fouled():
    reference = knowledge().reference
    assert reference is not None
    assert (reference.windows, reference.origin) == (12, "reference")


def test_without_three_healthy_windows_there_is_no_reference():
    windows = rig_windows()
    ill = windows.take(~windows.healthy())
    assert learn_kind(ill, ill).reference is None


def test_a_mode_of_which_one_level_is_known_is_not_calibrated():
    windows = rig_windows()
    known = learn_kind(windows.take(windows.levels["valve_switching_lag"] == 0), windows)
    assert known.calibrations["valve.switching_delay"].scale is None
    assert known.calibrations["valve.switching_delay"].commissioned_scale is None
    assert known.calibrations["pump.pump_leakage"].scale is not None


def test_a_sensor_that_is_missing_throughout_leaves_its_virtual_sensors_uncalibrated_and_the_rest_as_they_are():
    windows = rig_windows()
    grids = windows.grids.copy()
    grids[:, windows.machine.sensor_ids.index("FS1")] = np.nan
    known = learn_kind(replace(windows, grids=grids), replace(windows, grids=grids))
    assert known.calibrations["pump.pump_leakage"].scale is None
    assert known.calibrations["valve.switching_delay"] == knowledge().calibrations["valve.switching_delay"]
    found = make_examples(rig_structure(), known, replace(windows, grids=grids), replace(windows, grids=grids), seed=0)
    assert "pump_internal_leakage" not in found.physics
