"""Roll-ups are the plain aggregation of their readings, whatever is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gnn_service.db.rollups import HOUR_US, MINUTE_US, Rollup, by_hour, by_minute

READINGS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3 * HOUR_US), min_size=n, max_size=n, unique=True).map(sorted),
        arrays.arrays(np.float32, (n, 3), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))),
    )
)


def expected(times, values, width_us):
    """One bucket at a time, in double precision."""
    rows = {}
    for bucket in sorted({time // width_us * width_us for time in times}):
        part = values[[time // width_us * width_us == bucket for time in times]].astype(np.float64)
        columns = [column[~np.isnan(column)] for column in part.T]
        rows[bucket] = [(len(c), c.mean(), c.min(), c.max()) if len(c) else (0, *[np.nan] * 3) for c in columns]
    return rows


def as_rows(made: Rollup):
    return {
        int(time): [
            (int(made.count[n, s]), made.mean[n, s], made.low[n, s], made.high[n, s])
            for s in range(made.count.shape[1])
        ]
        for n, time in enumerate(made.times)
    }


def assert_same(found, wanted, values):
    error = 1e-6 * np.nanmax(np.abs(values), initial=1e-30)  # of single precision, at the size of the values
    assert found.keys() == wanted.keys()
    for bucket, row in wanted.items():
        np.testing.assert_allclose(found[bucket], row, rtol=1e-6, atol=error)


@given(READINGS)
def test_a_minute_is_the_aggregation_of_its_frames(readings):
    times, values = readings
    assert_same(as_rows(by_minute(np.array(times, np.int64), values)), expected(times, values, MINUTE_US), values)


@given(READINGS)
def test_an_hour_of_minutes_is_the_aggregation_of_the_frames(readings):
    times, values = readings
    minutes = by_minute(np.array(times, np.int64), values)
    assert_same(as_rows(by_hour(minutes)), expected(times, values, HOUR_US), values)


def test_small_differences_of_large_values_are_kept():
    """Summed in single precision, a mean of a million values of 1e6 is wrong by percents."""
    values = np.full((60_000, 1), 1e6, np.float32)
    values[::2] += 1
    made = by_minute(np.arange(60_000, dtype=np.int64) * 1000, values)
    assert made.mean[0, 0] == np.float32(1e6 + 0.5)


def test_nothing_makes_no_bucket():
    with pytest.raises(ValueError, match="nothing"):
        by_minute(np.empty(0, np.int64), np.empty((0, 3), np.float32))


def test_an_infinite_reading_stays_in_its_bucket():
    values = np.array([[np.inf], [-np.inf], [1.0]], np.float32)
    made = by_minute(np.array([0, 1, MINUTE_US], np.int64), values)
    assert made.count.tolist() == [[2], [1]]
    assert (made.low[0, 0], made.high[0, 0]) == (-np.inf, np.inf)
    assert np.isnan(made.mean[0, 0])
    assert made.mean[1, 0] == 1
