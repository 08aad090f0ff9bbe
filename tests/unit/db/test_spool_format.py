"""Records as bytes: what is written is read back, what changed is noticed, and reading begins again behind it."""

import struct
import zlib

import pytest

from gnn_service.core.errors import ConfigurationError, InvalidInputError
from gnn_service.db.spool_format import (
    HEADER_BYTES,
    MARKER,
    PAYLOAD_MAX,
    RECORD_BYTES,
    SegmentName,
    SpoolRecord,
    check_record,
    encode_header,
    encode_record,
    header_is_whole,
    scan,
    time_of,
)

SALT = 0x5EED
RECORDS = [SpoolRecord(7 + n, "frames", bytes([n]) * (n * 9), 1_000_000 + n) for n in range(5)]


def encoded(records=RECORDS, salt=SALT):
    return b"".join(encode_record(record, salt) for record in records)


def kept(data, salt=SALT):
    return [stretch.record for stretch in scan(data, salt) if stretch.record]


def test_what_is_written_is_read_back_and_its_size_is_known():
    assert kept(encoded()) == RECORDS
    assert [len(encode_record(record, SALT)) for record in RECORDS] == [record.size for record in RECORDS]
    assert time_of(encoded()[:RECORD_BYTES], SALT) == RECORDS[0].time_us


def test_cut_at_any_byte_the_records_before_it_are_kept_and_the_rest_is_known_as_cut():
    data = encoded()
    ends = [0]
    for record in RECORDS:
        ends.append(ends[-1] + record.size)
    for size in range(len(data)):
        found = list(scan(data[:size], SALT))
        whole = sum(end <= size for end in ends) - 1
        assert [stretch.record for stretch in found if stretch.record] == RECORDS[:whole]
        if size not in ends:
            assert found[-1].cut
            assert (found[-1].start, found[-1].end) == (ends[whole], size)


def test_a_change_of_any_byte_costs_the_record_that_it_is_in_and_no_other():
    data = encoded()
    start = 0
    for index, record in enumerate(RECORDS):
        for at in range(start, start + record.size):
            broken = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
            assert kept(broken) == RECORDS[:index] + RECORDS[index + 1 :]
        start += record.size


def test_the_stretches_are_all_of_the_bytes_in_order():
    data = encoded()
    broken = data[:50] + b"\0" * 20 + data[70:] + b"junk"
    at = 0
    for stretch in scan(broken, SALT):
        assert stretch.start == at
        at = stretch.end
    assert at == len(broken)


def test_zeros_that_a_crash_left_count_as_cut_and_other_bytes_do_not():
    *_, zeros = scan(encoded() + b"\0" * 100, SALT)
    *_, few = scan(encoded() + b"\0" * 3, SALT)
    *_, other = scan(encoded() + b"other bytes" * 9, SALT)
    assert zeros.cut
    assert few.cut
    assert not other.cut


def test_a_payload_made_to_look_like_a_record_is_not_taken_for_one():
    forged = encode_record(SpoolRecord(99, "frames", b"forged", 0), salt=0)
    data = bytearray(encoded([SpoolRecord(1, "frames", forged * 3, 0), RECORDS[0]]))
    data[RECORD_BYTES - 1] ^= 1
    assert kept(bytes(data)) == [RECORDS[0]]


def test_bytes_of_another_segment_do_not_pass():
    assert kept(encoded(salt=1), salt=2) == []


def test_many_markers_in_a_damaged_payload_cost_no_time_worth_mentioning():
    data = bytearray(encoded([SpoolRecord(1, "frames", MARKER * 500_000, 0), RECORDS[0]]))
    data[RECORD_BYTES + 20] ^= 1
    assert kept(bytes(data)) == [RECORDS[0]]


def test_a_header_says_whether_it_is_whole_and_a_newer_format_is_refused():
    head = encode_header(SALT)
    assert len(head) == HEADER_BYTES
    assert header_is_whole(head, SALT)
    assert not header_is_whole(head[:-1], SALT)
    assert not header_is_whole(head, SALT + 1)
    newer = struct.pack("<8sHH", b"GNNSPOOL", 2, 0)
    newer += zlib.crc32(newer, SALT).to_bytes(4, "little")
    with pytest.raises(ConfigurationError, match="format 2, this version reads up to 1"):
        header_is_whole(newer, SALT)


@pytest.mark.parametrize("name", ["position", "lock", "1-2.spool", "x" * 20 + "-00000000.spool", "a.spool.new"])
def test_only_names_of_segments_are_taken_for_them(name):
    assert SegmentName.parse(name) is None


def test_a_name_is_read_as_it_was_written_and_sorts_by_its_number():
    names = [SegmentName.new(n) for n in (9, 10, 2**40)]
    assert [SegmentName.parse(str(name)) for name in names] == names
    assert sorted(map(str, names)) == [str(name) for name in names]


def test_a_record_that_cannot_be_written_is_refused():
    for kind in ("", "k" * 256):
        with pytest.raises(InvalidInputError):
            check_record(kind, b"")

    class Long(bytes):
        def __len__(self):
            return PAYLOAD_MAX + 1

    with pytest.raises(InvalidInputError):
        check_record("frames", Long())
