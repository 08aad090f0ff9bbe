"""The service behind a real socket: what HTTP clients see of limits, neighbours, and the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.api.app import create_app
from gnn_service.cli.serve import running_service
from gnn_service.client import Client
from gnn_service.core.config import Settings, load_settings
from gnn_service.core.errors import BodyTooLargeError, ConfigurationError, OverloadedError, UnknownMachineError
from gnn_service.domain.shipped import RIG
from tests.support.problems import told

Served = Callable[..., AbstractAsyncContextManager[str]]


async def raw(url: str, request: bytes) -> bytes:
    """All that the service answers to these bytes until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(20):
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


async def get(url: str, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        return await http.get(path)


async def test_twenty_megabytes_are_refused_and_disturb_nobody(served: Served, body: Any):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 100_000

    async with served() as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        large = [http.post("/v1/diagnose", content=b" " * 20_000_000), http.post("/v1/diagnose", content=chunks())]
        small = [http.post("/v1/diagnose", json=body) for _ in range(20)]
        answers = await asyncio.gather(*large, *small)
    assert [told(answer) for answer in answers[:2]] == [(413, "body-too-large")] * 2
    assert [answer.status_code for answer in answers[2:]] == [200] * 20


async def test_the_client_raises_what_the_service_raised(served: Served, body: Any):
    async with served(body_max_bytes=2048) as url, Client(url) as client:
        await client.wait_ready(within_s=20)
        assert (await client.diagnose(RIG, body["window"])).machine == RIG
        with pytest.raises(UnknownMachineError, match=RIG):
            await client.diagnose("press-7", body["window"])
        with pytest.raises(BodyTooLargeError):
            await client.diagnose(RIG, {**body["window"], "readings": {"PS1": [1.0] * 1000}})
        baseline = await client.commission(RIG, [body["window"]])
        assert (await client.diagnose(RIG, body["window"], baseline)).commissioned


@pytest.mark.parametrize("begun", [b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_that_never_sends_a_whole_head_is_closed(begun: bytes, served: Served):
    async with served(body_timeout_s=0.5) as url:
        assert await raw(url, begun) == b""
        assert (await get(url, "/health/live")).status_code == httpx2.codes.OK


async def test_the_next_head_of_a_connection_has_a_limit_of_its_own(served: Served):
    whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(body_timeout_s=0.2) as url:
        answered = await raw(url, whole + whole + b"GET /health/li")
    assert answered.count(b"HTTP/1.1 200 OK") == 2


async def test_a_head_without_end_is_refused(served: Served):
    async with served() as url:
        answered = await raw(url, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert answered.startswith(b"HTTP/1.1 400")
        assert (await get(url, "/health/live")).status_code == httpx2.codes.OK


async def test_a_whole_head_may_wait_long_for_its_answer(served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with served(body_timeout_s=0.1) as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        call = asyncio.create_task(http.post("/v1/diagnose", json=body))
        await asyncio.sleep(0.3)
        diagnoser.gate.set()
        assert (await call).status_code == httpx2.codes.OK


async def test_a_caller_who_hangs_up_is_cancelled_and_the_next_is_served(served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with served() as url, httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        calls = [asyncio.create_task(http.post("/v1/diagnose", json=body)) for _ in range(2)]
        async with asyncio.timeout(20):
            while len(diagnoser.asked) < 2:  # noqa: ASYNC110 - the double has no event for it
                await asyncio.sleep(0.01)
            calls[0].cancel()
            while not diagnoser.cancelled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        diagnoser.gate.set()
        assert (await calls[1]).status_code == 200
    assert diagnoser.cancelled == 1


async def test_a_slow_body_is_answered_and_the_connection_closed(served: Served):
    head = b"POST /v1/diagnose HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    async with served(body_timeout_s=0.1, keep_alive_s=60) as url:
        answered = await raw(url, head)
    assert answered.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answered.lower()
    assert b"urn:gnn-service:problem:slow-body" in answered


async def test_a_body_cut_off_in_the_middle_hurts_nobody(served: Served, body: Any, diagnoser: Any):
    content = orjson.dumps(body)
    head = f"POST /v1/diagnose HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n".encode()
    async with served() as url, Client(url) as client:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + content[:50])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await client.diagnose(RIG, body["window"])).machine == RIG
    assert len(diagnoser.asked) == 1


async def test_connections_over_the_limit_are_refused_and_those_under_it_are_not(served: Served):
    async with served(connections_max=1) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as first:
        assert (await first.get("/health/live")).status_code == 200
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as second:
            refused = await second.get("/health/live")
            assert (await first.get("/health/live")).status_code == 200
        assert told(refused) == (503, "overloaded")
        assert refused.json()["status"] == 503
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        counted = (await first.get("/metrics")).text
    assert 'gnn_problems_total{code="overloaded"} 1.0' in counted
    assert 'gnn_http_requests_total{method="GET",route="unmatched",status="503"} 1.0' in counted


async def test_a_refused_connection_is_closed_and_its_place_is_free_again(served: Served):
    whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(connections_max=1) as url:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as first:
            assert (await first.get("/health/live")).status_code == 200
            assert (await raw(url, whole)).startswith(b"HTTP/1.1 503")
        answered = await raw(url, whole.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answered.startswith(b"HTTP/1.1 200")


async def test_a_body_that_follows_a_refusal_hurts_nobody(served: Served, body: Any):
    async with served(connections_max=1) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as first:
        assert (await first.get("/health/live")).status_code == 200
        async with Client(url, attempts=1) as second:
            with pytest.raises(OverloadedError, match="more connections than 1; try again"):
                await second.diagnose(RIG, body["window"])
        assert (await first.post("/v1/diagnose", json=body)).status_code == 200


async def test_what_has_begun_is_finished_when_the_service_stops(served: Served, body: Any, diagnoser: Any):
    diagnoser.gate = asyncio.Event()
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        async with served() as url:
            call = asyncio.create_task(http.post(f"{url}/v1/diagnose", json=body))
            async with asyncio.timeout(20):
                while not diagnoser.asked:  # noqa: ASYNC110 - the double has no event for it
                    await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.2, diagnoser.gate.set)
        assert (await call).status_code == 200
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"{url}/health/live")


async def test_a_port_that_is_taken_is_one_clear_error(served: Served):
    async with served() as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError, match=f"port {port}: Address already in use; choose"):
            async with served(port=port):
                pass


async def test_an_error_while_opening_the_model_reaches_whoever_starts_the_service():
    @asynccontextmanager
    async def broken(settings: Settings) -> AsyncIterator[Any]:
        if settings.model.bundle is None:
            raise ConfigurationError("no such bundle")
        yield

    settings = load_settings(api={"port": 0})
    with pytest.raises(ConfigurationError, match="no such bundle"):
        async with running_service(settings, create_app(settings, diagnoser_factory=broken)):
            pass


@pytest.mark.parametrize("sent", [0, 7], ids=["without a body", "with a part of it"])
async def test_who_has_not_sent_all_is_refused_at_once_when_the_service_stops(served: Served, body: Any, sent: int):
    content = orjson.dumps(body)
    head = b"POST /v1/diagnose HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content)
    async with asyncio.timeout(8):  # of the 15 s that open requests have
        async with served() as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head + content[:sent])
            await writer.drain()
            await get(url, "/health/live")  # what came before this has been seen
        answered = await reader.read()
    writer.close()
    assert answered.startswith(b"HTTP/1.1 503 ")
    assert b"engine-stopped" in answered
    assert b"connection: close" in answered
