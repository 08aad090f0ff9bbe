"""`POST /v1/diagnose` and `/v1/commission`: what reaches the diagnoser, and what comes back."""

import asyncio
import threading
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from gnn_service.api.routes import diagnose
from gnn_service.core.config import load_settings
from gnn_service.core.errors import (
    BreakerOpenError,
    DeadlineExceededError,
    EngineFailedError,
    InvalidInputError,
    OverloadedError,
)
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.shipped import RIG, shipped_machine

JANUARY = 1769846400.0  # 2026-01-31T08:00:00Z


async def test_a_window_is_diagnosed_and_the_answer_is_a_diagnosis(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    answer = await http.post("/v1/diagnose", json=body)
    assert answer.status_code == 200
    diagnosis = Diagnosis.model_validate_json(answer.content)
    assert diagnosis.machine == RIG
    assert [c.component for c in diagnosis.components] == list(shipped_machine(RIG).component_ids)
    machine, window, baseline = diagnoser.asked[0]
    assert machine == shipped_machine(RIG)
    assert baseline is None
    assert window.sensors == ("PS1", "FS1")
    np.testing.assert_array_equal(window.values, np.array([[191.4, np.nan, 151.2], [7.7, 7.6, 7.5]], np.float32))
    np.testing.assert_array_equal(window.times, JANUARY + np.arange(3.0))
    assert window.phase_s is None
    assert window.cycle is None


async def test_cycle_phase_and_state_are_handed_on(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    body["window"] |= {"cycle": 12, "phase_s": 2.5, "operating_state": "relief"}
    answer = await http.post("/v1/diagnose", json=body)
    window = diagnoser.asked[0][1]
    assert (window.cycle, window.phase_s, window.operating_state) == (12, 2.5, "relief")
    assert answer.json()["cycle"] == 12


@pytest.mark.parametrize(
    "grid, expected",
    [
        ({"start": "2026-01-31T09:00:00+01:00", "rate_hz": 2}, [JANUARY, JANUARY + 0.5, JANUARY + 1]),
        ({"start": "2026-01-31T08:00:00Z", "times": [0, 1, 3.5]}, [JANUARY, JANUARY + 1, JANUARY + 3.5]),
        ({"times": [JANUARY, JANUARY + 1, JANUARY + 2]}, [JANUARY, JANUARY + 1, JANUARY + 2]),
        (
            {"times": ["2026-01-31T08:00:00Z", "2026-01-31T08:00:01Z", "2026-01-31T08:00:02.25Z"]},
            [JANUARY, JANUARY + 1, JANUARY + 2.25],
        ),
    ],
)
async def test_times_come_from_a_rate_from_seconds_or_from_iso_times(
    grid: Any, expected: list[float], http: httpx2.AsyncClient, body: Any, diagnoser: Any
):
    body["window"] = {"readings": body["window"]["readings"], **grid}
    assert (await http.post("/v1/diagnose", json=body)).status_code == 200
    np.testing.assert_array_equal(diagnoser.asked[0][1].times, expected)


async def test_readings_in_other_units_are_converted(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    body["window"]["readings"] = {"PS1": [19.0, None], "TS1": [122.0, 32.0]}
    body["window"]["units"] = {"PS1": "MPa", "TS1": "degF"}
    assert (await http.post("/v1/diagnose", json=body)).status_code == 200
    values = diagnoser.asked[0][1].values
    np.testing.assert_allclose(values, [[190.0, np.nan], [50.0, 0.0]], atol=1e-4)


async def test_a_machine_may_be_described_instead_of_named(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    machine = shipped_machine(RIG).model_copy(update={"id": "my-rig"})
    body["machine"] = machine.model_dump(mode="json")
    answer = await http.post("/v1/diagnose", json=body)
    assert answer.json()["machine"] == "my-rig"
    assert diagnoser.asked[0][0] == machine


async def test_a_baseline_from_commissioning_is_taken_back(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    made = await http.post("/v1/commission", json={"machine": RIG, "windows": [body["window"]] * 4})
    assert made.status_code == 200
    assert made.json()["block"] == "state_detection"
    assert made.json()["machine"] == RIG
    assert len(diagnoser.asked) == 4
    answer = await http.post("/v1/diagnose", json={**body, "baseline": made.json()["baseline"]})
    assert answer.json()["commissioned"] is True
    assert diagnoser.asked[-1][2].windows == 4


async def test_a_baseline_of_another_machine_is_refused(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    made = await http.post("/v1/commission", json={"machine": RIG, "windows": [body["window"]]})
    baseline = {**made.json()["baseline"], "machine": "other"}
    answer = await http.post("/v1/diagnose", json={**body, "baseline": baseline})
    assert answer.status_code == 422
    assert answer.json()["where"] == "baseline"


@pytest.mark.parametrize(
    "error, status, code, retry",
    [
        (OverloadedError("the line is full", retry_after_s=2.2), 503, "overloaded", "3"),
        (BreakerOpenError("paused", retry_after_s=0.2), 503, "breaker-open", "1"),
        (EngineFailedError("the model failed"), 503, "engine-failed", "1"),
        (DeadlineExceededError("too late"), 504, "deadline-exceeded", None),
        (InvalidInputError("no such graph", where="machine"), 422, "invalid-input", None),
    ],
)
async def test_what_the_engine_raises_becomes_a_problem(
    error: Exception, status: int, code: str, retry: str | None, http: httpx2.AsyncClient, body: Any, diagnoser: Any
):
    diagnoser.error = error
    for path, sent in (("/v1/diagnose", body), ("/v1/commission", {"machine": RIG, "windows": [body["window"]]})):
        answer = await http.post(path, json=sent)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"urn:gnn-service:problem:{code}"
        assert answer.headers.get("retry-after") == retry


async def test_a_caller_who_leaves_is_cancelled_in_the_diagnoser(application: Any, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    gone = asyncio.Event()
    messages = [{"type": "http.request", "body": orjson.dumps(body), "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/diagnose",
        "raw_path": b"/v1/diagnose",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("service", 80),
        "client": ("caller", 1),
        "root_path": "",
    }
    call = asyncio.create_task(application(scope, receive, send))
    async with asyncio.timeout(10):
        while not diagnoser.asked:  # noqa: ASYNC110 - the double has no event for it
            await asyncio.sleep(0)
        gone.set()
        await call
    assert diagnoser.cancelled == 1
    assert sent[0]["status"] == 499


async def test_commissioning_that_takes_too_long_is_a_passed_deadline(body: Any, diagnoser: Any, serving: Any):
    diagnoser.gate = asyncio.Event()
    hasty = load_settings(inference={"request_timeout_s": 0.05, "batch_wait_ms": 1})
    async with serving(hasty) as http:
        answer = await http.post("/v1/commission", json={"machine": RIG, "windows": [body["window"]]})
    assert answer.status_code == 504
    assert diagnoser.cancelled == 1


async def test_too_many_windows_to_commission_are_refused(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    answer = await http.post("/v1/commission", json={"machine": RIG, "windows": [body["window"]] * 257})
    assert answer.status_code == 422
    assert answer.json()["where"] == "windows"
    assert diagnoser.asked == []


@pytest.mark.parametrize("given", [RIG, shipped_machine(RIG).model_dump(mode="json")], ids=["by id", "described"])
async def test_machine_and_window_are_read_off_the_event_loop(
    given: Any, http: httpx2.AsyncClient, body: Any, monkeypatch: pytest.MonkeyPatch
):
    threads = []

    def noting(function: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            threads.append(threading.current_thread())
            return function(*arguments)

        return noted

    for name in ("find_machine", "to_window"):
        monkeypatch.setattr(diagnose, name, noting(getattr(diagnose, name)))
    assert (await http.post("/v1/diagnose", json={**body, "machine": given})).status_code == 200
    assert (
        await http.post("/v1/commission", json={"machine": given, "windows": [body["window"]] * 3})
    ).status_code == 200
    assert len(threads) == 6
    assert threading.current_thread() not in threads


async def test_reading_a_description_has_the_deadline_of_its_request(
    serving: Any, body: Any, monkeypatch: pytest.MonkeyPatch
):
    gate = threading.Event()
    monkeypatch.setattr(diagnose, "find_machine", lambda *_: gate.wait(20))
    monkeypatch.setattr(diagnose, "GRACE_S", 0.0)
    settings = load_settings(inference={"request_timeout_s": 0.2, "batch_wait_ms": 1})
    async with serving(settings) as http:
        answer = await http.post("/v1/diagnose", json=body)
        gate.set()
    assert answer.status_code == 504
