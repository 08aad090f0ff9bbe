"""The spool's files: order, bounds, restarts and damage."""

import os
import shutil

import pytest

from gnn_service.core.errors import SpoolFullError
from gnn_service.db.spool_format import HEADER_BYTES, RECORD_BYTES
from gnn_service.db.spool_log import SpoolLog
from tests.support.spool import appended, drained, entry, open_log, segments, spool_settings, waiting

SIZE = RECORD_BYTES + len("test") + 40


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


class Wall:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


def test_records_come_back_in_order_until_they_are_drained(folder):
    log = open_log(folder)
    appended(log, 1, 2)
    appended(log, 3)
    assert waiting(log) == waiting(log) == [1, 2, 3]
    assert drained(log) == [1, 2, 3]
    assert log.read(100) == ()
    assert (log.stats().accepted_total, log.stats().drained_total, log.stats().records) == (3, 3, 0)


def test_what_is_drained_leaves_no_file_behind(folder):
    log = open_log(folder, segment_bytes=200)
    for number in range(20):
        appended(log, number)
    assert len(segments(folder)) > 5
    assert drained(log) == list(range(20))
    assert segments(folder) == []
    assert log.stats().bytes == 0


def test_a_restart_goes_on_where_it_was(folder):
    log = open_log(folder, segment_bytes=300)
    for number in range(10):
        appended(log, number)
    first = log.read(250)
    log.advance(first[-1].sequence + 1)
    log.close()
    again = open_log(folder, segment_bytes=300)
    assert again.stats().records == 10 - len(first)
    appended(again, 10)
    assert drained(again) == list(range(len(first), 11))


def test_a_restart_after_all_is_drained_uses_no_number_again(folder):
    log = open_log(folder)
    last = appended(log, 1)
    drained(log)
    log.close()
    assert appended(open_log(folder), 2) == last + 1


def test_reading_takes_about_as_much_as_it_is_asked_for_and_one_record_at_least(folder):
    log = open_log(folder)
    appended(log, *range(10))
    assert waiting(log, 1) == [0]
    assert waiting(log, 3 * SIZE) == [0, 1, 2]
    appended(log, 10, size=5000)
    drained(log, 2 * SIZE)
    appended(log, 11, size=5000)
    assert waiting(log, 100) == [11]


def test_only_what_was_read_can_be_forgotten(folder):
    log = open_log(folder)
    last = appended(log, 1, 2)
    with pytest.raises(ValueError, match="not all read"):
        log.advance(last + 1)
    log.read(1)
    with pytest.raises(ValueError, match="not all read"):
        log.advance(last + 1)
    log.advance(log.position)  # nothing to do


# ---- bounds ----


def test_over_the_bound_the_newest_is_refused_and_counted_and_nothing_is_lost(folder):
    log = open_log(folder, bytes_max=HEADER_BYTES + 3 * SIZE)
    appended(log, 1, 2)
    small, large = log.append([[entry(3)], [entry(4)]])
    assert isinstance(small, int)
    assert isinstance(large, SpoolFullError)
    assert (large.status, large.retry_after_s) == (503, 30.0)
    assert log.stats().bytes == HEADER_BYTES + 3 * SIZE
    assert (log.stats().accepted_total, log.stats().refused_total) == (3, 1)
    assert log.stats().full
    assert drained(log) == [1, 2, 3]
    assert not log.stats().full
    appended(log, 5)


def test_a_group_is_kept_whole_or_not_at_all(folder):
    log = open_log(folder, bytes_max=HEADER_BYTES + 3 * SIZE)
    with pytest.raises(SpoolFullError):
        appended(log, 1, 2, 3, 4)
    assert log.read(100) == ()
    assert log.stats().refused_total == 4


@pytest.mark.parametrize("over_age", ["refuse", "keep"])
def test_when_the_oldest_waits_too_long_new_ones_are_refused_or_kept_and_counted(folder, over_age):
    wall = Wall()
    log = SpoolLog(folder, spool_settings(age_max_s=60.0, over_age=over_age), wall)
    appended(log, 1)
    wall.now += 30
    appended(log, 2)
    wall.now += 31
    assert log.stats().oldest_s == 61
    (outcome,) = log.append([[entry(3)]])
    assert log.stats().full == (over_age == "refuse")
    if over_age == "refuse":
        assert isinstance(outcome, SpoolFullError)
        assert log.stats().refused_total == 1
    else:
        assert log.stats().overage_total == 1
    assert waiting(log, 1) == [1]
    log.advance(log.read(1)[0].sequence + 1)
    assert log.stats().oldest_s == 31  # the second one is the oldest now
    appended(log, 4)
    assert drained(log) == [2, *([3] if over_age == "keep" else []), 4]


def test_the_age_survives_a_restart_and_a_clock_that_is_set_back_gives_none_below_zero(folder):
    wall = Wall()
    SpoolLog(folder, spool_settings(), wall).append([[entry(1)]])
    shutil.copytree(folder, folder.with_name("copy"))
    wall.now += 100
    again = SpoolLog(folder.with_name("copy"), spool_settings(), wall)
    assert again.stats().oldest_s == 100
    wall.now -= 1000
    assert again.stats().oldest_s == 0


# ---- damage ----


def test_a_torn_end_is_cut_and_the_rest_kept(folder):
    log = open_log(folder)
    appended(log, 1, 2, 3)
    log.close()
    (segment,) = segments(folder)
    os.truncate(segment, HEADER_BYTES + 3 * SIZE - 5)
    again = open_log(folder)
    assert segment.stat().st_size == HEADER_BYTES + 2 * SIZE
    assert again.stats().cut_bytes_total == SIZE - 5
    assert again.stats().damaged_total == 0
    assert drained(again) == [1, 2]


def test_a_damaged_record_is_reported_and_set_aside_and_the_others_kept(folder):
    log = open_log(folder, segment_bytes=3 * SIZE)
    for number in range(6):
        appended(log, number)
    log.close()
    first, *_ = segments(folder)
    data = bytearray(first.read_bytes())
    data[HEADER_BYTES + SIZE + RECORD_BYTES + 10] ^= 1
    first.write_bytes(data)
    again = open_log(folder)
    assert again.stats().damaged_total == 1
    assert drained(again) == [0, 2, 3, 4, 5]
    assert again.stats().damaged_total == 1  # seen twice, counted once
    assert [path.read_bytes() for path in (folder / "damaged").iterdir()] == [bytes(data)]
    assert again.stats().aside_bytes == len(data)


def test_damage_that_comes_after_the_start_is_found_when_it_is_drained(folder):
    log = open_log(folder)
    appended(log, 1, 2, 3)
    (segment,) = segments(folder)
    with segment.open("r+b") as file:
        file.seek(HEADER_BYTES + 3)
        file.write(b"??")
    assert drained(log) == [2, 3]
    assert log.stats().damaged_total == 1
    assert log.stats().records == 0
    assert log.append([[entry(4)]]) == [log.position]


def test_a_segment_of_nothing_but_damage_is_set_aside_whole(folder):
    log = open_log(folder, segment_bytes=1)
    appended(log, 1)
    appended(log, 2)
    log.close()
    first, _ = segments(folder)
    first.write_bytes(os.urandom(500))
    again = open_log(folder)
    assert drained(again) == [2]
    assert (folder / "damaged" / first.name).exists()
    assert again.stats().damaged_total == 2  # its header, and all behind it


def test_a_file_that_was_just_begun_is_removed(folder):
    open_log(folder).close()
    for size in (0, 5, HEADER_BYTES):
        (folder / f"{1:020d}-{size:08x}.spool").write_bytes(b"GNNSPOOL"[:size].ljust(size, b"\0"))
    again = open_log(folder)
    assert drained(again) == []


def test_a_damaged_position_has_all_that_is_there_drained_once_more(folder):
    log = open_log(folder)
    appended(log, 1, 2)
    log.advance(log.read(1)[0].sequence + 1)
    log.close()
    (folder / "position").write_bytes(b"?" * 5000)
    assert drained(open_log(folder)) == [1, 2]


def test_a_position_that_was_only_half_written_is_the_one_before(folder):
    log = open_log(folder)
    last = appended(log, 1, 2, 3)
    for _ in range(2):
        log.advance(log.read(1)[0].sequence + 1)
    log.close()
    data = bytearray((folder / "position").read_bytes())
    newest = 0 if data[8] == last else 4096
    data[newest + 8] ^= 0xFF
    (folder / "position").write_bytes(data)
    assert drained(open_log(folder)) == [2, 3]


def test_a_refused_record_is_set_aside_with_the_reason(folder):
    log = open_log(folder)
    appended(log, 1, 2)
    record = log.read(1)[0]
    log.reject(record, "no such\nmachine")
    log.advance(record.sequence + 1)
    assert drained(log) == [2]
    (kept,) = (folder / "rejected").iterdir()
    line, _, payload = kept.read_bytes().partition(b"\n")
    assert line.decode().split(maxsplit=2)[2] == "test no such machine"
    assert payload == record.payload
    assert log.stats().rejected_total == 1


def test_there_is_an_end_to_what_is_set_aside(folder):
    log = open_log(folder, bytes_max=500)
    appended(log, 1, 2, size=100)
    first, second = log.read(1000)
    (folder / "rejected").mkdir()
    (folder / "rejected" / "old").write_bytes(b"x" * 300)
    log.close()
    again = open_log(folder, bytes_max=500)
    again.reject(first, "refused")
    with pytest.raises(SpoolFullError, match="set aside"):
        again.reject(second, "refused")
    assert drained(again) == [1, 2]  # nothing is lost by that
