"""Closed and open loops: who is asked when, what counts as an answer, and from when its latency counts."""

import asyncio

import numpy as np
import pytest

from gnn_service.bench.serve_http import Connection, request_bytes
from gnn_service.bench.serve_load import UNSENT, Load, Tally, merge, pace, run_load, split
from tests.support.canned_http import OK, Answer, always, canned

REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
REQUESTS = tuple(request_bytes("here", "/", body, {}) for body in (b"one", b"two", b"three"))


class Hand:
    """A clock that only its user moves."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.time, self.stop_after = 100.0, stop_after
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.time += seconds
        return self.stop_after is not None and len(self.waits) >= self.stop_after


def test_instants_are_even_and_none_comes_before_its_time():
    clock = Hand()
    came: list[tuple[float, float]] = []
    pace(4.0, 2.0, lambda instants: came.extend((instant, clock.now()) for instant in instants), clock.now, clock.wait)
    assert [instant for instant, _ in came] == pytest.approx([100 + k / 4 for k in range(8)])
    assert all(now >= instant - 1e-6 for instant, now in came)
    assert clock.waits == pytest.approx([0.25] * 7)


def test_whoever_is_late_gets_all_that_is_due_each_with_its_own_instant():
    clock = Hand()
    batches: list[list[float]] = []

    def slow(instants: list[float]) -> None:
        batches.append(list(instants))
        clock.time += 1.0 if len(batches) == 2 else 0.0

    pace(10.0, 2.0, slow, clock.now, clock.wait)
    assert [round(instant - 100, 6) for batch in batches for instant in batch] == [k / 10 for k in range(20)]
    assert len(batches[2]) == 10


def test_a_rate_beyond_what_the_clock_can_tell_still_gives_every_instant():
    clock = Hand()
    came: list[float] = []

    def wait(seconds: float) -> bool:
        return clock.wait(max(seconds, 0.01))

    pace(10_000.0, 0.1, came.extend, clock.now, wait)
    assert len(came) == 1000
    assert np.diff(came) == pytest.approx(1e-4)


def test_pacing_ends_when_told():
    clock = Hand(stop_after=3)
    came: list[float] = []
    pace(1.0, 1000.0, came.extend, clock.now, clock.wait)
    assert came == [100.0, 101.0, 102.0]


def test_at_least_one_request_is_due():
    clock = Hand()
    came: list[float] = []
    pace(0.1, 0.1, came.extend, clock.now, clock.wait)
    assert came == [100.0]


async def loaded(answer: Answer, **given) -> tuple[Tally, list[bytes]]:
    async with canned(answer) as (port, bodies):
        load = Load("127.0.0.1", port, REQUESTS, **{"callers": 2, "seconds": 0.2, "timeout_s": 5.0, **given})
        return await asyncio.to_thread(run_load, load), bodies


async def test_a_closed_loop_asks_in_turn_and_counts_every_answer():
    tally, bodies = await loaded(always(OK))
    assert tally.endings == {"200": len(bodies)}
    assert tally.answered == len(bodies) > 3
    assert tally.errors == 0
    assert set(bodies) == {b"one", b"two", b"three"}
    assert tally.elapsed_s >= 0.2
    assert len(tally.late_s) == 0
    assert (tally.latencies_s > 0).all()


async def test_refusals_are_errors_with_their_status_and_no_latency():
    async def every_other(number: int) -> list[bytes]:
        return [OK if number % 2 else REFUSED]

    tally, bodies = await loaded(every_other)
    assert set(tally.endings) == {"200", "503"}
    assert sum(tally.endings.values()) == len(bodies)
    assert (tally.answered, tally.errors) == (tally.endings["200"], tally.endings["503"])


@pytest.mark.parametrize("pieces, how", [([b""], "closed"), ([b"nothing of the kind\r\n\r\n"], "protocol")])
async def test_every_other_end_has_its_name(pieces: list[bytes], how: str):
    tally, _ = await loaded(always(*pieces))
    assert set(tally.endings) == {how}
    assert tally.answered == 0


async def test_a_request_that_is_not_answered_in_time_is_a_timeout():
    tally, bodies = await loaded(always(), callers=1, seconds=0.1, timeout_s=0.08)
    assert tally.endings == {"timeout": len(bodies)}


async def test_a_service_that_is_not_there_is_tried_again_and_not_hammered():
    async with canned(always(OK)) as (port, _):
        pass
    tally = await asyncio.to_thread(run_load, Load("127.0.0.1", port, REQUESTS, 1, 0.1))
    assert set(tally.endings) == {"connect"}
    assert 1 <= tally.endings["connect"] <= 11


async def test_an_open_loop_sends_what_is_due_and_no_more():
    tally, bodies = await loaded(always(OK), callers=8, seconds=0.2, rate_per_s=100.0)
    assert len(bodies) == 20
    assert tally.endings == {"200": 20}
    assert len(tally.late_s) == 20
    assert (tally.late_s >= 0).all()


async def test_latency_counts_from_when_a_request_was_due_not_from_when_it_could_be_sent():
    async def stall_once(number: int) -> list[bytes]:
        await asyncio.sleep(0.3 if number == 0 else 0)
        return [OK]

    tally, _ = await loaded(stall_once, callers=1, seconds=0.2, rate_per_s=50.0)
    assert tally.answered == 10
    due_s = np.arange(10) / 50
    assert (tally.latencies_s >= 0.3 - due_s - 0.01).all()


async def test_what_was_due_and_never_left_is_counted():
    tally, bodies = await loaded(always(), callers=1, seconds=0.1, rate_per_s=100.0, timeout_s=0.2)
    assert sum(tally.endings.values()) == 10
    assert tally.endings["timeout"] == len(bodies) <= 3
    assert tally.endings[UNSENT] == 10 - len(bodies)


async def test_whoever_still_waits_for_a_connection_in_the_end_is_counted(monkeypatch: pytest.MonkeyPatch):
    tries: list[int] = []

    async def connect(*given: object) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError
        await asyncio.Event().wait()

    monkeypatch.setattr(Connection, "connect", connect)
    load = Load("127.0.0.1", 1, REQUESTS, callers=1, seconds=0.1, rate_per_s=50.0, timeout_s=0.1)
    tally = await asyncio.to_thread(run_load, load)
    assert tally.endings == {"connect": 1, UNSENT: 4}


def test_a_load_is_shared_out_whole():
    load = Load("here", 1, REQUESTS, callers=5, seconds=1.0, rate_per_s=90.0)
    parts = split(load, 3)
    assert [part.callers for part in parts] == [2, 2, 1]
    assert sum(part.rate_per_s or 0.0 for part in parts) == pytest.approx(90)
    assert [part.callers for part in split(Load("here", 1, REQUESTS, 1, 1.0), 4)] == [1]


def test_tallies_of_several_senders_add_up():
    one = Tally(np.array([0.1, 0.2]), {"200": 2, "503": 1}, 2.0, 0.5, np.array([0.0]))
    other = Tally(np.array([0.3]), {"200": 1}, 2.5, 0.25, np.array([0.1]))
    both = merge([one, other])
    assert sorted(both.latencies_s) == [0.1, 0.2, 0.3]
    assert both.endings == {"200": 3, "503": 1}
    assert (both.elapsed_s, both.cpu_s, both.errors) == (2.5, 0.75, 1)
    assert list(both.late_s) == [0.0, 0.1]
