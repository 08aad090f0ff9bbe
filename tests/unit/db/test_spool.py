"""The spool for an event loop: shared fsyncs, bounds at the door, deadlines, and ends that lose nothing."""

import asyncio
import os
import threading

import pytest

from gnn_service.core.errors import (
    ConfigurationError,
    InvalidInputError,
    OverloadedError,
    SpoolFailedError,
    SpoolFullError,
)
from gnn_service.db import spool_files, spool_recovery
from gnn_service.db.spool import Spool
from tests.support.inference import until
from tests.support.spool import entry, number_of, spool_settings


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def spool(folder, **values):
    return Spool(folder, spool_settings(**values))


async def drained(subject):
    numbers = []
    while records := await subject.read(200):
        numbers += [number_of(record.payload) for record in records]
        await subject.advance(records[-1].sequence + 1)
    return numbers


def spool_threads():
    return [thread for thread in threading.enumerate() if thread.name == "gnn-spool"]


class Gate:
    """Holds fsync until it is opened, and counts it."""

    def __init__(self, monkeypatch, open_=True):
        self.opened = threading.Event()
        self.calls = 0
        if open_:
            self.opened.set()
        original = spool_files.sync

        def sync(fd):
            self.calls += 1
            self.opened.wait(30)
            original(fd)

        monkeypatch.setattr(spool_files, "sync", sync)


async def test_records_are_kept_across_a_restart_and_drained_in_order(folder):
    async with spool(folder) as subject:
        first = await subject.append([entry(1), entry(2)])
        assert await subject.append([entry(3)]) == first + 1
        assert not subject.empty
    async with spool(folder) as again:
        assert again.stats().records == 3
        assert await drained(again) == [1, 2, 3]
        assert again.empty
    await until(lambda: not spool_threads())


async def test_what_arrives_together_shares_one_fsync(folder, monkeypatch):
    async with spool(folder, commit_wait_ms=50.0) as subject:
        gate = Gate(monkeypatch)
        await asyncio.gather(*(subject.append([entry(number)]) for number in range(100)))
        assert gate.calls == 1
        assert await drained(subject) == list(range(100))


async def test_what_arrives_during_an_fsync_shares_the_next_one(folder, monkeypatch):
    async with spool(folder, commit_wait_ms=0.0) as subject:
        gate = Gate(monkeypatch, open_=False)
        first = asyncio.create_task(subject.append([entry(0)]))
        await until(lambda: gate.calls > 0)
        others = [asyncio.create_task(subject.append([entry(number)])) for number in range(1, 50)]
        await asyncio.sleep(0.05)
        assert gate.calls == 1
        assert not first.done()
        gate.opened.set()
        await asyncio.gather(first, *others)
        assert gate.calls == 2


async def test_a_caller_that_leaves_takes_nobody_with_it(folder, monkeypatch):
    async with spool(folder, commit_wait_ms=20.0) as subject:
        gate = Gate(monkeypatch, open_=False)
        tasks = [asyncio.create_task(subject.append([entry(number)])) for number in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()  # before it is written
        await until(lambda: gate.calls > 0)
        tasks[5].cancel()  # while it is
        gate.opened.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, outcome in enumerate(done) if isinstance(outcome, asyncio.CancelledError)] == [3, 5]
        assert await drained(subject) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


async def test_the_line_in_front_of_the_disk_is_bounded(folder, monkeypatch):
    async with spool(folder, queue_max_bytes=100, commit_wait_ms=0.0) as subject:
        gate = Gate(monkeypatch, open_=False)
        large = asyncio.create_task(subject.append([entry(0, 500)]))  # alone, it may be over the bound
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as caught:
            await subject.append([entry(1, 50)])
        assert caught.value.retry_after_s == 1.0
        assert subject.stats().refused_total == 1
        gate.opened.set()
        await large
        await subject.append([entry(2, 50)])


async def test_a_disk_that_does_not_answer_is_an_error_in_time(folder, monkeypatch):
    async with spool(folder, write_timeout_s=0.1) as subject:
        gate = Gate(monkeypatch, open_=False)
        with pytest.raises(SpoolFailedError, match=r"did not answer in 0\.1 s"):
            await subject.append([entry(1)])
        with pytest.raises(SpoolFailedError, match="did not answer"):
            await subject.read()
        gate.opened.set()
        await asyncio.sleep(0.05)
        await subject.append([entry(2)])


async def test_a_stop_with_a_hung_disk_ends_and_tells_whoever_waits(folder, monkeypatch):
    monkeypatch.setattr("gnn_service.db.spool.STOP_S", 0.1)
    subject = spool(folder)
    await subject.start()
    gate = Gate(monkeypatch, open_=False)
    writing = asyncio.create_task(subject.append([entry(1)]))
    await until(lambda: gate.calls > 0)
    waiting = asyncio.create_task(subject.append([entry(2)]))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await subject.stop()
        for task in (writing, waiting):
            with pytest.raises(SpoolFailedError):
                await task
    gate.opened.set()
    await until(lambda: not spool_threads())
    async with spool(folder) as again:
        assert await drained(again) == [1]


async def test_a_stop_writes_what_waits(folder):
    subject = spool(folder, commit_wait_ms=1000.0)
    await subject.start()
    tasks = [asyncio.create_task(subject.append([entry(number)])) for number in range(5)]
    await asyncio.sleep(0)
    await subject.stop()
    await asyncio.gather(*tasks)
    await subject.stop()
    with pytest.raises(SpoolFailedError, match="not running"):
        await subject.append([entry(9)])
    with pytest.raises(SpoolFailedError, match="not running"):
        await subject.read()
    async with spool(folder) as again:
        assert await drained(again) == list(range(5))


async def test_a_full_spool_refuses_and_takes_again_once_it_is_drained(folder):
    async with spool(folder, bytes_max=400) as subject:
        for number in range(4):
            await subject.append([entry(number)])
        with pytest.raises(SpoolFullError) as caught:
            await subject.append([entry(4)])
        assert caught.value.retry_after_s == 30.0
        assert subject.stats().refused_total == 1
        assert await drained(subject) == list(range(4))
        await subject.append([entry(99)])


async def test_a_folder_in_use_is_refused_and_its_owner_notices_nothing(folder):
    async with spool(folder) as subject:
        other = spool(folder)
        with pytest.raises(ConfigurationError, match="another process uses"):
            await other.start()
        await other.stop()
        await subject.append([entry(1)])
    await until(lambda: not spool_threads())
    async with spool(folder) as again:
        assert await drained(again) == [1]


async def test_a_start_that_is_given_up_lets_go_of_the_folder(folder, monkeypatch):
    held, gate = spool_files.create, threading.Event()

    def slow(path):
        gate.wait(30)
        return held(path)

    monkeypatch.setattr(spool_files, "create", slow)
    starting = asyncio.create_task(spool(folder).start())
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    gate.set()
    await until(lambda: not spool_threads())
    async with spool(folder):
        pass


async def test_a_record_that_no_file_can_hold_is_refused(folder):
    async with spool(folder) as subject:
        with pytest.raises(InvalidInputError):
            await subject.append([("", b"")])
        with pytest.raises(ValueError, match="nothing"):
            await subject.append([])


async def test_a_failing_disk_is_told_to_everybody_in_the_batch_by_an_error_of_their_own(folder, monkeypatch):
    async with spool(folder, commit_wait_ms=30.0) as subject:

        def broken(fd):
            raise OSError(5, os.strerror(5))

        original = os.fsync
        monkeypatch.setattr(os, "fsync", broken)
        done = await asyncio.gather(*(subject.append([entry(n)]) for n in range(3)), return_exceptions=True)
        assert all(isinstance(error, SpoolFailedError) for error in done)
        assert len({id(error) for error in done}) == 3
        monkeypatch.setattr(os, "fsync", original)
        await subject.append([entry(4)])
        assert await drained(subject) == [4]


async def test_a_bug_leaves_nobody_waiting(folder, monkeypatch):
    async with spool(folder) as subject:

        def broken(self, groups):
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("gnn_service.db.spool.SpoolLog.append", broken)
            with pytest.raises(SpoolFailedError, match="the spool failed"):
                await subject.append([entry(1)])
        await subject.append([entry(2)])


async def test_the_age_of_the_oldest_grows_between_writes(folder):
    async with spool(folder) as subject:
        await subject.append([entry(1)])
        before = subject.stats().oldest_s
        await asyncio.sleep(0.05)
        assert subject.stats().oldest_s >= before + 0.04
        await drained(subject)
        assert subject.stats().oldest_s == 0


class Surveyor:
    """Keeps the numbers of what it is shown."""

    def __init__(self):
        self.numbers, self.segments, self.finished = [], 0, asyncio.Event()

    def digest(self, records):
        assert threading.current_thread().name == "gnn-spool"
        return [number_of(record.payload) for record in records]

    def take(self, digest):
        self.numbers += digest
        self.segments += 1

    def finish(self):
        self.finished.set()


async def test_what_is_there_at_the_start_is_shown_beside_everything_else(folder):
    async with spool(folder, segment_bytes=200) as subject:
        for number in range(12):
            await subject.append([entry(number)])
        first = await subject.read(1)
        await subject.advance(first[-1].sequence + 1)
    surveyor = Surveyor()
    async with Spool(folder, spool_settings(segment_bytes=200), surveyor=surveyor) as again:
        assert again.stats().records == 11
        await again.append([entry(12)])  # not from before
        await surveyor.finished.wait()
        assert surveyor.numbers == list(range(1, 12))
        assert surveyor.segments > 3
        assert await drained(again) == list(range(1, 13))


async def test_an_empty_spool_has_nothing_to_show(folder):
    surveyor = Surveyor()
    async with Spool(folder, spool_settings(), surveyor=surveyor):
        await surveyor.finished.wait()
        assert surveyor.numbers == []
    async with Spool(folder, spool_settings(), surveyor=Surveyor()):
        pass  # stopped before it was shown


async def test_a_segment_that_cannot_be_read_leaves_the_showing_unfinished(folder, monkeypatch):
    async with spool(folder) as subject:
        await subject.append([entry(1)])
    surveyor = Surveyor()

    def broken(self, path, digest):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("gnn_service.db.spool.SpoolLog.survey", broken)
    async with Spool(folder, spool_settings(), surveyor=surveyor) as again:
        assert await drained(again) == [1]
        assert not surveyor.finished.is_set()


async def test_a_start_on_many_segments_looks_through_two_of_them(folder, monkeypatch):
    async with spool(folder, segment_bytes=1) as subject:
        for number in range(20):
            await subject.append([entry(number)])
    looked = []
    original = spool_recovery._look_through

    def looking(path, *rest, **named):
        looked.append(path)
        original(path, *rest, **named)

    monkeypatch.setattr(spool_recovery, "_look_through", looking)
    async with spool(folder, segment_bytes=1) as again:
        assert len(looked) == 2
        assert again.stats().records == 20
        assert await drained(again) == list(range(20))
