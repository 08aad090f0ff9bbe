"""The load generator's own HTTP client."""

import asyncio

import httptools
import pytest

from gnn_service.bench.serve_http import Connection, address_of, ask, ask_status, request_bytes
from gnn_service.core.errors import InvalidInputError, UnavailableError
from tests.support.canned_http import OK, always, canned

REQUEST = request_bytes("here:1", "/v1/diagnose", b"body", {"content-type": "text/plain"})
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"


async def exchange(*pieces: bytes, times: int = 1, timeout_s: float = 5.0) -> list[int]:
    async with canned(always(*pieces)) as (port, _):
        connection = Connection()
        await connection.connect("127.0.0.1", port)
        try:
            return [await connection.exchange(REQUEST, timeout_s) for _ in range(times)]
        finally:
            connection.close()


def test_a_request_is_whole_and_says_how_long_it_is():
    head, _, body = REQUEST.partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.split(b"\r\n") == [
        b"POST /v1/diagnose HTTP/1.1",
        b"host: here:1",
        b"content-length: 4",
        b"content-type: text/plain",
    ]


@pytest.mark.parametrize(
    "pieces, status",
    [
        ([OK], 200),
        ([OK[k : k + 1] for k in range(len(OK))], 200),
        ([CHUNKED], 200),
        ([CHUNKED[:60], CHUNKED[60:]], 200),
        ([REFUSED], 503),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], 200),
    ],
)
async def test_an_answer_is_known_by_its_length_or_its_chunks(pieces: list[bytes], status: int):
    assert await exchange(*pieces, times=3) == [status] * 3


async def test_a_connection_that_the_service_ends_after_an_answer_is_known_to_be_closed():
    async with canned(always(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"")) as (port, bodies):
        connection = Connection()
        for _ in range(2):
            await connection.connect("127.0.0.1", port)
            assert await connection.exchange(REQUEST, 5.0) == 200
            assert not connection.open
        assert bodies == [b"body"] * 2


@pytest.mark.parametrize("pieces", [[b""], [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b""]])
async def test_an_answer_that_breaks_off_is_a_closed_connection(pieces: list[bytes]):
    with pytest.raises(ConnectionResetError):
        await exchange(*pieces)


async def test_what_is_no_http_is_told_apart():
    with pytest.raises(httptools.HttpParserError):
        await exchange(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def test_an_answer_after_the_deadline_is_not_taken_for_the_next_one():
    async def slow_once(number: int) -> list[bytes]:
        await asyncio.sleep(0.2 if number == 0 else 0)
        return [REFUSED if number == 0 else OK]

    async with canned(slow_once) as (port, _):
        connection = Connection()
        await connection.connect("127.0.0.1", port)
        with pytest.raises(TimeoutError):
            await connection.exchange(REQUEST, 0.05)
        assert not connection.open
        with pytest.raises(ConnectionResetError):
            await connection.exchange(REQUEST, 5.0)
        await connection.connect("127.0.0.1", port)
        assert await connection.exchange(REQUEST, 5.0) == 200
        connection.close()


async def test_nobody_waits_on_a_connection_that_is_closed_here():
    async with canned(always()) as (port, _):
        connection = Connection()
        await connection.connect("127.0.0.1", port)
        waiting = asyncio.create_task(connection.exchange(REQUEST, 5.0))
        await asyncio.sleep(0.01)
        connection.close()
        with pytest.raises(ConnectionResetError):
            await waiting


def test_an_address_is_host_and_port():
    assert address_of("http://127.0.0.1:8000/") == ("127.0.0.1", 8000)
    assert address_of("http://[::1]:81") == ("::1", 81)
    assert address_of("http://plant") == ("plant", 80)


@pytest.mark.parametrize("url", ["https://plant", "plant:80", "http://plant/v1", "http://plant:99999", "http://"])
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(InvalidInputError, match="url"):
        address_of(url)


async def test_an_ordinary_request_gives_the_body_or_what_the_service_says():
    async with canned(always(OK)) as (port, _):
        assert await asyncio.to_thread(ask, f"http://127.0.0.1:{port}", "POST", "/v1", b"x") == b"{}"
    async with canned(always(REFUSED)) as (port, _):
        assert await asyncio.to_thread(ask_status, f"http://127.0.0.1:{port}", "GET", "/v1") == (503, b"busy")
        with pytest.raises(UnavailableError, match="answered 503: busy"):
            await asyncio.to_thread(ask, f"http://127.0.0.1:{port}", "GET", "/v1")


async def test_a_service_that_is_not_there_is_said_to_be_so():
    async with canned(always(OK)) as (port, _):
        pass
    with pytest.raises(UnavailableError, match="does not answer"):
        await asyncio.to_thread(ask, f"http://127.0.0.1:{port}", "GET", "/")
