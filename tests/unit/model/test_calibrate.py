"""Fitting temperature and fusion weights on validation windows."""

import numpy as np
import pytest

from gnn_service.model.calibrate import LEAST_WINDOWS, TEMPERATURES, fit_fusion, negative_log_likelihood
from gnn_service.model.heads import THRESHOLDS
from gnn_service.model.judge import Fusion, fuse, level_probabilities

FOUR = (0.0, 1 / 3, 2 / 3, 1.0)


def calibrated(windows, seed=0, sharpness=12.0):
    """Cumulative logits of a well-calibrated network, and levels drawn from what it says."""
    random = np.random.default_rng(seed)
    steps = np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
    logits = sharpness * (random.uniform(0, 1, windows)[:, None] - steps)
    return logits, drawn(level_probabilities(logits, FOUR), random)


def drawn(probability, random):
    return (
        (probability.cumsum(1) < random.uniform(size=(len(probability), 1))).sum(1).clip(max=probability.shape[1] - 1)
    )


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5, 5.0])
def test_temperature_takes_back_a_known_miscalibration(factor):
    logits, level = calibrated(4000)
    found = fit_fusion(logits * factor, None, np.zeros(4000, bool), level, FOUR)
    step = TEMPERATURES[1] / TEMPERATURES[0]
    assert factor / step**1.6 <= found.temperature <= factor * step**1.6
    assert (found.network, found.physics) == (1.0, 1.0)


def test_too_few_windows_fit_nothing():
    logits, level = calibrated(LEAST_WINDOWS - 1)
    assert fit_fusion(logits * 5, None, np.zeros(len(level), bool), level, FOUR) == Fusion()


def test_a_source_that_only_guesses_gets_no_weight():
    random = np.random.default_rng(3)
    logits, level = calibrated(1500)
    noise = random.dirichlet(np.full(4, 0.3), 1500)
    assert fit_fusion(logits, noise, np.ones(1500, bool), level, FOUR).physics <= 0.1
    good = np.full((1500, 4), 0.02)
    good[np.arange(1500), level] = 0.94
    blind = fit_fusion(random.permutation(logits), good, np.ones(1500, bool), level, FOUR)
    assert blind.network <= 0.1
    assert blind.physics > 0.5


def test_the_pool_is_no_worse_than_either_source_on_what_it_was_fitted_on():
    random = np.random.default_rng(5)
    truth = random.integers(0, 4, 1200)
    good = np.array(FOUR)[truth]
    steps = np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
    logits = 20 * ((good + random.normal(0, 0.2, 1200))[:, None] - steps)
    physics = np.exp(-0.5 * ((good + random.normal(0, 0.2, 1200))[:, None] - FOUR) ** 2 / 0.04)
    physics /= physics.sum(1, keepdims=True)
    usable, seen = random.random(1200) < 0.8, np.ones(1200)
    found = fit_fusion(logits, physics, usable, truth, FOUR)
    network = level_probabilities(logits / found.temperature, FOUR)
    loss = negative_log_likelihood(fuse(network, physics, usable, seen, found), truth)
    for single in (Fusion(found.temperature, 1.0, 0.0), Fusion(found.temperature, 0.0, 1.0)):
        assert loss <= negative_log_likelihood(fuse(network, physics, usable, seen, single), truth) + 1e-9
    assert loss < negative_log_likelihood(network, truth) - 0.02


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 4.0])
def test_physics_that_is_too_mild_or_too_sure_is_set_right_for_when_it_stands_alone(power):
    random = np.random.default_rng(7)
    honest = random.dirichlet(np.full(4, 0.7), 4000)
    level = drawn(honest, random)
    said = np.maximum(honest, 1e-9) ** (1 / power)
    said /= said.sum(1, keepdims=True)
    found = fit_fusion(np.zeros((4000, THRESHOLDS)), said, np.ones(4000, bool), level, FOUR)
    assert found.alone == pytest.approx(power, rel=0.45)


def test_unusable_windows_do_not_set_how_sharply_physics_speaks():
    random = np.random.default_rng(8)
    honest = random.dirichlet(np.full(4, 0.7), 2000)
    level, usable = drawn(honest, random), np.arange(2000) < 1000
    wrong = np.where(usable[:, None], honest, random.permutation(honest))
    found = fit_fusion(np.zeros((2000, THRESHOLDS)), wrong, usable, level, FOUR)
    assert found.alone == pytest.approx(1.0, rel=0.45)
    few = usable & (np.arange(2000) < LEAST_WINDOWS - 1)
    assert fit_fusion(np.zeros((2000, THRESHOLDS)), wrong, few, level, FOUR).alone == 1.0


def test_both_weights_are_never_zero():
    flat = np.full((100, 4), 0.25)
    found = fit_fusion(np.zeros((100, THRESHOLDS)), flat, np.ones(100, bool), np.zeros(100, np.int64), FOUR)
    assert found.network + found.physics > 0


def test_likelihood_prefers_the_truth_and_survives_one_confident_miss():
    level = np.array([0, 1, 2, 3] * 5)
    sure, flat = np.full((20, 4), 0.01), np.full((20, 4), 0.25)
    sure[np.arange(20), level] = 0.97
    assert negative_log_likelihood(sure, level) < negative_log_likelihood(flat, level) == pytest.approx(np.log(4))
    missed = sure.copy()
    missed[0] = (0.0, 0.0, 0.0, 1.0)
    assert negative_log_likelihood(missed, level) < negative_log_likelihood(flat, level)
