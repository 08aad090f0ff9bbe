"""Baselines are learnt behind a door and on threads of their own: however many are asked for, diagnoses go on."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.api import windows
from gnn_service.api.app import LEARNING_REQUESTS
from gnn_service.api.routes import diagnose
from gnn_service.domain.shipped import RIG
from tests.support.problems import told

MANY = 60
"""More than the event loop's own executor has threads."""


def of(body: Any, count: int = 1) -> Any:
    return {"machine": RIG, "windows": [body["window"]] * count}


class Stuck:
    """Holds whoever reads the windows of a commissioning until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.threads: list[str] = []
        read = windows.to_window

        def to_window(window: Any, machine: Any, where: str) -> Any:
            if where.startswith("windows["):
                self.threads.append(threading.current_thread().name)
                assert self.free.wait(40)
            return read(window, machine, where)

        monkeypatch.setattr(diagnose, "to_window", to_window)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(monkeypatch)


async def test_beyond_the_places_they_are_refused_at_once_and_diagnoses_go_on(
    http: httpx2.AsyncClient, body: Any, stuck: Stuck
):
    calls = [asyncio.create_task(http.post("/v1/commission", json=of(body))) for _ in range(MANY)]
    try:
        async with asyncio.timeout(20):
            assert (await http.post("/v1/diagnose", json=body)).status_code == 200
            while sum(call.done() for call in calls) < MANY - LEARNING_REQUESTS:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.01)
            assert (await http.post("/v1/diagnose", json=body)).status_code == 200
        refused = [await call for call in calls if call.done()]
    finally:
        stuck.free.set()
    answers = [await call for call in calls]
    assert len(refused) == MANY - LEARNING_REQUESTS
    for answer in refused:
        assert told(answer) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert f"{LEARNING_REQUESTS} baselines are being learnt already" in answer.json()["detail"]
    assert sorted(answer.status_code for answer in answers)[:LEARNING_REQUESTS] == [200] * LEARNING_REQUESTS
    assert all(name.startswith("commission") for name in stuck.threads)
    assert (await http.post("/v1/commission", json=of(body))).status_code == 200


async def test_a_body_is_not_received_where_there_is_no_place(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    inside = [asyncio.create_task(http.post("/v1/commission", json=of(body))) for _ in range(LEARNING_REQUESTS)]
    async with asyncio.timeout(20):
        while len(diagnoser.asked) < LEARNING_REQUESTS:  # noqa: ASYNC110 - the double has no event for it
            await asyncio.sleep(0.01)
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        sent += 1
        yield orjson.dumps(of(body))

    refused = await http.post("/v1/commission", content=parts())
    assert told(refused) == (503, "overloaded")
    assert sent == 0
    diagnoser.gate.set()
    assert [(await call).status_code for call in inside] == [200] * LEARNING_REQUESTS


async def test_whoever_only_sends_holds_no_place(http: httpx2.AsyncClient, body: Any):
    begun = 0

    async def stalls() -> AsyncIterator[bytes]:
        nonlocal begun
        yield b"{"
        begun += 1
        await asyncio.Event().wait()

    senders = [asyncio.create_task(http.post("/v1/commission", content=stalls())) for _ in range(LEARNING_REQUESTS)]
    async with asyncio.timeout(20):
        while begun < LEARNING_REQUESTS:  # noqa: ASYNC110 - the generators have no event for it
            await asyncio.sleep(0.01)
    assert (await http.post("/v1/commission", json=of(body))).status_code == 200
    for sender in senders:
        sender.cancel()


async def test_too_many_windows_are_counted_before_any_is_looked_at(
    http: httpx2.AsyncClient, body: Any, monkeypatch: pytest.MonkeyPatch
):
    looked: list[Any] = []
    monkeypatch.setattr(diagnose, "validate", lambda *given: looked.append(given))
    answer = await http.post("/v1/commission", json={"machine": RIG, "windows": [{}] * 257})
    assert told(answer) == (422, "invalid-input")
    assert answer.json()["where"] == "windows"
    assert looked == []
    assert (await http.post("/v1/diagnose", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "content", "problem"),
    [
        ({"content-type": "text/csv"}, b"a,b", (415, "unsupported-media-type")),
        ({"content-encoding": "gzip"}, b"{}", (415, "unsupported-media-type")),
        ({}, b"", (400, "malformed-body")),
        ({}, b"{", (400, "malformed-body")),
        ({}, b"[]", (422, "invalid-input")),
        ({}, b"1", (422, "invalid-input")),
        ({}, b'{"machine":"x","windows":7}', (422, "invalid-input")),
    ],
)
async def test_a_body_that_is_none_is_a_problem_and_leaves_its_place(
    headers: dict[str, str], content: bytes, problem: tuple[int, str], http: httpx2.AsyncClient, body: Any
):
    for _ in range(LEARNING_REQUESTS + 1):
        assert told(await http.post("/v1/commission", content=content, headers=headers)) == problem
    assert (await http.post("/v1/commission", json=of(body))).status_code == 200
