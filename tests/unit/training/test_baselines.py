"""Baselines answer in one shape, learn what is there to learn, and stand what real recordings hold."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.training import baselines
from gnn_service.training.baselines import BASELINES, make_baseline, stack_channels, window_statistics

LEVELS = 3
N, S, T = 60, 2, 24
RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(LEVELS), N // LEVELS)
GROUPS = np.arange(N) // 4


@pytest.fixture(autouse=True)
def small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 20)


def readings(y: NDArray[np.int64], seed: int = 0) -> NDArray[np.float32]:
    """Sensor 0 carries the level as the height of a pulse in the middle of the window, sensor 1 is noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.2, (len(y), S, T)).astype(np.float32)
    x[:, 0, 10:16] += y[:, None]
    return x


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_with_a_probability_for_each_level(name: str) -> None:
    answer = make_baseline(name, LEVELS).fit(readings(Y), Y, seed=0).predict_proba(readings(Y[:5], seed=1))
    assert answer.shape == (5, LEVELS)
    assert answer.min() >= 0
    assert answer.sum(1) == pytest.approx(np.ones(5))


@pytest.mark.parametrize("name", ["random_forest", "minirocket_ridge"])
def test_a_baseline_that_reads_sensors_tells_the_levels_of_unseen_windows(name: str) -> None:
    answer = make_baseline(name, LEVELS).fit(readings(Y), Y, seed=0, groups=GROUPS).predict_proba(readings(Y, seed=1))
    assert (answer.argmax(1) == Y).mean() > 0.95


@pytest.mark.parametrize("name", ["random_forest", "minirocket_ridge"])
def test_levels_that_are_not_in_the_readings_are_not_found(name: str) -> None:
    y = np.random.default_rng(3).permutation(np.repeat(np.arange(LEVELS), 60))
    x = np.random.default_rng(4).normal(size=(180, S, T)).astype(np.float32)
    fitted = make_baseline(name, LEVELS).fit(x[:120], y[:120], seed=0)
    assert (fitted.predict_proba(x[120:]).argmax(1) == y[120:]).mean() < 0.5


def test_majority_answers_with_the_shares_of_training_whatever_it_reads() -> None:
    y = np.array([0] * 6 + [2] * 3 + [1])
    answer = make_baseline("majority", LEVELS).fit(readings(y), y, seed=0).predict_proba(readings(Y, seed=1))
    assert answer == pytest.approx(np.tile([0.6, 0.1, 0.3], (N, 1)))


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_answer(name: str) -> None:
    one, other = (make_baseline(name, LEVELS).fit(readings(Y), Y, 5).predict_proba(readings(Y, 1)) for _ in range(2))
    assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_a_level_that_training_never_saw_gets_no_probability(name: str) -> None:
    y = np.where(Y == 1, 3, Y)
    answer = make_baseline(name, 5).fit(readings(Y), y, seed=0).predict_proba(readings(Y[:4], seed=1))
    assert answer.shape == (4, 5)
    assert (answer[:, [1, 4]] == 0).all()


@pytest.mark.parametrize("name", BASELINES)
def test_one_level_in_training_is_answered_with_certainty(name: str) -> None:
    answer = make_baseline(name, LEVELS).fit(readings(Y), np.full(N, 2), seed=0).predict_proba(readings(Y, seed=1))
    assert (answer == [0, 0, 1]).all()


@pytest.mark.parametrize("name", ["random_forest", "minirocket_ridge"])
def test_gaps_a_dead_sensor_and_a_constant_one_do_not_stop_a_baseline(name: str) -> None:
    def damaged(x: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        constant, dead = np.full_like(x[:, :1], 7), np.full_like(x[:, :1], np.nan)
        x = np.where(np.random.default_rng(seed).random(x.shape) < 0.05, np.nan, x).astype(np.float32)
        return np.concatenate([x, constant, dead], axis=1)

    fitted = make_baseline(name, LEVELS).fit(damaged(readings(Y), 1), Y, seed=0, groups=GROUPS)
    answer = fitted.predict_proba(damaged(readings(Y, seed=1), 2))
    assert (answer.argmax(1) == Y).mean() > 0.9


def test_a_sensor_that_dies_after_training_is_filled_with_its_training_median() -> None:
    fitted = make_baseline("random_forest", LEVELS).fit(readings(Y), Y, seed=0)
    gone = readings(Y[:1])
    gone[:, 0] = np.nan
    median = readings(Y[:1])
    median[:, 0] = np.median(readings(Y)[:, 0], axis=0)
    assert (fitted.predict_proba(gone) == fitted.predict_proba(median)).all()


def test_minirocket_says_whether_its_probabilities_are_calibrated() -> None:
    noisy = readings(Y) + np.random.default_rng(8).normal(0, 1.5, (N, S, T)).astype(np.float32)
    with_groups = make_baseline("minirocket_ridge", LEVELS).fit(noisy, Y, seed=0, groups=GROUPS)
    without = make_baseline("minirocket_ridge", LEVELS).fit(noisy, Y, seed=0)
    one_group_a_level = make_baseline("minirocket_ridge", LEVELS).fit(noisy, Y, seed=0, groups=Y)
    assert (with_groups.calibrated, without.calibrated, one_group_a_level.calibrated) == (True, False, False)
    assert (without.predict_proba(noisy).argmax(1) == with_groups.predict_proba(noisy).argmax(1)).all()


def test_calibration_sharpens_what_is_easy_and_flattens_what_is_not() -> None:
    easy, hard = readings(Y), readings(Y) + np.random.default_rng(8).normal(0, 4, (N, S, T)).astype(np.float32)

    def confidence(x: NDArray[np.float32]) -> float:
        fitted = make_baseline("minirocket_ridge", LEVELS).fit(x, Y, seed=0, groups=GROUPS)
        return float(fitted.predict_proba(x).max(1).mean())

    assert confidence(easy) > 0.95
    assert confidence(hard) < 0.75


def test_two_levels_are_answered_as_two_columns() -> None:
    y = (Y > 0).astype(int)
    answer = make_baseline("minirocket_ridge", 2).fit(readings(Y), y, 0, GROUPS).predict_proba(readings(Y, seed=1))
    assert answer.shape == (N, 2)
    assert (answer.argmax(1) == y).mean() > 0.95


def test_statistics_know_a_slope_a_level_and_a_place_in_the_window() -> None:
    ramp = np.linspace(0, 1, T, dtype=np.float32)
    x = np.stack([ramp, ramp[::-1], np.where(np.arange(T) < 4, 1, 0), np.where(np.arange(T) >= 20, 1, 0)])
    features = window_statistics(x[:, None].astype(np.float32))
    assert features.shape == (4, 10 + 2 * 6)
    assert features[0, 5] == pytest.approx(1, abs=0.05)
    assert features[1, 5] == pytest.approx(-1, abs=0.05)
    assert features[2, 10] == 1
    assert features[3, -2] == 1
    assert np.isfinite(window_statistics(np.ones((2, 3, 1), dtype=np.float32))).all()


def test_the_commissioned_variant_has_both_channels_of_each_sensor() -> None:
    raw, deviation = readings(Y), readings(Y, seed=1)
    stacked = stack_channels(raw, deviation)
    assert stacked.shape == (N, 2 * S, T)
    assert (stacked[:, :S] == raw).all()
    assert (stacked[:, S:] == deviation).all()
    with pytest.raises(InvalidInputError, match="one shape"):
        stack_channels(raw, deviation[:, :1])


def test_an_unknown_baseline_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match="majority, random_forest, minirocket_ridge"):
        make_baseline("oracle", LEVELS)


def test_windows_too_short_for_minirocket_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="needs 9 samples"):
        make_baseline("minirocket_ridge", LEVELS).fit(readings(Y)[..., :8], Y, seed=0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 3), dtype=np.float32), np.zeros(2, dtype=int), "must be"),
        (np.zeros((2, 1, 9), dtype=np.float32), np.zeros(3, dtype=int), "must be"),
        (np.zeros((0, 1, 9), dtype=np.float32), np.zeros(0, dtype=int), "must be"),
        (np.full((2, 1, 9), np.inf, dtype=np.float32), np.zeros(2, dtype=int), "infinite"),
        (np.zeros((2, 1, 9), dtype=np.float32), np.array([0, 3]), r"0\.\.2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(x: NDArray[np.float32], y: NDArray[np.int64], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_baseline("majority", LEVELS).fit(x, y, seed=0)


def test_answers_need_a_fit_on_the_same_sensors_first() -> None:
    with pytest.raises(InvalidInputError, match="call fit first"):
        make_baseline("majority", LEVELS).predict_proba(readings(Y))
    with pytest.raises(InvalidInputError, match="differ from those it was fitted on"):
        make_baseline("majority", LEVELS).fit(readings(Y), Y, seed=0).predict_proba(readings(Y)[:, :1])
