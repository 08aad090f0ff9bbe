"""Where an estimate lies between the levels of a failure mode."""

import numpy as np
import pytest

from gnn_service.model.levels import LevelScale, expected_severity

SEVERITIES = (0.0, 1 / 3, 2 / 3, 1.0)
CHARGE = LevelScale(SEVERITIES, (130.0, 115.0, 100.0, 90.0), (3.0, 3.0, 3.0, 3.0))
DELAY = LevelScale(SEVERITIES, (0.30, 0.37, 0.48, 0.61), (0.01, 0.01, 0.01, 0.01))
SURE = 0.0


def probabilities(scale, *values, error=SURE):
    return np.exp(scale.log_posterior(np.array(values), np.full(len(values), error)))


@pytest.mark.parametrize("scale", [CHARGE, DELAY], ids=["falling", "rising"])
def test_probabilities_sum_to_one_everywhere(scale):
    low, high = sorted((scale.centres[0], scale.centres[-1]))
    values = np.linspace(low - 5 * (high - low), high + 5 * (high - low), 301)
    assert probabilities(scale, *values).sum(1) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [CHARGE, DELAY], ids=["falling", "rising"])
def test_the_level_whose_centre_is_hit_is_the_most_likely(scale):
    assert probabilities(scale, *scale.centres).argmax(1).tolist() == [0, 1, 2, 3]


def test_half_way_between_two_levels_both_are_as_likely():
    (found,) = probabilities(CHARGE, 122.5)
    assert found[0] == pytest.approx(found[1])
    assert found[0] > 0.45


@pytest.mark.parametrize("scale", [CHARGE, DELAY], ids=["falling", "rising"])
def test_past_the_worst_level_only_the_worst_is_left(scale):
    step = scale.centres[-1] - scale.centres[0]
    (found,) = probabilities(scale, scale.centres[-1] + 3 * step)
    assert found.argmax() == 3
    assert found[3] > 0.95


@pytest.mark.parametrize("scale", [CHARGE, DELAY], ids=["falling", "rising"])
def test_healthier_than_healthy_is_healthy(scale):
    step = scale.centres[-1] - scale.centres[0]
    (found,) = probabilities(scale, scale.centres[0] - 3 * step)
    assert found.argmax() == 0
    assert found[0] > 0.95


def test_an_unsure_estimate_is_less_sure_of_its_level():
    sure, unsure, lost = (probabilities(CHARGE, 115.0, error=error)[0] for error in (0.0, 10.0, 1000.0))
    assert sure[1] > unsure[1] > lost[1]
    assert lost == pytest.approx(0.25, abs=1e-3)


def test_an_estimate_is_never_surer_than_its_level_scatters():
    assert probabilities(CHARGE, 118.0, error=0.1) == pytest.approx(probabilities(CHARGE, 118.0, error=2.9))


def test_one_wild_estimate_does_not_get_all_the_say():
    """Student-t tails: far from every centre the odds between inner levels stay finite."""
    (found,) = probabilities(DELAY, 0.425)
    assert found.min() > 1e-8


def test_commissioning_moves_the_healthy_level_and_nothing_else():
    moved = CHARGE.commissioned(124.0)
    assert moved.centres == pytest.approx((124.0, 115.0, 100.0, 90.0))
    assert (moved.severities, moved.spreads) == (CHARGE.severities, CHARGE.spreads)
    assert probabilities(moved, 124.0)[0].argmax() == 0
    assert probabilities(moved, 124.0)[0, 0] > probabilities(CHARGE, 124.0)[0, 0]


def test_without_an_own_centre_the_scale_stays():
    assert CHARGE.commissioned(None) is CHARGE


def test_drifting_centres_lie_on_a_line_within_the_span_and_stand_still_outside():
    scale = LevelScale((0.0, 1.0), (130.0, 90.0), (3.0, 3.0), far_centres=(120.0, 90.0), span=(310.0, 330.0))
    found = scale.centres_at(np.array([250.0, 310.0, 315.0, 330.0, 400.0, np.nan]))
    assert found[:, 0] == pytest.approx([130.0, 130.0, 127.5, 120.0, 120.0, 125.0])
    assert found[:, 1] == pytest.approx(90.0)


def test_commissioning_a_drifting_scale_puts_the_healthy_level_where_it_was_seen():
    scale = LevelScale((0.0, 1.0), (130.0, 90.0), (3.0, 3.0), far_centres=(120.0, 90.0), span=(310.0, 330.0))
    moved = scale.commissioned(131.0, 320.0)
    assert moved.centres_at(np.array([320.0]))[0] == pytest.approx([131.0, 90.0])
    assert moved.centres_at(np.array([310.0, 330.0]))[:, 0] == pytest.approx([136.0, 126.0])


def test_expected_severity_is_the_mean_of_the_levels():
    log_probability = np.log([[1.0, 1e-300, 1e-300, 1e-300], [0.5, 0.0 + 1e-300, 1e-300, 0.5]])
    assert expected_severity(log_probability, SEVERITIES) == pytest.approx([0.0, 0.5])
