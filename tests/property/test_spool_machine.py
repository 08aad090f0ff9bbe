"""The spool's files against a plain list, under any order of appending, draining, restarts, crashes and damage."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gnn_service.core.errors import SpoolFullError
from gnn_service.db import spool_files
from gnn_service.db.spool_format import HEADER_BYTES, RECORD_BYTES, SegmentName, SpoolRecord
from gnn_service.db.spool_log import SpoolLog
from tests.support.spool import appended, drained, entry, number_of, open_log, segments

GROUPS = st.lists(st.lists(st.integers(8, 300), min_size=1, max_size=4), min_size=1, max_size=3)
"""Sizes of the payloads of a commit's groups."""


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A disk that others keep busy would make these tests wait."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crashes here are made by hand: nothing needs to reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


class CrashError(BaseException):
    """The power went."""


class SpoolMachine(RuleBasedStateMachine):
    """What was acknowledged and not yet drained is there, in order; what was not acknowledged may be."""

    @initialize(segment_bytes=st.sampled_from([1, 400, 4000]), bytes_max=st.sampled_from([1500, 6000]))
    def build(self, segment_bytes: int, bytes_max: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.bounds = {"segment_bytes": segment_bytes, "bytes_max": bytes_max}
        self.log = open_log(self.folder, **self.bounds)
        self.number = 0
        self.expected: list[int] = []  # acknowledged or possibly written, and not drained, in order
        self.unsure: set[int] = set()  # of these, written and never acknowledged
        self.drained: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.folder)

    def groups(self, sizes: list[list[int]]) -> list[list[int]]:
        numbered = []
        for group in sizes:
            numbered.append(list(range(self.number, self.number + len(group))))
            self.number += len(group)
        return numbered

    @rule(sizes=GROUPS)
    def append(self, sizes: list[list[int]]) -> None:
        numbered = self.groups(sizes)
        entries = [[entry(n, s) for n, s in zip(*pair, strict=True)] for pair in zip(numbered, sizes, strict=True)]
        room = self.bounds["bytes_max"] - self.log.stats().bytes - HEADER_BYTES
        outcomes = self.log.append(entries)
        for group, named, outcome in zip(entries, numbered, outcomes, strict=True):
            size = sum(RECORD_BYTES + len(kind) + len(payload) for kind, payload in group)
            if isinstance(outcome, int):
                self.expected += named
                room -= size
            else:
                assert isinstance(outcome, SpoolFullError)
                assert size > room

    @rule(sizes=GROUPS, share=st.floats(0, 1))
    def crash_before_the_acknowledgement(self, sizes: list[list[int]], share: float) -> None:
        """The power goes after the write, with any part of it on the disk."""
        before = {path: path.stat().st_size for path in segments(self.folder)}
        numbered = self.groups(sizes)
        entries = [[entry(n, s) for n, s in zip(*pair, strict=True)] for pair in zip(numbered, sizes, strict=True)]

        def interrupted(fd: int) -> None:
            raise CrashError

        original, spool_files.sync = spool_files.sync, interrupted
        try:
            self.log.append(entries)
        except CrashError:
            for path in segments(self.folder):
                grown = path.stat().st_size - before.get(path, 0)
                if grown > 0:
                    os.truncate(path, before.get(path, 0) + int(share * grown))
                    self.unsure |= {number for group in numbered for number in group}
        finally:
            spool_files.sync = original
        self.log._lock.release()  # the system does that for a process that has gone
        self.log = open_log(self.folder, **self.bounds)
        if self.unsure:
            found = [number_of(r.payload) for r in self.peek() if number_of(r.payload) in self.unsure]
            tail = [number for group in numbered for number in group]
            assert found == [n for n in tail if n in found]
            self.expected += found
            self.unsure.clear()

    def peek(self) -> list[SpoolRecord]:
        copy = Path(tempfile.mkdtemp(dir=MEMORY)) / "copy"
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("lock"))
        log = open_log(copy, **self.bounds)
        records: list[SpoolRecord] = []
        while read := log.read(10_000):
            records += read
            log.advance(read[-1].sequence + 1)
        log.close()
        shutil.rmtree(copy.parent)
        return records

    @rule(most=st.integers(1, 900), share=st.floats(0, 1))
    def drain(self, most: int, share: float) -> None:
        records = self.log.read(most)
        numbers = [number_of(record.payload) for record in records]
        assert numbers == self.expected[: len(numbers)]
        assert bool(numbers) == bool(self.expected)
        if records:
            taken = 1 + int(share * (len(records) - 1))
            self.log.advance(records[taken - 1].sequence + 1)
            self.drained += self.expected[:taken]
            del self.expected[:taken]

    @rule()
    def restart(self) -> None:
        self.log.close()
        self.log = open_log(self.folder, **self.bounds)

    @rule(junk=st.binary(min_size=1, max_size=80))
    def crash_that_leaves_junk_at_the_end(self, junk: bytes) -> None:
        self.log.close()
        if found := segments(self.folder):
            with found[-1].open("ab") as file:
                file.write(junk)
        self.log = open_log(self.folder, **self.bounds)

    @invariant()
    def holds_what_it_should(self) -> None:
        if hasattr(self, "log"):
            assert self.log.stats().records == len(self.expected)
            assert len(set(self.drained)) == len(self.drained)
            assert self.log.stats().bytes == sum(path.stat().st_size for path in segments(self.folder))
            assert (self.log.stats().bytes == 0) == (not self.expected)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("segment_bytes", [1, 150, 10_000])
def test_after_a_crash_at_any_byte_everything_before_it_is_there(tmp_path: Path, segment_bytes: int) -> None:
    """The last segment shortened to every length: what it then holds whole comes back, and what comes after too."""
    folder = tmp_path / "spool"
    log = open_log(folder, segment_bytes=segment_bytes)
    for number in range(4):
        appended(log, number, size=8 + number)
    log.close()
    *_, last = segments(folder)
    data, named = last.read_bytes(), SegmentName.parse(last.name)
    assert named is not None
    first = named.first  # numbers are sequence numbers here
    ends, at = [], HEADER_BYTES
    for number in range(first, 4):
        at += RECORD_BYTES + len("test") + 8 + number
        ends.append(at)
    assert at == len(data)
    for size in range(len(data)):
        copy = tmp_path / f"copy-{size}"
        shutil.copytree(folder, copy)
        os.truncate(copy / last.name, size)
        again = open_log(copy, segment_bytes=segment_bytes)
        kept = first + sum(end <= size for end in ends)
        assert again.stats().records == kept
        assert again.stats().damaged_total == 0
        appended(again, 99)
        assert drained(again) == [*range(kept), 99]
        again.close()
        shutil.rmtree(copy)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_happens_to_the_bytes_of_one_record_the_others_are_drained(data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        log = open_log(folder)
        sizes = data.draw(st.lists(st.integers(8, 60), min_size=2, max_size=6))
        ends = [HEADER_BYTES]
        for number, size in enumerate(sizes):
            appended(log, number, size=size)
            ends.append(ends[-1] + RECORD_BYTES + len("test") + size)
        log.close()
        victim = data.draw(st.integers(0, len(sizes) - 2))
        (segment,) = segments(folder)
        content = bytearray(segment.read_bytes())
        start = data.draw(st.integers(ends[victim], ends[victim + 1] - 1))
        end = data.draw(st.integers(start + 1, ends[victim + 1]))
        content[start:end] = bytes(byte ^ 0x55 for byte in content[start:end])
        segment.write_bytes(content)
        again: SpoolLog = open_log(folder)
        assert again.stats().damaged_total == 1
        assert drained(again) == [number for number in range(len(sizes)) if number != victim]
        again.close()
    finally:
        shutil.rmtree(folder)
