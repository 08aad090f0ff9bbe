"""Batches put together from runs of fixed sizes: the answers are those of the batch, and padding is nobody's answer."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.inference.runtimes.buckets import ONE_RUN, in_buckets, plan, powers

bucket_sets = st.sets(st.integers(1, 24), min_size=1, max_size=5).map(lambda sizes: tuple(sorted(sizes)))
overheads = st.sampled_from([0.0, 0.5, 3.0, ONE_RUN])


class Model:
    """Answers row by row; counts its runs, and refuses sizes that it was not made for."""

    def __init__(self, buckets):
        self.buckets = buckets
        self.sizes = []

    def __call__(self, batch):
        size = len(batch["x"])
        assert size in self.buckets
        assert len(batch["mask"]) == size
        self.sizes.append(size)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = batch["x"] / batch["mask"][:, None]
        return {"ratio": ratio, "sum": batch["x"].sum(1)}


@given(st.integers(1, 40), bucket_sets, overheads, st.integers(0, 2**32 - 1))
def test_answers_are_those_of_the_batch_in_its_order(size, buckets, overhead, seed):
    draw = np.random.default_rng(seed)
    batch = {"x": draw.normal(size=(size, 3)).astype(np.float32), "mask": draw.integers(0, 2, size).astype(np.float32)}
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = {"ratio": batch["x"] / batch["mask"][:, None], "sum": batch["x"].sum(1)}
    model = Model(buckets)
    answers = in_buckets(model, batch, buckets, overhead)
    assert answers.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(answers[name], value)
    assert sum(model.sizes) >= size


@given(st.integers(1, 16), st.integers(1, 16))
def test_padding_that_would_be_nan_is_never_seen(size, bucket):
    """A mask of zeros divides by nothing: were padding zeros, it would be NaN."""
    bucket = max(size, bucket)
    batch = {"x": np.ones((size, 2), np.float32), "mask": np.ones(size, np.float32)}

    def run(filled):
        ratio = filled["x"] / filled["mask"][:, None]
        ratio[size:] = np.nan  # whatever a runtime makes of padding
        return {"ratio": ratio}

    answers = in_buckets(run, batch, (bucket,))
    assert answers["ratio"].shape == (size, 2)
    assert np.isfinite(answers["ratio"]).all()


@given(st.integers(1, 16), st.integers(1, 16))
def test_nothing_is_computed_that_nobody_sent(size, bucket):
    rows = {tuple(row) for row in np.arange(2 * size, dtype=np.float32).reshape(size, 2).tolist()}
    seen: set[tuple[float, ...]] = set()

    def run(filled):
        seen.update(tuple(row) for row in filled["x"].tolist())
        return {"x": filled["x"]}

    in_buckets(run, {"x": np.arange(2 * size, dtype=np.float32).reshape(size, 2)}, (max(size, bucket),))
    assert seen == rows


@given(st.integers(1, 60), bucket_sets, overheads)
def test_a_plan_holds_the_batch_and_costs_no_more_than_one_size_alone(size, buckets, overhead):
    runs = plan(size, buckets, overhead)
    assert set(runs) <= set(buckets)
    assert list(runs) == sorted(runs, reverse=True)
    assert sum(runs) - runs[-1] < size <= sum(runs), "no run is all padding"
    cost = sum(overhead + bucket for bucket in runs)
    alone = min(-(-size // bucket) * (overhead + bucket) for bucket in buckets)
    assert cost <= alone + 1e-9 * alone


@given(st.integers(1, 16), bucket_sets)
def test_where_a_run_costs_much_there_is_one(size, buckets):
    if size <= buckets[-1]:
        assert plan(size, buckets) == (min(bucket for bucket in buckets if bucket >= size),)


@given(st.integers(2, 8), st.integers(1, 64))
def test_powers_begin_with_one_and_end_with_the_largest(base, largest):
    sizes = powers(base, largest)
    assert sizes[0] == 1
    assert sizes[-1] == largest
    assert list(sizes) == sorted(set(sizes))
    assert all(later <= base * sooner for sooner, later in itertools.pairwise(sizes))
