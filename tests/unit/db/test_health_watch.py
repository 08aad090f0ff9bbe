"""The states of the database by its checks."""

import asyncio
import contextlib

import pytest

from gnn_service.core.config_database import HealthSettings
from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db.health import HealthWatch
from gnn_service.db.stats import Counters, DatabaseState

HEALTHY, DEGRADED, DOWN = DatabaseState.HEALTHY, DatabaseState.DEGRADED, DatabaseState.DOWN


class Server:
    """Answers checks as told: true, false, or an error."""

    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.checks = 0

    async def check(self) -> bool:
        self.checks += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Watched:
    def __init__(self, **settings: float) -> None:
        self.server = Server()
        self.states: list[DatabaseState] = []
        self.counters = Counters()
        self.watch = HealthWatch(
            HealthSettings(**settings),
            check=self.server.check,
            on_change=self.states.append,
            counters=self.counters,
            draw=lambda: 1.0,
        )

    async def check(self, answer: bool | Exception) -> DatabaseState:
        self.server.answer = answer
        with contextlib.suppress(ConnectionError, DatabaseRefusedError):
            await self.watch.check()
        return self.watch.state


@pytest.fixture
def watched():
    return Watched(backoff_s=0.5, backoff_max_s=2)


LOST = ConnectionError("gone")


async def test_it_is_down_until_a_check_has_succeeded(watched):
    assert watched.watch.state is DOWN
    assert await watched.check(LOST) is DOWN
    assert await watched.check(True) is HEALTHY
    assert watched.states == [HEALTHY]


async def test_one_failure_degrades_three_in_a_row_are_down_one_success_heals(watched):
    await watched.check(True)
    found = [await watched.check(answer) for answer in (LOST, True, LOST, LOST, LOST, LOST, True)]
    assert found == [DEGRADED, HEALTHY, DEGRADED, DEGRADED, DOWN, DOWN, HEALTHY]
    assert watched.states == [HEALTHY, DEGRADED, HEALTHY, DEGRADED, DOWN, HEALTHY]


async def test_a_check_that_can_say_nothing_changes_nothing(watched):
    await watched.check(True)
    await watched.check(LOST)
    assert await watched.check(False) is DEGRADED
    assert watched.watch.last_error == "gone"


async def test_it_looks_sooner_after_a_failure_and_at_ease_when_all_is_well(watched):
    await watched.check(True)
    assert watched.watch.pause_s() == 30
    pauses = []
    for _ in range(5):
        await watched.check(LOST)
        pauses.append(watched.watch.pause_s())
    assert pauses == [0.5, 1, 2, 2, 2]
    await watched.check(True)
    assert watched.watch.pause_s() == 30


async def test_a_server_that_refuses_is_not_pressed(watched):
    await watched.check(DatabaseRefusedError("wrong password"))
    assert watched.watch.pause_s() == 30


async def test_a_suspicion_is_looked_into_at_once_but_only_the_first(watched):
    await watched.check(True)
    watched.watch.start()
    try:
        await asyncio.sleep(0)
        watched.server.answer = LOST
        watched.watch.suspect()
        await asyncio.sleep(0.05)
        assert watched.server.checks == 2
        watched.watch.suspect()  # known by now: the back-off goes on
        await asyncio.sleep(0.05)
        assert watched.server.checks == 2
    finally:
        await watched.watch.stop()


async def test_a_hint_that_it_came_back_is_looked_into_at_once(watched):
    await watched.check(True)
    for _ in range(3):
        await watched.check(LOST)
    watched.watch.start()
    try:
        watched.server.answer = True
        watched.watch.look_now()
        await asyncio.sleep(0.05)
        assert watched.watch.state is HEALTHY
    finally:
        await watched.watch.stop()


async def test_checks_are_counted(watched):
    await watched.check(True)
    await watched.check(LOST)
    assert (watched.counters.checks, watched.counters.failed_checks) == (2, 1)
