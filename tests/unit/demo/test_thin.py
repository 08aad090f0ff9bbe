from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.thin import Thinner, interval_steps


def block(rows: int, seed: int = 0):
    values = np.random.default_rng(seed).normal(size=(rows, 3, 2)).astype(np.float32)
    values[np.random.default_rng(seed + 1).random(values.shape) < 0.2] = np.nan
    return values, np.arange(rows)[:, None] * np.ones((1, 2), dtype=np.int64)


def thinned(values, labels, edges, steps: int):
    thinner = Thinner(steps)
    parts = [thinner.add(values[a:b], labels[a:b]) for a, b in pairwise(edges)]
    return np.concatenate([part for part, _ in parts]), np.concatenate([marks[0] for _, marks in parts])


@given(st.integers(1, 7), st.lists(st.integers(0, 40), max_size=6))
def test_it_does_not_matter_how_rows_are_divided(steps, cuts):
    values, labels = block(40)
    whole = thinned(values, labels, [0, 40], steps)
    divided = thinned(values, labels, [0, *sorted(cuts), 40], steps)
    for one, other in zip(whole, divided, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(whole[0]) == 40 // steps


def test_a_row_is_the_mean_of_what_is_there_and_the_label_of_the_first_step():
    values = np.array([1, np.nan, 3, np.nan, np.nan, np.nan], dtype=np.float32)[:, None, None]
    found, labels = thinned(values, np.arange(6)[:, None], [0, 6], 3)
    np.testing.assert_array_equal(found[:, 0, 0], [2.0, np.nan])
    assert labels[:, 0].tolist() == [0, 3]


@pytest.mark.parametrize("rate, step, steps", [(None, 0.1, 1), (1.0, 0.1, 10), (10.0, 0.1, 1), (0.1, 0.05, 200)])
def test_rates_that_steps_meet(rate, step, steps):
    assert interval_steps(rate, step) == steps


@pytest.mark.parametrize("rate", [3.0, 20.0, 0.0, -1.0])
def test_rates_that_steps_do_not_meet_are_refused(rate):
    with pytest.raises(InvalidInputError, match="does not divide this machine's 10 Hz"):
        interval_steps(rate, 0.1)
