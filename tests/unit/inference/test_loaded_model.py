"""One run of the model, taken apart into answers."""

import numpy as np
import pytest

from gnn_service.core.errors import EngineFailedError
from gnn_service.inference.loaded import KEPT_BYTES, KEPT_SIGNATURES, LoadedModel
from tests.support.inference import NOT_FINITE, FakeRuntime, item

NAMES = ("x", "adjacency")


def run_model(runtime, items):
    return LoadedModel(runtime, NAMES, 16).answer(items)


class Answering(FakeRuntime):
    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def run(self, batch):
        return self.answers


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_item_gets_its_own_copy(size):
    run = run_model(FakeRuntime(), [item(value) for value in range(1, size + 1)])
    assert [float(answer["score"]) for answer in run.answers if answer] == [value + 2 for value in range(size)]
    assert all(array.base is None for answer in run.answers if answer for array in answer.values())
    assert run.seconds > 0
    assert run.memory_peak_bytes == 1001


def test_only_the_item_whose_numbers_are_not_finite_has_no_answer():
    run = run_model(FakeRuntime(), [item(1), item(NOT_FINITE), item(3)])
    assert [answer is None for answer in run.answers] == [False, True, False]


def test_infinity_deep_in_one_output_is_not_finite():
    deep = np.zeros((2, 3, 4), np.float32)
    deep[1, 2, 3] = np.inf
    run = run_model(Answering(deep=deep, flat=np.zeros(2)), [item(1), item(2)])
    assert [answer is None for answer in run.answers] == [False, True]


def test_whole_numbers_need_not_be_asked():
    run = run_model(Answering(level=np.array([1, 2])), [item(1), item(2)])
    assert [int(answer["level"]) for answer in run.answers if answer] == [1, 2]


@pytest.mark.parametrize("wrong", [np.float32(1).reshape(()), np.zeros(3), np.zeros((1, 2))])
def test_an_output_without_a_row_for_each_item_is_refused(wrong):
    with pytest.raises(EngineFailedError, match="output 'score' has shape"):
        run_model(Answering(score=wrong), [item(1), item(2)])


def echoing():
    runtime = FakeRuntime()
    runtime.run = dict  # type: ignore[assignment,method-assign]
    return runtime


def test_batches_of_any_size_and_shape_one_after_another_are_stacked_right():
    model = LoadedModel(echoing(), NAMES, 4)
    for size, nodes in [(4, 3), (2, 3), (3, 5), (1, 3), (6, 3), (4, 5)]:
        items = [item(10 * nodes + value, nodes) for value in range(size)]
        for answer, sent in zip(model.answer(items).answers, items, strict=True):
            assert answer is not None
            for name in NAMES:
                np.testing.assert_array_equal(answer[name], sent[name])


def test_arrays_without_axes_and_those_that_do_not_lie_in_one_piece_are_stacked_too():
    model = LoadedModel(echoing(), ("load", "x"), 4)
    items = [{"load": np.array(n, np.float32), "x": np.arange(12.0).reshape(3, 4).T[::2]} for n in range(3)]
    for number, answer in enumerate(model.answer(items).answers):
        assert answer is not None
        assert answer["load"].shape == ()
        assert answer["load"] == number
        np.testing.assert_array_equal(answer["x"], items[0]["x"])


def test_an_answer_outlives_the_next_batch():
    model = LoadedModel(echoing(), NAMES, 4)
    first = model.answer([item(1), item(2)]).answers
    model.answer([item(3), item(4)])
    assert [float(answer["x"][0, 0]) for answer in first if answer] == [1, 2]


def test_room_is_kept_for_few_shapes_of_moderate_size_and_given_back():
    model = LoadedModel(FakeRuntime(), NAMES, 4)
    for nodes in range(1, 2 * KEPT_SIGNATURES):
        model.answer([item(1, nodes), item(2, nodes)])
    assert len(model._kept) == KEPT_SIGNATURES
    large = int((KEPT_BYTES / 16) ** 0.5) + 1
    model.answer([item(1, large), item(2, large)])
    assert all(signature[0] != (large, 2) for signature in model._kept)
    model.release_memory()
    assert not model._kept
