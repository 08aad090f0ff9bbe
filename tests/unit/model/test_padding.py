"""The same window in the arrays of a larger machine."""

import numpy as np
import pytest

from gnn_service.model.padding import AXES, cut, pad, sizes
from tests.support.duty_cycle import grids, rig
from tests.support.tiny_model import HEALTHY, answers, encoded, healthy_baseline


@pytest.fixture(scope="module")
def item():
    return encoded(rig(), grids([HEALTHY], noise=1.0), healthy_baseline())[0]


def test_the_sizes_are_those_of_the_arrays(item):
    assert sizes({name: value.shape for name, value in item.items()}) == (16, 16)


@pytest.mark.parametrize("nodes, sensors", [(16, 16), (16, 48), (32, 16), (64, 256)])
def test_a_window_answers_the_same_with_components_and_sensors_that_are_not_there(item, nodes, sensors):
    larger = pad(item, nodes, sensors)
    assert sizes({name: value.shape for name, value in larger.items()}) == (nodes, sensors)
    assert larger.keys() == AXES.keys()
    expected = answers([item])
    for name, value in cut(answers([larger]), 16).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4, rtol=1e-4, err_msg=name)


def test_a_window_does_not_fit_a_smaller_machine(item):
    with pytest.raises(ValueError, match="negative"):
        pad(item, 8, 16)
