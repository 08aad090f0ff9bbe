"""The spool's files: order, bounds, restarts, damage and failing disks."""

import errno
import os
import shutil

import pytest

from gnn_service.core.errors import ConfigurationError, SpoolFailedError, SpoolFullError
from gnn_service.db import spool_files
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


def test_when_the_position_cannot_be_kept_nothing_is_forgotten(folder, failing):
    log = open_log(folder)
    appended(log, 1, 2)
    records = log.read(1)
    failing("fsync")
    with pytest.raises(OSError, match="Input/output error"):
        log.advance(records[-1].sequence + 1)
    failing(None)
    assert (log.stats().records, log.stats().drained_total, log.stats().failures_total) == (2, 0, 1)
    assert drained(log) == [1, 2]


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


# ---- disks ----


@pytest.fixture
def failing(monkeypatch):
    """Have one of the calls to the system fail from now on; `failing(None)` mends it."""
    original = {name: getattr(os, name) for name in ("write", "fsync")}

    def fail(name, number=errno.EIO, after=0):
        for each, function in original.items():
            monkeypatch.setattr(os, each, function)
        left = [after]

        def broken(fd, *arguments):
            if name == "write" and left[0]:
                left[0] -= 1
                return original["write"](fd, bytes(arguments[0])[:7])
            raise OSError(number, os.strerror(number))

        if name:
            monkeypatch.setattr(os, name, broken)

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_refuses_and_damages_nothing(folder, failing, number, begun, after):
    log = open_log(folder)
    if begun:
        appended(log, 1)
    failing("write", number, after=after)
    with pytest.raises(SpoolFullError, match="no room"):
        appended(log, 2)
    failing(None)
    before = [1] if begun else []
    shutil.copytree(folder, folder.with_name("copy"))
    again = open_log(folder.with_name("copy"))
    assert (again.stats().damaged_total, again.stats().cut_bytes_total) == (0, 0)
    assert drained(again) == before
    appended(log, 3)
    assert drained(log) == [*before, 3]


def test_a_disk_that_was_full_counts_as_full_until_it_takes_something_or_a_while_has_passed(folder, failing):
    wall = Wall()
    log = SpoolLog(folder, spool_settings(), wall)
    failing("write", errno.ENOSPC)
    with pytest.raises(SpoolFullError):
        appended(log, 1)
    assert log.stats().full
    wall.now += 31
    assert not log.stats().full
    with pytest.raises(SpoolFullError):
        appended(log, 1)
    failing(None)
    appended(log, 1)
    assert not log.stats().full


def test_after_a_failed_fsync_the_segment_is_not_written_again(folder, failing):
    log = open_log(folder)
    appended(log, 1)
    failing("fsync")
    with pytest.raises(SpoolFailedError, match="disk fails"):
        appended(log, 2)
    failing(None)
    (before,) = segments(folder)
    size = before.stat().st_size
    appended(log, 3)
    assert len(segments(folder)) == 2
    assert before.stat().st_size == size == HEADER_BYTES + SIZE
    assert drained(log) == [1, 3]
    assert log.stats().failures_total == 1
    assert (log.stats().accepted_total, log.stats().refused_total) == (2, 1)


def test_a_disk_that_fails_every_time_leaves_no_files_behind(folder, failing):
    log = open_log(folder)
    failing("fsync")
    for number in range(5):
        with pytest.raises(SpoolFailedError):
            appended(log, number)
    assert segments(folder) == []


def test_draining_needs_no_room_on_the_disk(folder, monkeypatch, failing):
    log = open_log(folder, segment_bytes=2 * SIZE)
    for number in range(8):
        appended(log, number)
    monkeypatch.setattr(spool_files, "create", failing)  # no file can be made
    assert drained(log) == list(range(8))
    assert segments(folder) == []


# ---- whose folder it is ----


def test_a_second_one_on_the_folder_is_refused_until_the_first_has_gone(folder):
    log = open_log(folder)
    with pytest.raises(ConfigurationError, match=r"another process uses .* GNN_DATABASE__SPOOL__FOLDER"):
        open_log(folder)
    log.close()
    open_log(folder).close()


def test_a_place_that_cannot_be_a_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "spool"):
        with pytest.raises(
            ConfigurationError, match=r"cannot use .* as the spool: .*; set GNN_DATABASE__SPOOL__FOLDER"
        ):
            open_log(place)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights are those of POSIX here")
def test_a_folder_without_the_right_to_write_is_a_clear_error(folder):
    folder.mkdir(mode=0o500)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65_534)  # root may write everywhere
    try:
        with pytest.raises(ConfigurationError, match=r"Permission denied; set GNN_DATABASE__SPOOL__FOLDER"):
            open_log(folder)
    finally:
        os.seteuid(me)


def test_a_read_only_disk_is_a_clear_error_and_lets_go_of_the_folder(folder, monkeypatch):
    open_log(folder).close()
    original = os.open

    def read_only(path, flags, *rest, **named):
        if flags & os.O_EXCL:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return original(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ConfigurationError, match="Read-only file system"):
        open_log(folder)
    monkeypatch.undo()
    open_log(folder).close()


def test_a_full_disk_at_the_start_does_not_stop_it(folder, monkeypatch):
    log = open_log(folder)
    appended(log, 1)
    log.close()

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool_files, "create", full)
    assert drained(open_log(folder)) == [1]


def test_a_closed_one_refuses(folder):
    log = open_log(folder)
    log.close()
    (outcome,) = log.append([[entry(1)]])
    assert isinstance(outcome, SpoolFailedError)
