"""Frames between NumPy and the wire."""

import struct
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frames import (
    FrameBlock,
    decode_reals,
    decode_times,
    encode_reals,
    encode_times,
)

START = 1_700_000_000_000_000


def block(frames=3, sensors=2):
    times = START + np.arange(frames) * 1_000_000
    return FrameBlock(7, 0, 9, times, np.arange(frames * sensors, dtype=np.float32).reshape(frames, sensors))


def test_reals_have_the_bytes_that_the_server_sends():
    expected = struct.pack(">iiIii", 1, 0, 700, 2, 1) + struct.pack(">if", 4, 1.5) + struct.pack(">if", 4, -2.0)
    assert encode_reals([1.5, -2.0]) == expected


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf, -0.0], [[1, 2, 3], [4, np.nan, 6]]])
def test_reals_come_back_bit_by_bit(values):
    given = np.asarray(values, np.float32)
    back = decode_reals(encode_reals(given))
    assert back.dtype == np.float32
    assert back.shape == given.shape
    assert back.tobytes() == given.tobytes()


def test_a_number_alone_is_an_array_of_one():
    assert decode_reals(encode_reals(2.0)).tolist() == [2.0]
    assert decode_times(encode_times(START)).tolist() == [START]


def test_a_null_element_is_refused():
    with_null = struct.pack(">iiIii", 1, 1, 700, 2, 1) + struct.pack(">if", 4, 1.5) + struct.pack(">i", -1)
    with pytest.raises(ValueError, match="null"):
        decode_reals(with_null)
    with pytest.raises(ValueError, match="null"):
        decode_times(with_null)


def test_times_are_microseconds_since_1970():
    assert encode_times([946_684_800_000_001])[-8:] == (1).to_bytes(8, "big")
    assert decode_times(encode_times([START, 0, -5])).tolist() == [START, 0, -5]
    assert decode_times(encode_times([])).tolist() == []


def test_times_may_be_datetimes_of_any_zone():
    noon = datetime(2026, 3, 1, 12, 0, 0, 250_001, tzinfo=timezone(timedelta(hours=2)))
    microseconds = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) * 1_000_000 + 250_001
    assert decode_times(encode_times([noon])).tolist() == [microseconds]


@pytest.mark.parametrize("times", [[datetime(2026, 3, 1)], [1.5], ["2026-03-01"]])  # noqa: DTZ001
def test_what_is_no_instant_is_refused(times):
    with pytest.raises(ValueError, match=r"zone|int64"):
        encode_times(times)


def test_a_block_counts_what_is_present():
    values = np.array([[1, np.nan], [np.nan, np.nan]], np.float32)
    assert FrameBlock(1, 0, 1, np.array([START, START + 1]), values).readings == 1


@pytest.mark.parametrize(
    ("times", "values", "complaint"),
    [
        ([START, START], np.zeros((2, 1)), "rise"),
        ([START, START - 1], np.zeros((2, 1)), "rise"),
        ([START], np.zeros((2, 1)), "fit"),
        ([START], np.zeros(1), "fit"),
        ([-1], np.zeros((1, 1)), "1970"),
        ([START * 1000], np.zeros((1, 1)), "1970"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(times, values, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        FrameBlock(1, 0, 1, np.array(times), values)


def test_a_packed_block_comes_back():
    given = block()
    back = FrameBlock.unpack(memoryview(given.pack()))
    assert (back.machine_id, back.rate_group, back.layout_id) == (7, 0, 9)
    assert np.array_equal(back.times, given.times)
    assert back.values.tobytes() == given.values.tobytes()


def test_packed_bytes_that_are_not_whole_are_refused():
    packed = block().pack()
    for bad in (b"", packed[:-1], packed + b"x", b"\x02" + packed[1:]):
        with pytest.raises(InvalidInputError):
            FrameBlock.unpack(bad)


def test_parts_of_a_block_keep_its_place():
    part = block().part(slice(1, 3))
    assert (part.machine_id, part.layout_id, len(part)) == (7, 9, 2)
    assert part.values[0].tolist() == [2, 3]
