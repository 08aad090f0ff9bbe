"""Readings in: where they go, in which order, what is acknowledged, and what failures change."""

import asyncio

import pytest

from gnn_service.core.errors import (
    DeadlineExceededError,
    InvalidInputError,
    OverloadedError,
    SpoolFailedError,
    SpoolFullError,
    UnavailableError,
)
from gnn_service.db import spool_files
from gnn_service.db.frame_writing import Stored
from gnn_service.db.stats import DatabaseState
from gnn_service.monitoring.ingest import Kept
from tests.support.flaky_store import FlakyStore, block
from tests.support.inference import until
from tests.support.intake import intake


@pytest.fixture
def store():
    return FlakyStore()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def back(store, subject):
    store.mode = "up"
    subject.drain.database_changed(DatabaseState.HEALTHY)


async def emptied(subject):
    await until(lambda: subject.spool.empty and not len(subject.ingest._ticks))


async def test_readings_go_to_the_database_and_into_memory(folder, store):
    async with intake(folder, store) as subject:
        receipt = await subject.ingest.submit([block([1, 2], 1.0), block([1], 2.0, group=2)])
        assert receipt.kept is Kept.STORED
        assert receipt.counts == Stored(stored=3)
        assert store.values() == {1: 1.0, 2: 1.0}
        assert subject.newest.until_us(1) == block([2], 0).times[0]
        assert subject.spool.empty
        assert (await subject.ingest.submit([])).kept is Kept.STORED
        assert subject.ingest.stats().stored_frames_total == 3


async def test_what_comes_together_is_one_commit_and_everybody_hears_of_their_own(folder, store):
    async with intake(folder, store, commit_wait_ms=30.0) as subject:
        receipts = await asyncio.gather(
            *(subject.ingest.submit([block(range(n), 1.0, machine=n)]) for n in range(1, 9))
        )
        assert store.calls == 1
        assert [receipt.counts.stored for receipt in receipts] == list(range(1, 9))


async def test_two_corrections_of_one_tick_that_come_together_are_written_in_the_order_of_arrival(folder, store):
    async with intake(folder, store, commit_wait_ms=30.0) as subject:
        wide, narrow = block([1, 2, 3], 2.0), block([3], 1.0)
        await asyncio.gather(subject.ingest.submit([narrow]), subject.ingest.submit([wide]))
        assert store.values() == {1: 2.0, 2: 2.0, 3: 2.0}


@pytest.mark.parametrize("mode", ["down", "lost", "half", "hung"])
async def test_while_the_database_is_away_readings_are_spooled_and_drained_when_it_is_back(folder, store, mode):
    async with intake(folder, store) as subject:
        store.mode = mode
        for tick in range(20):
            receipt = await subject.ingest.submit([block([tick], float(tick)), block([tick], 0.5, machine=2)])
            assert receipt.kept is Kept.SPOOLED
        assert subject.ingest.stats().spooled_frames_total == 40
        assert subject.newest.until_us(1) == block([19], 0).times[0]
        back(store, subject)
        store.released.set()
        await emptied(subject)
        assert store.values() == {tick: float(tick) for tick in range(20)}
        assert (await subject.ingest.submit([block([20], 20.0)])).kept is Kept.STORED


async def test_a_hung_database_is_waited_for_once(folder, store):
    async with intake(folder, store, store_timeout_s=0.2) as subject:
        store.mode = "hung"
        async with asyncio.timeout(5):
            await subject.ingest.submit([block([1], 1.0)])
        calls = store.calls
        async with asyncio.timeout(0.15):  # less than the database would be waited for
            await subject.ingest.submit([block([2], 1.0)])
        assert store.calls <= calls + 1  # the drain's own


async def test_the_drain_comes_back_without_being_told(folder, store):
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block([1], 1.0)])
        store.mode = "up"
        await emptied(subject)
        assert store.values() == {1: 1.0}


async def test_beside_a_long_drain_new_readings_go_straight_to_the_database(folder, store):
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block(range(10), 1.0)])
        subject.drain.succeeded()  # the database was seen to be back; the drain waits still
        await subject.drain.stop()
        store.mode = "up"
        assert (await subject.ingest.submit([block([10], 2.0)])).kept is Kept.STORED
        subject.drain.start()
        await emptied(subject)
        assert store.values() == {tick: 2.0 if tick == 10 else 1.0 for tick in range(11)}


@pytest.mark.parametrize("large", [True, False])
async def test_a_correction_of_a_tick_that_waits_in_the_spool_is_never_overtaken_by_it(
    folder, store, monkeypatch, large
):
    if large:
        monkeypatch.setattr("gnn_service.monitoring.ingest.SETTLE_BYTES", 0)
    monkeypatch.setattr("gnn_service.monitoring.ingest.SETTLE_S", 0.05)
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block([5], 1.0)])
        await subject.drain.stop()  # the old value waits
        store.mode = "up"
        subject.drain.succeeded()
        assert (await subject.ingest.submit([block([5], 2.0)])).kept is Kept.SPOOLED
        assert (await subject.ingest.submit([block([6], 2.0)])).kept is Kept.STORED
        subject.drain.start()
        await emptied(subject)
        assert store.values() == {5: 2.0, 6: 2.0}


async def test_after_a_restart_what_waits_is_known(folder, store):
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block([5], 1.0)])
    async with intake(folder, store) as subject:
        assert subject.ingest._ticks.overlap([block([5], 2.0)])
        store.mode = "up"
        await subject.ingest.submit([block([5], 2.0)])
        await emptied(subject)
        assert store.values() == {5: 2.0}


async def test_readings_of_a_short_spool_wait_for_it_and_go_to_the_database(folder, store):
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block([5], 1.0)])
        store.mode = "up"
        subject.drain.succeeded()
        assert (await subject.ingest.submit([block([5], 2.0)])).kept is Kept.STORED
        assert [value for _, tick, value in store.writes if tick == 5] == [1.0, 2.0]


async def test_what_the_database_refuses_is_refused_and_its_neighbours_are_stored(folder, store):
    store.poison = 666.0
    async with intake(folder, store, commit_wait_ms=30.0) as subject:
        done = await asyncio.gather(
            *(subject.ingest.submit([block([n], 666.0 if n == 3 else 1.0)]) for n in range(6)), return_exceptions=True
        )
        assert isinstance(done[3], InvalidInputError)
        assert [receipt.kept for n, receipt in enumerate(done) if n != 3] == [Kept.STORED] * 5
        assert set(store.values()) == {0, 1, 2, 4, 5}
        assert subject.ingest.stats().refused_total == 1


async def test_a_spooled_record_that_the_database_refuses_is_set_aside_and_the_others_are_drained(folder, store):
    async with intake(folder, store) as subject:
        store.mode = "down"
        for tick in range(4):
            await subject.ingest.submit([block([tick], 666.0 if tick == 2 else 1.0, machine=tick)])
        store.poison = 666.0
        back(store, subject)
        await emptied(subject)
        assert sorted({machine for machine, _, _ in store.writes}) == [0, 1, 3]
        assert (subject.drain.stats().rejected_total, subject.drain.stats().drained_total) == (1, 3)
        assert len(list((folder / "rejected").iterdir())) == 1


async def test_an_error_without_a_name_is_doubted_before_a_record_is_set_aside(folder, store, monkeypatch):
    async with intake(folder, store) as subject:
        store.mode = "down"
        await subject.ingest.submit([block([1], 1.0)])

        async def broken(blocks):
            store.calls += 1
            raise ZeroDivisionError

        calls = store.calls
        monkeypatch.setattr(store, "store", broken)
        for _ in range(6):
            subject.drain.database_changed(DatabaseState.HEALTHY)
            await asyncio.sleep(0.05)
        await emptied(subject)
        assert store.calls - calls >= 5
        assert subject.drain.stats().rejected_total == 1


async def test_a_full_spool_is_told_and_nothing_acknowledged_is_lost(folder, store):
    async with intake(folder, store, spool={"bytes_max": 1000}) as subject:
        store.mode = "down"
        kept = []
        refused = 0
        for tick in range(30):
            try:
                await subject.ingest.submit([block([tick], 1.0)])
                kept.append(tick)
            except SpoolFullError as full:
                refused += 1
                assert full.retry_after_s == 30.0  # noqa: PT017 - how it is told
        assert refused
        assert subject.spool.stats().refused_total == refused
        back(store, subject)
        await emptied(subject)
        assert list(store.values()) == kept


async def test_a_failing_disk_while_the_database_is_away_is_told(folder, store, monkeypatch):
    async with intake(folder, store) as subject:
        store.mode = "down"

        def broken(fd):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(spool_files, "sync", broken)
            with pytest.raises(SpoolFailedError):
                await subject.ingest.submit([block([1], 1.0)])
        store.mode = "up"  # nothing waits: the database is tried again at once
        assert (await subject.ingest.submit([block([1], 2.0)])).kept is Kept.STORED
        assert store.values() == {1: 2.0}


async def test_a_caller_that_leaves_takes_nobody_along(folder, store):
    async with intake(folder, store, commit_wait_ms=20.0) as subject:
        store.delay_s = 0.05
        tasks = [asyncio.create_task(subject.ingest.submit([block([n], 1.0)])) for n in range(9)]
        await asyncio.sleep(0.005)
        tasks[2].cancel()  # while it gathers
        await until(lambda: store.calls == 1)
        tasks[5].cancel()  # while it is stored
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, outcome in enumerate(done) if isinstance(outcome, asyncio.CancelledError)] == [2, 5]
        assert set(store.values()) == {0, 1, 3, 4, 5, 6, 7, 8}


async def test_too_much_is_refused_at_once(folder, store):
    async with intake(folder, store, queue_values_max=10, commit_values_max=10, store_timeout_s=0.5) as subject:
        store.mode = "hung"
        first = asyncio.create_task(subject.ingest.submit([block(range(4), 1.0)]))
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await subject.ingest.submit([block(range(4), 1.0)])
        first.cancel()


async def test_an_answer_comes_in_time_or_an_error(folder, store):
    async with intake(folder, store, timeout_s=0.1, store_timeout_s=0.5) as subject:
        store.mode = "hung"
        with pytest.raises(DeadlineExceededError, match=r"not kept in 0\.1 s"):
            await subject.ingest.submit([block([1], 1.0)])
        store.mode = "up"
        store.released.set()


async def test_a_stop_finishes_what_waits_and_refuses_what_comes(folder, store):
    async with intake(folder, store, commit_wait_ms=500.0) as subject:
        tasks = [asyncio.create_task(subject.ingest.submit([block([n], 1.0)])) for n in range(5)]
        await asyncio.sleep(0.01)
        await subject.ingest.stop()
        assert {receipt.kept for receipt in await asyncio.gather(*tasks)} == {Kept.STORED}
        with pytest.raises(UnavailableError):
            await subject.ingest.submit([block([9], 1.0)])


async def test_a_stop_with_the_database_away_spools_what_waits(folder, store):
    async with intake(folder, store, commit_wait_ms=500.0) as subject:
        store.mode = "hung"
        task = asyncio.create_task(subject.ingest.submit([block([1], 1.0)]))
        await asyncio.sleep(0.01)
    assert (await task).kept is Kept.SPOOLED
    store.mode = "up"
    async with intake(folder, store) as subject:
        await emptied(subject)
        assert store.values() == {1: 1.0}
