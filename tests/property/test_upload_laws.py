"""Whatever bytes come, they are readings or an error that says what is wrong; and what was written is read again."""

from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from gnn_service.api.intake import READINGS_MAX, kind_of, take
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.recording import Readings
from gnn_service.recordings.folder import readings_of
from gnn_service.recordings.uploads import TableKind, read_upload, readings_bytes
from tests.support.stored import pump, sensor

MACHINE = pump(sensor("P1"), sensor("T1", unit="Cel"))
NOW_S = 1_800_000_000.0
KINDS: tuple[TableKind, ...] = ("csv", "parquet", "arrow")
START_US = 1_790_000_000_000_000
floats = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@st.composite
def readings(draw: st.DrawFn) -> Readings:
    steps = draw(st.lists(st.integers(1, 10**9), min_size=1, max_size=30))
    rows = [draw(st.tuples(floats, floats)) for _ in steps]
    state = draw(
        st.none() | st.lists(st.sampled_from(["", "run", "idle, warm"]), min_size=len(rows), max_size=len(rows))
    )
    return Readings(
        times=START_US + np.cumsum(np.array(steps, np.int64)),
        sensors=("P1", "T1"),
        values=np.array(rows, np.float32),
        operating_state=None if state is None else np.array(state, np.str_),
    )


@given(sent=readings(), kind=st.sampled_from(KINDS))
def test_what_was_written_is_read_again_as_it_was(sent: Readings, kind: TableKind):
    file, units = read_upload(readings_bytes(sent, kind), kind, cells_max=READINGS_MAX)
    found = readings_of(file, MACHINE)
    assert units == {}
    assert found.times.tolist() == sent.times.tolist()
    np.testing.assert_array_equal(found.values, sent.values)
    if sent.operating_state is not None:
        assert found.operating_state is not None
        assert found.operating_state.tolist() == sent.operating_state.tolist()


def refused_or_taken(body: bytes, kind: TableKind | None) -> None:
    try:
        taken = take(body, kind, MACHINE, NOW_S)
    except (InvalidInputError, RequestValidationError):
        return  # and nothing else
    assert taken.values.shape == (len(taken.times), len(taken.sensors))
    assert taken.values.dtype == np.float32


@given(body=st.binary(max_size=300), kind=st.sampled_from([*KINDS, None]))
def test_any_bytes_are_readings_or_a_told_error(body: bytes, kind: TableKind | None):
    refused_or_taken(body, kind)


@settings(max_examples=300)
@given(sent=readings(), kind=st.sampled_from(KINDS), data=st.data())
def test_a_damaged_table_is_readings_or_a_told_error(sent: Readings, kind: TableKind, data: Any):
    body = bytearray(readings_bytes(sent, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(1, len(body))) :]
    refused_or_taken(bytes(body), kind)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "start": st.just("2026-01-31T08:00:00Z") | json_values,
            "rate_hz": st.just(1.0) | json_values,
            "times": st.lists(st.floats(0, 1e9), max_size=3) | json_values,
            "readings": st.dictionaries(st.sampled_from(["P1", "T1", "X"]), st.lists(floats, max_size=3)) | json_values,
            "units": st.dictionaries(st.sampled_from(["P1", "T1"]), st.sampled_from(["MPa", "K", "x"])) | json_values,
            "cycle": json_values,
            "phase_s": json_values,
            "operating_state": json_values,
        },
    )
)
def test_any_json_is_readings_or_a_told_error(body: Any):
    try:
        sent = orjson.dumps(body)
    except (TypeError, orjson.JSONEncodeError):
        return  # no JSON of RFC 8259: a surrogate, or an integer beyond 64 bits
    refused_or_taken(sent, None)


@given(kind=st.text(max_size=40), packed=st.text(max_size=10))
def test_any_content_type_is_known_or_told(kind: str, packed: str):
    with suppress(HTTPException):  # and nothing else
        kind_of(kind, packed)


def test_the_largest_request_is_bounded_whatever_it_says_of_itself():
    body = readings_bytes(Readings(START_US + np.arange(40), ("P1", "T1"), np.zeros((40, 2), np.float32)), "parquet")
    with pytest.raises(InvalidInputError, match="too many"):
        read_upload(body, "parquet", cells_max=100)
