"""The hot lane answers what the application behind it answers, and nothing that HTTP allows confuses it."""

import asyncio
import gzip
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.core.errors import BreakerOpenError, DeadlineExceededError, EngineFailedError, OverloadedError
from gnn_service.domain.shipped import RIG

Served = Callable[..., AbstractAsyncContextManager[str]]
OWN = {"x-request-id": "given-by-the-caller"}


def request(content: bytes, *headers: bytes, path: bytes = b"/v1/diagnose") -> bytes:
    """One request as bytes."""
    head = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(content), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + content


async def talk(url: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """All that is answered to these bytes until the connection closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause_s)
    async with asyncio.timeout(20):
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


def spoilt(body: dict[str, Any]) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Requests of all kinds, good and bad: the content, and headers."""
    good = orjson.dumps(body)
    wrong = orjson.dumps({**body, "extra": 1, "window": {**body["window"], "rate_hz": "1", "cycle": 1.5}})
    return {
        "good": (good, {}),
        "of a JSON subtype": (good, {"content-type": "application/vnd.x+json; charset=utf-8"}),
        "empty": (b"", {}),
        "no JSON": (b'{"machine": ', {}),
        "not a number": (good.replace(b"191.4", b"NaN"), {}),
        "no object": (b"[]", {}),
        "text": (b'"x"', {}),
        "CSV": (b"a,b", {"content-type": "text/csv"}),
        "of no type": (b"{}", {"content-type": ""}),
        "zipped": (gzip.compress(good), {"content-encoding": "gzip"}),
        "wrong in three places": (wrong, {}),
        "unknown machine": (orjson.dumps({**body, "machine": "press-7"}), {}),
        "unknown sensor": (good.replace(b"PS1", b"PS99"), {}),
        "too large": (good + b" " * 5000, {}),
        "not UTF-8": (b'{"machine": "\xff"}', {}),
    }


def comparable(answer: httpx2.Response) -> tuple[int, Any, dict[str, str]]:
    """What two answers to the same request have in common."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    return answer.status_code, answer.json(), headers


async def answers(url: str, requests: dict[str, tuple[bytes, dict[str, str]]]) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        return {
            name: comparable(await http.post("/v1/diagnose", content=content, headers={**OWN, **headers}))
            for name, (content, headers) in requests.items()
        }


async def test_the_lane_and_the_application_answer_the_same(served: Served, body: Any):
    async with served(body_max_bytes=4096) as hot, served(body_max_bytes=4096, hot_lane_enabled=False) as plain:
        through_lane, through_application = await answers(hot, spoilt(body)), await answers(plain, spoilt(body))
    assert through_lane["good"][0] == httpx2.codes.OK
    assert {name: status for name, (status, *_) in through_lane.items() if status == httpx2.codes.OK}.keys() == {
        "good",
        "of a JSON subtype",
    }
    assert through_lane == through_application


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("full", retry_after_s=3),
        BreakerOpenError("resting", retry_after_s=7.2),
        DeadlineExceededError("late"),
        EngineFailedError("broken"),
        RuntimeError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_failures_are_told_the_same_way(error: Exception, served: Served, body: Any, diagnoser: Any):
    diagnoser.error = error
    one = {"good": spoilt(body)["good"]}
    async with served() as hot, served(hot_lane_enabled=False) as plain:
        assert await answers(hot, one) == await answers(plain, one)


async def test_both_count_the_same(served: Served, body: Any):
    counted = []
    for enabled in (True, False):
        async with served(hot_lane_enabled=enabled, body_max_bytes=4096) as url:
            await answers(url, spoilt(body))
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
                lines = (await http.get("/metrics")).text.splitlines()
        ours = ("gnn_http_requests_total{", "gnn_problems_total{", "gnn_diagnoses_total{")
        counted.append(sorted(line for line in lines if line.startswith(ours) and "/metrics" not in line))
    assert counted[0] == counted[1]
    assert any('status="422"' in line for line in counted[0])


async def test_requests_sent_before_the_answer_are_answered_in_order(served: Served, body: Any):
    cycles = range(1, 6)
    sent = [request(orjson.dumps({**body, "window": {**body["window"], "cycle": n}})) for n in cycles]
    last = request(b"", b"connection: close", path=b"/v1/nowhere")
    async with served() as url:
        answered = await talk(url, b"".join(sent) + last)
    found = [orjson.loads(part.split(b"\r\n\r\n", 1)[1])["cycle"] for part in answered.split(b"HTTP/1.1 200 OK")[1:5]]
    assert found == list(cycles)[:4]
    assert answered.count(b"HTTP/1.1 200 OK") == 5
    assert answered.count(b"HTTP/1.1 404") == 1


async def test_a_body_in_pieces_is_put_together(served: Served, body: Any):
    whole = request(orjson.dumps(body), b"connection: close")
    async with served() as url:
        answered = await talk(url, whole[:70], whole[70:200], whole[200:], pause_s=0.02)
    assert answered.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answered


async def test_a_connection_is_used_again_and_closed_when_it_rests(served: Served, body: Any):
    content = orjson.dumps(body)
    async with served(keep_alive_s=1) as url:
        answered = await talk(url, request(content), request(content), pause_s=0.1)
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert b"connection: close" not in answered


async def test_an_expected_continue_and_a_chunked_body_are_answered(served: Served, body: Any):
    content = orjson.dumps(body)
    chunked = b"POST /v1/diagnose HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    async with served() as url:
        continued = await talk(url, request(content, b"expect: 100-continue", b"connection: close"))
        in_chunks = await talk(url, chunked)
    assert continued.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert in_chunks.startswith(b"HTTP/1.1 200 OK")


async def test_a_header_that_stands_twice_counts_as_behind_the_lane(served: Served, body: Any):
    twice = request(b"{}", b"content-type: application/json", b"content-type: text/csv", b"connection: close")
    async with served() as hot, served(hot_lane_enabled=False) as plain:
        statuses = [(await talk(url, twice)).split(b"\r\n")[0] for url in (hot, plain)]
    assert statuses[0] == statuses[1]


async def test_a_caller_who_sends_and_leaves_at_once_is_cancelled(served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with served() as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(orjson.dumps(body)))
        async with asyncio.timeout(20):
            while not diagnoser.asked:  # noqa: ASYNC110 - the double has no event for it
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while not diagnoser.cancelled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert diagnoser.cancelled == 1


async def test_a_caller_who_reads_nothing_fills_no_memory(served: Served, body: Any, diagnoser: Any):
    content = orjson.dumps(body)
    async with served() as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**10)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's transport
        flood = request(content) * 200
        for _ in range(40):
            writer.write(flood)
        async with asyncio.timeout(20):
            before = -1
            while len(diagnoser.asked) != before:
                before = len(diagnoser.asked)
                await asyncio.sleep(0.5)
        assert before < 8000, "the service went on answering into a full socket"
        writer.transport.abort()
        del reader


async def test_requests_inside_are_finished_on_shutdown(served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with served() as url:
        call = asyncio.create_task(talk(url, request(orjson.dumps(body))))
        async with asyncio.timeout(20):
            while not diagnoser.asked:  # noqa: ASYNC110 - the double has no event for it
                await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.3, diagnoser.gate.set)
    answered = await call
    assert answered.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answered


async def test_an_unusable_request_id_is_replaced(served: Served, body: Any):
    content = orjson.dumps(body)
    async with served() as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        first, second = [
            (await http.post("/v1/diagnose", content=content, headers={"x-request-id": "a b"})).headers["x-request-id"]
            for _ in range(2)
        ]
    assert len(first) == len(second) == 32
    assert first != second


async def test_the_machine_is_found_through_the_lane(served: Served, body: Any, diagnoser: Any):
    async with served() as url:
        await talk(url, request(orjson.dumps(body), b"connection: close"))
    assert [machine.id for machine, *_ in diagnoser.asked] == [RIG]
