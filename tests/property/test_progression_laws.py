"""Laws that every progression keeps, whatever its numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_service.demo.modes import Life
from gnn_service.demo.progression import (
    LifeClock,
    intermittent_level,
    intermittent_states,
    length_of_life,
    severity,
    weibull_onset,
)

GROWING = ("linear", "power", "exponential", "load_driven", "step", "intermittent")

progress = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).map(sorted).map(np.array)
exponents = st.floats(0.3, 8.0)
hidden = st.floats(0.0, 1.0)


def law(progression, exponent=2.0, step=1.0):
    return Life(progression, 2.0, 1_000.0, (400.0, 900.0), exponent, step)


@given(st.sampled_from(GROWING), progress, exponents, st.floats(0.01, 1.0))
def test_severity_only_grows_and_stays_between_nothing_and_failure(progression, tau, exponent, step):
    grown = severity(law(progression, exponent, step), tau)
    assert ((grown >= 0) & (grown <= 1)).all()
    assert (np.diff(grown) >= 0).all()


@given(st.sampled_from((*GROWING, "seasonal")), st.floats(1e-12, 1e6), exponents, st.floats(0, 7))
def test_before_its_onset_a_mode_is_not_there_at_all(progression, early, exponent, season):
    assert severity(law(progression, exponent), -early, season) == 0.0


@given(st.sampled_from((*GROWING, "seasonal")), st.floats(1.0, 1e6), exponents, st.floats(0, 7))
def test_at_the_end_of_its_length_a_mode_has_failed(progression, late, exponent, season):
    assert severity(law(progression, exponent), late, season) == pytest.approx(1.0, abs=1e-12)


@given(progress, st.floats(0, 100))
def test_a_season_never_leads_out_of_the_range(tau, season):
    swung = severity(law("seasonal"), tau, season)
    assert ((swung >= 0) & (swung <= 1)).all()


@given(st.floats(0.01, 0.99))
def test_wear_that_feeds_on_itself_is_late(tau):
    assert severity(law("exponential", 6.0), tau) < severity(law("exponential", 3.0), tau) < tau
    assert severity(law("power", 3.0), tau) < severity(law("power", 1.5), tau) < tau


@given(st.floats(0.05, 0.9))
def test_a_crack_grows_as_the_power_of_its_size(tau):
    step = 1e-6
    size = float(severity(law("load_driven"), tau))
    larger = float(severity(law("load_driven"), tau + step))
    small = float(severity(law("load_driven"), 0.01))
    slightly = float(severity(law("load_driven"), 0.01 + step))
    assert (larger - size) / (slightly - small) == pytest.approx((size / small) ** 1.5, rel=1e-3)


@settings(max_examples=30)
@given(st.floats(0.02, 0.8), st.integers(0, 2**32))
def test_an_intermittent_fault_is_on_for_its_share_of_time(share, seed):
    draws = np.random.default_rng(seed).random((4_000, 8))
    on = intermittent_states(draws, np.full(8, share))
    # Stays last four slots, so that 32 000 slots tell as much as 4 000 free ones.
    assert abs(on.mean() - share) <= 5 * np.sqrt(share * (1 - share) / 4_000)


@given(hidden, hidden, st.integers(0, 2**32))
def test_a_worse_intermittent_fault_is_on_whenever_a_lesser_one_is(one, other, seed):
    lesser, worse = sorted((one, other))
    draws = np.random.default_rng(seed).random((200, 3))
    at_first = intermittent_states(draws, np.full(3, lesser))[0] & ~intermittent_states(draws, np.full(3, worse))[0]
    assert not at_first.any()
    assert intermittent_level(lesser) <= intermittent_level(worse)


def test_what_is_not_there_is_never_on_and_has_no_level():
    assert not intermittent_states(np.zeros((50, 2)), np.zeros(2)).any()
    assert intermittent_level(0.0) == 0.0


@given(st.floats(0.0, 0.999999), st.floats(0.5, 4.0), st.floats(10.0, 1e5), st.floats(0.0, 1e5))
def test_an_onset_lies_ahead_whatever_the_age(chance, shape, scale, age):
    assert weibull_onset(chance, shape, scale, age) >= -1e-6 * (age + scale)


def test_onsets_follow_their_weibull_law():
    for hours in (100.0, 1_000.0, 2_000.0):
        fallen = 1 - np.exp(-((hours / 1_000.0) ** 2.0))
        assert weibull_onset(fallen, 2.0, 1_000.0) == pytest.approx(hours)


def test_an_old_part_that_wears_out_begins_to_fail_sooner_than_a_new_one_and_a_random_fault_does_not_age():
    chances = np.random.default_rng(5).random(20_000)
    assert weibull_onset(chances, 2.5, 1_000.0, 900.0).mean() < 0.5 * weibull_onset(chances, 2.5, 1_000.0).mean()
    assert weibull_onset(chances, 1.0, 1_000.0, 900.0) == pytest.approx(weibull_onset(chances, 1.0, 1_000.0))


def test_lengths_of_life_lie_around_the_middle_of_the_span_of_medians():
    lengths = length_of_life(np.random.default_rng(5).standard_normal(50_000), (400.0, 900.0))
    assert np.median(lengths) == pytest.approx(600.0, rel=0.02)
    assert np.log(lengths).std() == pytest.approx(0.4, rel=0.02)


def test_wear_doubles_every_15_kelvin_and_takes_the_cube_of_load():
    clock = LifeClock()
    assert clock.rate(1.0, 343.15, 18.0) == 1.0
    assert clock.rate(1.0, 358.15, 18.0) == pytest.approx(2.0)
    assert clock.rate(1.2, 343.15, 18.0) == pytest.approx(1.2**3)
    assert clock.rate(1.0, 343.15, 20.0) == pytest.approx(1.25**2)
    assert clock.rate(1.2, 343.15, 18.0, load_exponent=1.0) == pytest.approx(1.2)
