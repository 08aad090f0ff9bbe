"""A bounded number of windows is inside, and each has its time from its arrival: through the lane and behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from gnn_service.api.deps import find_machine
from gnn_service.api.door import Door
from gnn_service.api.routes import diagnose
from gnn_service.core.errors import OverloadedError
from tests.support.problems import told

Served = Callable[..., AbstractAsyncContextManager[str]]
PLACES = 6
SMALL = {"queue_max": 4, "batch_max": 2}

both = pytest.mark.parametrize("lane", [True, False], ids=["lane", "application"])


@asynccontextmanager
async def client(served: Served, lane: bool, **inference: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        served(hot_lane_enabled=lane, inference=inference) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        yield http


async def seen(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


def test_a_place_is_free_again_however_its_holder_left():
    door = Door(1)
    for error in (None, ValueError, asyncio.CancelledError):
        try:
            with door.place():
                assert door.inside == 1
                with pytest.raises(OverloadedError, match="1 windows are being diagnosed already"), door.place():
                    pytest.fail("there was a place")
                if error is not None:
                    raise error
        except (ValueError, asyncio.CancelledError):
            pass
        assert door.inside == 0


def test_whoever_is_refused_is_told_how_long_the_last_one_took(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("gnn_service.api.door.time", SimpleNamespace(monotonic=lambda: now[0]))
    door = Door(1)
    waits = []
    for stay_s in (7.5, 0.2, 0.0):
        with door.place():
            with pytest.raises(OverloadedError) as refused, door.place():
                pytest.fail("there was a place")
            waits.append(refused.value.retry_after_s)
            now[0] += stay_s
    assert waits == [1.0, 7.5, 1.0]


@both
async def test_one_too_many_is_refused_before_it_is_read(
    lane: bool, served: Served, body: Any, diagnoser: Any, monkeypatch: pytest.MonkeyPatch
):
    read: list[object] = []

    def noting(*given: Any) -> Any:
        read.append(given)
        return find_machine(*given)

    monkeypatch.setattr(diagnose, "find_machine", noting)
    diagnoser.gate = asyncio.Event()
    async with client(served, lane, **SMALL) as http:
        inside = [asyncio.create_task(http.post("/v1/diagnose", json=body)) for _ in range(PLACES)]
        await seen(lambda: len(diagnoser.asked) == PLACES)
        refused = [await http.post("/v1/diagnose", json=body) for _ in range(3)]
        spoilt = await http.post("/v1/diagnose", content=b"{", headers={"content-type": "application/json"})
        diagnoser.gate.set()
        assert [(await each).status_code for each in inside] == [200] * PLACES
        assert len(read) == PLACES
        assert (await http.post("/v1/diagnose", json=body)).status_code == 200
    for answer in (*refused, spoilt):
        assert told(answer) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"


@both
async def test_places_of_those_who_left_or_failed_are_free(lane: bool, served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with client(served, lane, **SMALL) as http:
        leaving = [asyncio.create_task(http.post("/v1/diagnose", json=body)) for _ in range(PLACES)]
        await seen(lambda: len(diagnoser.asked) == PLACES)
        for task in leaving:
            task.cancel()
        await seen(lambda: diagnoser.cancelled == PLACES)
        diagnoser.gate = None
        diagnoser.error = OverloadedError("the engine is full")
        for _ in range(PLACES):
            assert (await http.post("/v1/diagnose", json=body)).status_code == 503
            assert (await http.post("/v1/diagnose", json={})).status_code == 422
        diagnoser.error = None
        answers = await asyncio.gather(*(http.post("/v1/diagnose", json=body) for _ in range(PLACES)))
    assert [answer.status_code for answer in answers] == [200] * PLACES


@both
async def test_the_time_of_a_request_runs_while_it_is_read(
    lane: bool, served: Served, body: Any, diagnoser: Any, monkeypatch: pytest.MonkeyPatch
):
    def slowly(*given: Any) -> Any:
        time.sleep(0.3)
        return find_machine(*given)

    monkeypatch.setattr(diagnose, "find_machine", slowly)
    async with client(served, lane, request_timeout_s=20.0) as http:
        assert (await http.post("/v1/diagnose", json=body)).status_code == 200
    assert diagnoser.limits_s[0] <= 19.7


@both
async def test_a_window_that_was_read_too_late_is_not_diagnosed(
    lane: bool, served: Served, body: Any, diagnoser: Any, monkeypatch: pytest.MonkeyPatch
):
    def slowly(*given: Any) -> Any:
        time.sleep(0.4)
        return find_machine(*given)

    monkeypatch.setattr(diagnose, "find_machine", slowly)
    async with client(served, lane, request_timeout_s=0.2, batch_wait_ms=1) as http:
        answer = await http.post("/v1/diagnose", json=body)
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("there was no answer within 0.2 s")
    assert diagnoser.asked == []


@both
async def test_the_time_that_is_told_is_that_of_the_setting(
    lane: bool, served: Served, body: Any, diagnoser: Any, monkeypatch: pytest.MonkeyPatch
):
    diagnoser.gate = asyncio.Event()  # and the double keeps no deadline
    for module in ("hot_diagnose", "routes.diagnose"):
        monkeypatch.setattr(f"gnn_service.api.{module}.GRACE_S", 0.3)
    async with client(served, lane, request_timeout_s=0.2, batch_wait_ms=1) as http:
        answer = await http.post("/v1/diagnose", json=body)
    assert told(answer) == (504, "deadline-exceeded")
    assert answer.json()["detail"].startswith("there was no answer within 0.2 s")
