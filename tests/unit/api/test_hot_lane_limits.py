"""Who the hot lane leaves to the application: callers that do not read, and pages of other origins."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import orjson

Served = Callable[..., AbstractAsyncContextManager[str]]
PAGE = "https://plant.example"
FAR_TOO_MANY = 4000
"""Answers of a kilobyte and more; the kernel's buffers of a connection hold some hundreds."""


async def test_a_caller_who_sends_one_by_one_and_reads_nothing_fills_no_memory(
    served: Served, body: Any, diagnoser: Any
):
    content = orjson.dumps(body)
    request = b"POST /v1/diagnose HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)
    loop = asyncio.get_running_loop()

    async def answered(count: int) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while len(diagnoser.asked) < count:  # noqa: ASYNC110 - the double has no event for it
                    await asyncio.sleep(0.001)
        return len(diagnoser.asked) >= count

    async with served() as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            caller.connect((host, int(port)))
            caller.setblocking(False)
            sent = 0
            async with asyncio.timeout(50):
                while sent < FAR_TOO_MANY and await answered(sent):
                    await loop.sock_sendall(caller, request)
                    sent += 1
                    await asyncio.sleep(0)
    assert 0 < sent < FAR_TOO_MANY, "the service went on answering into a full socket"


async def test_a_page_of_another_origin_is_answered_as_behind_the_lane(served: Served, body: Any):
    told = []
    for enabled in (True, False):
        async with (
            served(cors_origins=[PAGE], hot_lane_enabled=enabled) as url,
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            headers = {"origin": PAGE, "x-request-id": "same"}
            answer = await http.post("/v1/diagnose", json=body, headers=headers)
        told.append((answer.status_code, answer.json(), {**answer.headers, "date": ""}))
    assert told[0] == told[1]
    assert told[0][2]["access-control-allow-origin"] == PAGE
