"""The spool on disks that are full, fail or are somebody else's."""

import errno
import os
import shutil

import pytest

from gnn_service.core.errors import ConfigurationError, SpoolFailedError, SpoolFullError
from gnn_service.db import spool_files
from gnn_service.db.spool_format import HEADER_BYTES, RECORD_BYTES
from gnn_service.db.spool_log import SpoolLog
from tests.support.spool import appended, drained, entry, open_log, segments, spool_settings

SIZE = RECORD_BYTES + len("test") + 40


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


class Wall:
    now = 1_800_000_000.0

    def __call__(self):
        return self.now


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


def test_a_new_segment_is_acknowledged_when_its_name_is_on_the_disk_too(folder, monkeypatch):
    log = open_log(folder, segment_bytes=SIZE)
    done = []
    monkeypatch.setattr(spool_files, "sync", lambda fd: done.append("file"))
    monkeypatch.setattr(spool_files, "sync_folder", done.append)
    appended(log, 1)
    assert done == ["file", folder]
    done.clear()
    log = open_log(folder.with_name("other"))
    appended(log, 1)
    done.clear()
    appended(log, 2)
    assert done == ["file"]

    def broken(place):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log = open_log(folder.with_name("third"))
    monkeypatch.setattr(spool_files, "sync_folder", broken)
    with pytest.raises(SpoolFailedError):
        appended(log, 1)
    assert log.read(100) == ()


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
