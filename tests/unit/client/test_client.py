"""The HTTP client: what it sends, what it makes of answers, how long and how often it tries."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from gnn_service.client import Client, SyncClient
from gnn_service.client.errors import error_of
from gnn_service.core.errors import (
    ConflictError,
    DeadlineExceededError,
    GnnServiceError,
    InvalidInputError,
    InvalidWindowError,
    OverloadedError,
    UnavailableError,
    UnknownMachineError,
)
from gnn_service.domain.diagnosis import DataQuality, Diagnosis, MachineDiagnosis, State
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.domain.window import Window

Handler = Callable[[httpx2.Request], Any]


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://service/", transport=httpx2.MockTransport(handler), **options)


def diagnosis() -> Diagnosis:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    quality = DataQuality(coverage=1.0, samples=3)
    return Diagnosis(
        machine=RIG, start=now, end=now, health=None, state=State.UNKNOWN, components=(), data_quality=quality,
        commissioned=False, bundle="b",
    )  # fmt: skip


def problem(status: int, code: str, headers: Any = None, **members: Any) -> httpx2.Response:
    body = {"type": f"urn:gnn-service:problem:{code}", "status": status, "detail": "what to do", **members}
    return httpx2.Response(status, json=body, headers=headers)


def window(values: Any = ((1.0, np.nan, 3.0),)) -> Window:
    return Window(sensors=("PS1",), values=np.array(values, np.float32), times=np.array([10.0, 11.0, 12.5]), cycle=4)


async def test_a_diagnosis_goes_out_as_json_and_comes_back_typed():
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, content=diagnosis().model_dump_json())

    async with client(answer) as service:
        answered = await service.diagnose(RIG, window(), {"format": "x"})
    assert answered == diagnosis()
    assert str(sent[0].url) == "http://service/v1/diagnose"
    assert orjson.loads(sent[0].content) == {
        "machine": RIG,
        "window": {
            "times": [10.0, 11.0, 12.5],
            "readings": {"PS1": [1.0, None, 3.0]},
            "cycle": 4,
            "phase_s": 0.0,
            "operating_state": None,
        },
        "baseline": {"format": "x"},
    }


async def test_a_described_machine_is_sent_whole():
    sent: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(orjson.loads(request.content))
        return httpx2.Response(200, json={"block": "state_detection", "machine": RIG, "baseline": {"windows": 1}})

    async with client(answer) as service:
        baseline = await service.commission(shipped_machine(RIG), [window(), {"readings": {}}])
    assert baseline == {"windows": 1}
    assert type(shipped_machine(RIG)).model_validate(sent[0]["machine"]) == shipped_machine(RIG)
    assert sent[0]["windows"][1] == {"readings": {}}


async def test_an_infinite_reading_is_not_sent_as_a_missing_one():
    async with client(lambda _: httpx2.Response(500)) as service:
        with pytest.raises(InvalidWindowError, match=r"PS1\[1\]"):
            await service.diagnose(RIG, window([[1.0, np.inf, 2.0]]))


@pytest.mark.parametrize(
    "status, code, kind",
    [
        (404, "unknown-machine", UnknownMachineError),
        (422, "invalid-window", InvalidWindowError),
        (504, "deadline-exceeded", DeadlineExceededError),
        (503, "a-code-of-a-later-version", UnavailableError),
        (418, "a-code-of-a-later-version", InvalidInputError),
        (500, "internal-error", GnnServiceError),
    ],
)
async def test_a_problem_is_raised_as_the_exception_it_was(status: int, code: str, kind: type[GnnServiceError]):
    async with client(lambda _: problem(status, code, where="window.times[3]")) as service:
        with pytest.raises(GnnServiceError) as caught:
            await service.diagnose(RIG, window())
    assert type(caught.value) is kind
    assert caught.value.detail == "what to do"
    assert caught.value.where == "window.times[3]"


async def test_an_answer_of_something_else_says_so():
    async with client(lambda _: httpx2.Response(502, text="<html>bad gateway</html>")) as service:
        with pytest.raises(GnnServiceError, match="502 without problem details"):
            await service.status()
    async with client(lambda _: httpx2.Response(200, text="hello")) as service:
        with pytest.raises(GnnServiceError, match="no JSON"):
            await service.status()
        with pytest.raises(GnnServiceError, match="cannot read"):
            await service.diagnose(RIG, window())
    async with client(lambda _: httpx2.Response(307, headers={"location": "http://elsewhere"})) as service:
        with pytest.raises(GnnServiceError, match="answered 307"):
            await service.status()


async def test_an_answer_that_is_not_packed_as_it_says_is_an_error_of_ours():
    def answer(_: httpx2.Request) -> httpx2.Response:
        stream = httpx2.ByteStream(b"this is no gzip")
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=stream)

    async with client(answer) as service:
        with pytest.raises(GnnServiceError, match="/v1/status answered what cannot be read"):
            await service.status()
        with pytest.raises(GnnServiceError, match="cannot be read"):
            await service.ready()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "localhost", "ftp://x", "http://", "http://[::1", "http://x:port"]
)
def test_what_is_no_address_is_refused_at_once(url: str):
    with pytest.raises(InvalidInputError, match="no address"):
        Client(url)
    with pytest.raises(InvalidInputError, match="such as http"):
        SyncClient(url)


class Flaky:
    """Fails so often, then answers."""

    def __init__(self, failures: int, response: httpx2.Response) -> None:
        self.calls = 0
        self._failures = failures
        self._response = response

    def __call__(self, _: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        return self._response if self.calls <= self._failures else httpx2.Response(200, json={"version": "1"})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client slept; no time passes."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float, *_: Any) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("gnn_service.client.http.asyncio.sleep", sleep)
    return slept


async def test_a_refused_call_is_repeated_when_the_service_says(pauses: list[float]):
    flaky = Flaky(2, problem(503, "overloaded", {"retry-after": "4"}))
    async with client(flaky) as service:
        assert await service.status() == {"version": "1"}
    assert flaky.calls == 3
    assert pauses == [4.0, 4.0]


async def test_a_refused_call_is_given_up_after_the_last_attempt(pauses: list[float]):
    flaky = Flaky(9, problem(503, "overloaded", {"retry-after": "4"}))
    async with client(flaky, attempts=3) as service:
        with pytest.raises(OverloadedError) as caught:
            await service.status()
    assert flaky.calls == 3
    assert caught.value.retry_after_s == 4.0


@pytest.mark.parametrize(
    "response",
    [
        problem(503, "overloaded"),
        problem(503, "overloaded", {"retry-after": "60"}),
        problem(500, "internal-error", {"retry-after": "1"}),
        problem(504, "deadline-exceeded", {"retry-after": "1"}),
        problem(422, "invalid-window", {"retry-after": "1"}),
    ],
    ids=["no Retry-After", "longer than the deadline", "500", "504", "422"],
)
async def test_other_failures_are_not_repeated(response: httpx2.Response, pauses: list[float]):
    flaky = Flaky(1, response)
    async with client(flaky, timeout_s=30) as service:
        with pytest.raises(GnnServiceError):
            await service.status()
    assert flaky.calls == 1
    assert pauses == []


async def test_a_call_ends_at_its_deadline():
    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with client(hang, timeout_s=30) as service:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=r"/v1/status did not answer within 0\.05 s"):
            await service.status(timeout_s=0.05)
        assert time.monotonic() - started < 25


async def test_nobody_there_is_unavailable():
    async with Client("http://127.0.0.1:9", timeout_s=10) as service:
        with pytest.raises(UnavailableError, match="is the service running"):
            await service.status()
        assert await service.ready() is False


async def test_waiting_for_readiness_ends_when_it_is_there_or_the_time_is_up():
    flaky = Flaky(3, problem(503, "unavailable", {"retry-after": "1"}))
    async with client(flaky) as service:
        await service.wait_ready(within_s=20, every_s=0.001)
        assert flaky.calls == 4
    async with client(lambda _: problem(503, "unavailable")) as service:
        with pytest.raises(DeadlineExceededError, match="not ready within"):
            await service.wait_ready(within_s=0.05, every_s=0.01)


async def test_waiting_for_readiness_of_something_else_fails_at_once():
    async with client(lambda _: httpx2.Response(404)) as service:
        with pytest.raises(GnnServiceError, match="is a gnn-service there"):
            await service.wait_ready(within_s=20)


@pytest.mark.parametrize("header, seconds", [("3", 3.0), ("soon", None), ("-1", None), (None, None)])
def test_retry_after_is_taken_in_seconds(header: str | None, seconds: float | None):
    headers = {} if header is None else {"retry-after": header}
    assert error_of(503, headers, b"", "http://x").retry_after_s == seconds


def test_the_blocking_client_does_the_same():
    with SyncClient("http://127.0.0.1:9", timeout_s=10, attempts=1) as service:
        assert service.ready() is False
        with pytest.raises(UnavailableError):
            service.diagnose(RIG, window())


# ---- stored machines -----------------------------------------------------------------------------


def answering(*answers: httpx2.Response) -> tuple[list[httpx2.Request], Handler]:
    """One answer after the other, and the requests that came."""
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return answers[len(sent) - 1]

    return sent, answer


async def test_a_machine_is_put_under_its_id_with_what_it_must_replace():
    sent, answer = answering(httpx2.Response(200, json={"outcome": "changed"}))
    async with client(answer) as service:
        assert (await service.put_machine(shipped_machine(RIG), expected="abc", dry_run=True))["outcome"] == "changed"
    assert str(sent[0].url) == f"http://service/v1/machines/{RIG}?dry_run=true"
    assert (sent[0].method, sent[0].headers["if-match"]) == ("PUT", '"abc"')
    assert orjson.loads(sent[0].content)["id"] == RIG


async def test_readings_go_out_as_json_or_as_the_table_that_they_are():
    sent, answer = answering(*(httpx2.Response(202, json={"kept": "spooled"}) for _ in range(2)))
    async with client(answer) as service:
        assert (await service.send_readings("a b", window()))["kept"] == "spooled"
        await service.send_readings("M1", b"ts,P1\n", media_type="text/csv")
        with pytest.raises(InvalidInputError, match="say what the bytes are"):
            await service.send_readings("M1", b"ts,P1\n")
    assert sent[0].url.raw_path == b"/v1/machines/a%20b/readings"
    assert orjson.loads(sent[0].content)["readings"] == {"PS1": [1.0, None, 3.0]}
    assert (sent[1].content, sent[1].headers["content-type"]) == (b"ts,P1\n", "text/csv")


async def test_lists_are_read_page_by_page():
    pages = [{"machines": [{"id": "A"}], "next": "A"}, {"machines": [{"id": "B"}], "next": None}]
    sent, answer = answering(*(httpx2.Response(200, json=page) for page in pages))
    async with client(answer) as service:
        assert [one["id"] async for one in service.machines(page=1)] == ["A", "B"]
    assert [request.url.params["after"] for request in sent] == ["", "A"]
    pages = [{"diagnoses": [{"n": 1}], "next": "x"}, {"diagnoses": [{"n": 2}], "next": None}]
    sent, answer = answering(*(httpx2.Response(200, json=page) for page in pages))
    async with client(answer) as service:
        begin = datetime(2026, 1, 31, tzinfo=UTC)
        assert [one["n"] async for one in service.diagnoses("M1", start=begin)] == [1, 2]
    assert sent[0].url.params["from"] == "2026-01-31T00:00:00+00:00"
    assert sent[1].url.params["before"] == "x"


async def test_a_stored_machine_is_diagnosed_read_and_deleted():
    said = MachineDiagnosis(**diagnosis().model_dump(), persisted=True)
    described = {"machine": shipped_machine(RIG).model_dump(mode="json", exclude_none=True)}
    sent, answer = answering(
        httpx2.Response(200, content=said.model_dump_json()),
        httpx2.Response(200, json=described),
        httpx2.Response(200, json={}),
        httpx2.Response(200, json={"parts": []}),
        httpx2.Response(204),
    )
    async with client(answer) as service:
        assert await service.diagnose_machine(RIG) == said
        assert await service.machine(RIG) == shipped_machine(RIG)
        await service.put_baseline(RIG, {"format": "x"})
        await service.readings(RIG, sensors=("PS1", "PS2"), every="1h")
        await service.delete_machine(RIG)
    assert [request.method for request in sent] == ["POST", "GET", "PUT", "GET", "DELETE"]
    assert dict(sent[3].url.params) == {"sensors": "PS1,PS2", "every": "1h"}


async def test_what_contradicts_what_is_stored_is_a_conflict_and_not_tried_again():
    sent, answer = answering(problem(409, "conflict"))
    async with client(answer) as service:
        with pytest.raises(ConflictError):
            await service.put_machine(shipped_machine(RIG), expected="old")
    assert len(sent) == 1
