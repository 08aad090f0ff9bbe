"""Known answers: what a runtime gives is compared with them, at every batch size and shape that they speak of."""

import re

import numpy as np
import pytest

from gnn_service.inference.runtimes.references import Known, References

ITEM = {"x": np.array([1.0, 2.0], np.float32)}
ANSWER = {"sum": np.float32(3.0), "twice": np.array([2.0, 4.0], np.float32)}


def right(batch):
    return {"sum": batch["x"].sum(1), "twice": 2 * batch["x"], "more": batch["x"]}


def wrong(name, value):
    return lambda batch: {**right(batch), name: value(right(batch)[name])}


@pytest.mark.parametrize("size", [1, 5])
def test_right_answers_have_no_flaw(size):
    assert References(Known(ITEM, ANSWER)).flaw(right, size) is None


@pytest.mark.parametrize(
    "run, flaw",
    [
        (lambda batch: {"sum": right(batch)["sum"]}, "the answer lacks twice"),
        (wrong("sum", lambda sums: sums[:1]), r"sum has shape \(1,\), not \(3,\)"),
        (wrong("sum", lambda sums: sums + np.array([0, 0, 0.1])), "sum is off by 0.1 at batch 3, more than 0.001"),
        (wrong("twice", lambda both: both * np.nan), "twice is off by nan at batch 3"),
    ],
    ids=["missing", "shape", "one row of three", "NaN"],
)
def test_a_wrong_answer_is_told_in_a_few_words(run, flaw):
    found = References(Known(ITEM, ANSWER)).flaw(run, 3)
    assert re.match(flaw, found), found


def test_a_difference_within_the_tolerance_is_rounding():
    assert References(Known(ITEM, ANSWER)).flaw(wrong("sum", lambda sums: sums + 5e-4), 3) is None
    assert References(Known(ITEM, ANSWER), tolerance=1e-5).flaw(wrong("sum", lambda sums: sums + 5e-4), 3)


def test_at_other_shapes_the_grown_graph_is_asked_and_what_was_added_is_not_read():
    def grown(shapes):
        longer = np.pad(ITEM["x"], (0, shapes["x"][0] - 2))
        return Known({"x": longer}, ANSWER, lambda answers: {**answers, "twice": answers["twice"][:, :2]})

    references = References(Known(ITEM, ANSWER), grown)
    assert references.flaw(right, 2, {"x": (4,)}) is None
    assert references.flaw(wrong("twice", lambda both: both + 1), 2, {"x": (4,)}) == (
        "twice is off by 1 at batch 2, more than 0.001"
    )


def test_where_nothing_is_known_nothing_is_said():
    def never(batch):
        raise AssertionError

    assert References(Known(ITEM, ANSWER)).flaw(never, 2, {"x": (4,)}) is None
