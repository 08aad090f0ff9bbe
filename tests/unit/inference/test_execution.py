"""One run of the model, taken apart into answers."""

import numpy as np
import pytest

from gnn_service.core.errors import EngineFailedError
from gnn_service.inference.execution import run_model
from tests.support.inference import NOT_FINITE, FakeRuntime, item

NAMES = ("x", "adjacency")


class Answering(FakeRuntime):
    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def run(self, batch):
        return self.answers


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_item_gets_its_own_copy(size):
    run = run_model(FakeRuntime(), NAMES, [item(value) for value in range(1, size + 1)])
    assert [float(answer["score"]) for answer in run.answers if answer] == [value + 2 for value in range(size)]
    assert all(array.base is None for answer in run.answers if answer for array in answer.values())
    assert run.seconds > 0
    assert run.memory_peak_bytes == 1001


def test_only_the_item_whose_numbers_are_not_finite_has_no_answer():
    run = run_model(FakeRuntime(), NAMES, [item(1), item(NOT_FINITE), item(3)])
    assert [answer is None for answer in run.answers] == [False, True, False]


def test_infinity_deep_in_one_output_is_not_finite():
    deep = np.zeros((2, 3, 4), np.float32)
    deep[1, 2, 3] = np.inf
    run = run_model(Answering(deep=deep, flat=np.zeros(2)), NAMES, [item(1), item(2)])
    assert [answer is None for answer in run.answers] == [False, True]


def test_whole_numbers_need_not_be_asked():
    run = run_model(Answering(level=np.array([1, 2])), NAMES, [item(1), item(2)])
    assert [int(answer["level"]) for answer in run.answers if answer] == [1, 2]


@pytest.mark.parametrize("wrong", [np.float32(1).reshape(()), np.zeros(3), np.zeros((1, 2))])
def test_an_output_without_a_row_for_each_item_is_refused(wrong):
    with pytest.raises(EngineFailedError, match="output 'score' has shape"):
        run_model(Answering(score=wrong), NAMES, [item(1), item(2)])
