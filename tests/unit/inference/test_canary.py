"""The graph whose answer is known."""

import numpy as np
import pytest

from gnn_service.inference.canary import Canary
from tests.support.inference import CANARY, CANARY_ANSWER


def answer(**changes):
    return {**CANARY_ANSWER, **changes}


@pytest.mark.parametrize(
    ("output", "flaw"),
    [
        (answer(), None),
        (answer(extra=np.ones(1)), None),
        (answer(score=np.array(1.0005, np.float32)), None),
        (answer(score=np.array(1.5, np.float32)), "the canary's score is off by 0.5, more than 0.001"),
        (answer(nodes=np.zeros(4, np.float32)), "the canary's nodes has shape (4,), not (3,)"),
        ({"score": np.array(1, np.float32)}, "the canary's answer lacks nodes"),
        (None, "the canary's answer is not finite"),
    ],
)
def test_a_wrong_answer_is_told_in_a_few_words(output, flaw):
    assert Canary(CANARY, CANARY_ANSWER).flaw(output) == flaw


def test_without_a_known_answer_finite_numbers_are_enough():
    assert Canary(CANARY, None).flaw(answer(score=np.array(77, np.float32))) is None


def test_a_nan_where_a_number_is_expected_is_a_flaw():
    assert Canary(CANARY, CANARY_ANSWER).flaw(answer(score=np.array(np.nan))) is not None
