import numpy as np
import pytest

from gnn_service.demo.observable import PhaseMeans, is_observable, noise_level, strengths
from gnn_service.demo.plant import Frames
from tests.support.tiny_plant import tiny_system

MACHINE = tiny_system().machine
ROW = {sensor.id: row for row, sensor in enumerate(MACHINE.sensors)}
DP_NOISE = np.hypot(0.01, 0.01 / np.sqrt(12))


def frames(values, phase, cycle=None):
    """Frames (N, 6, B) that differ in the filter's pressure drop alone, given as (N, B) with phases (N, B)."""
    block = np.ones((len(values), 6, values.shape[1]), dtype=np.float32)
    block[:, ROW["filter.dp"]] = values
    phase = np.asarray(phase, dtype=np.int8)
    cycle = np.zeros_like(phase, dtype=np.int32) if cycle is None else np.asarray(cycle, dtype=np.int32)
    return Frames(block, np.zeros_like(phase), phase, cycle)


def strength_of(*stretches):
    means = PhaseMeans(1, 3, MACHINE, 2, [(0, 1)])
    for stretch in stretches:
        means.add(stretch)
    return strengths(MACHINE, means, 0, 1)


def test_a_difference_is_told_in_standard_deviations_of_noise_and_resolution_with_its_sign():
    values = np.full((50, 2), 0.5)
    values[:, 0] += 0.02
    strength = strength_of(frames(values, np.ones((50, 2))))
    assert strength[ROW["filter.dp"]] == pytest.approx(0.02 / DP_NOISE, rel=1e-5)
    assert not np.delete(strength, ROW["filter.dp"]).any()


def test_being_a_step_ahead_is_no_difference():
    phase = np.array([1] * 20 + [2] * 30)
    level = np.where(phase == 1, 2.0, 0.5)
    ahead = np.stack([np.roll(level, -3), level], axis=1)
    phases = np.stack([np.roll(phase, -3), phase], axis=1)
    assert not strength_of(frames(ahead, phases)).any()


def test_differences_of_phases_count_by_the_healthy_machines_time_in_them():
    phase = np.array([1] * 20 + [2] * 30)
    values = np.full((50, 2), 0.5)
    values[:20, 0] += 0.1
    strength = strength_of(frames(values, np.stack([phase, phase], axis=1)))
    assert strength[ROW["filter.dp"]] == pytest.approx(0.1 * 0.4 / DP_NOISE, rel=1e-5)


def test_what_is_too_high_in_one_phase_and_too_low_in_another_does_not_cancel():
    phase = np.array([1] * 25 + [2] * 25)
    values = np.full((50, 2), 0.5)
    values[:25, 0] += 0.1
    values[25:, 0] -= 0.1
    strength = strength_of(frames(values, np.stack([phase, phase], axis=1)))
    assert np.abs(strength[ROW["filter.dp"]]) == pytest.approx(0.1 / DP_NOISE, rel=1e-5)
    values[:25, 0] -= 0.05
    strength = strength_of(frames(values, np.stack([phase, phase], axis=1)))
    assert strength[ROW["filter.dp"]] == pytest.approx(-0.075 / DP_NOISE, rel=1e-5)


def test_only_cycles_that_both_completed_count():
    step = np.arange(120)
    fast, slow = step // 10, step // 14
    level = 10 * np.random.default_rng(0).random(20)
    values = np.stack([level[slow], level[fast]], axis=1)
    cycles = np.stack([slow, fast], axis=1)
    assert not np.round(strength_of(frames(values, np.ones((120, 2)), cycles)), 3).any()
    parts = [frames(values[cut], np.ones((120, 2))[cut], cycles[cut]) for cut in (slice(0, 33), slice(33, 120))]
    whole = strength_of(frames(values, np.ones((120, 2)), cycles))
    assert (strength_of(*parts) == whole).all()
    assert np.abs(strength_of(frames(values, np.ones((120, 2))))).max() > 3


def test_of_what_swings_around_zero_the_magnitude_counts():
    swing = np.tile([1.0, -1.0], 50)
    block = np.zeros((100, 6, 2), dtype=np.float32)
    oil = ROW["tank.t_oil"]
    block[:, oil] = np.stack([1.5 * swing, swing], axis=1)
    none = np.zeros((100, 2), dtype=np.int8)
    strength = strength_of(Frames(block, none, none, none.astype(np.int32)))
    assert strength[oil] == pytest.approx(0.5 / np.hypot(0.05, 0.1 / np.sqrt(12)), rel=1e-5)


def test_how_a_window_is_cut_changes_nothing():
    values = np.random.default_rng(0).random((60, 2))
    phase = np.random.default_rng(1).integers(0, 3, (60, 2))
    parts = [frames(values[piece], phase[piece]) for piece in (slice(0, 7), slice(7, 60))]
    assert (strength_of(*parts) == strength_of(frames(values, phase))).all()


def test_what_was_not_measured_in_both_is_not_compared():
    values = np.full((50, 2), 0.5)
    values[:, 0] = 0.9
    values[:25, 0] = np.nan
    phase = np.ones((50, 2))
    assert strength_of(frames(values, phase))[ROW["filter.dp"]] == pytest.approx(0.4 / DP_NOISE, rel=1e-5)
    values[:, 0] = np.nan
    assert not strength_of(frames(values, phase)).any()
    assert not strength_of(frames(np.full((50, 2), 0.9), np.stack([np.ones(50), np.zeros(50)], axis=1))).any()


def test_noise_that_grows_with_the_reading_hides_more_at_high_pressure():
    low, high = (noise_level(MACHINE, np.full(6, reading))[ROW["pump.p_out"]] for reading in (10.0, 300.0))
    assert low == pytest.approx(np.hypot(0.4 + 0.04, 0.1 / np.sqrt(12)))
    assert high == pytest.approx(np.hypot(0.4 + 1.2, 0.1 / np.sqrt(12)))


def test_only_evidence_above_three_standard_deviations_makes_a_fault_observable():
    strength = np.zeros(6)
    strength[[ROW["tank.t_oil"], ROW["pump.cmd"]]] = 50.0, -50.0
    strength[ROW["filter.dp"]] = -2.9
    assert not is_observable(MACHINE, strength)
    strength[ROW["filter.dp"]] = -3.1
    assert is_observable(MACHINE, strength)
