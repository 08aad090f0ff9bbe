"""The least of an HTTP/1.1 client: requests made beforehand, one at a time on a connection that is kept.

A load generator that builds and reads requests as an ordinary client does costs more than the service that it measures.
"""

import asyncio
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools

from gnn_service.core.errors import InvalidInputError, UnavailableError

_FIRST_FINAL_STATUS: Final = 200
_CONNECT_WITHIN_S: Final = 5.0
_SHOWN_CHARACTERS: Final = 300


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an ``http://`` address. Raises InvalidInputError for any other."""
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError as error:
        raise InvalidInputError(f"{url!r} has no port that could be", where="url") from error
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidInputError(f"{url!r} is not the address of a service: http://HOST:PORT", where="url")
    return parts.hostname, port


def request_bytes(host: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole POST request, ready to be written."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Connection(asyncio.Protocol):
    """One connection; `exchange` sends a request and gives the status of its answer, whose body is thrown away.

    What ends otherwise raises: `TimeoutError`, `ConnectionError` where the peer closes or was never there, and
    `httptools.HttpParserError` where what comes back is no HTTP.
    """

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._waiter: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def open(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    async def connect(self, host: str, port: int) -> None:
        """Connect anew. Raises OSError, TimeoutError."""
        self.close()
        self._parser = httptools.HttpResponseParser(self)
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    def close(self) -> None:
        """Give the connection up; who waits for an answer on it is told."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionResetError("closed here"))
        self._transport = None

    async def exchange(self, request: bytes, timeout_s: float) -> int:
        """Send a request and give the status of the answer once all of it is there."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._waiter
        except TimeoutError:
            self.close()  # an answer that comes too late must not be taken for the next one
            raise
        finally:
            self._waiter = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is of no class of asyncio

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._fail(ConnectionResetError("the service closed the connection"))
        self._transport = None

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer; an interim one (RFC 9110, 15.2) is not the answer."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            return
        keep = self._parser.should_keep_alive()
        if self._waiter is None or self._waiter.done():
            raise ConnectionResetError("an answer to nothing")
        self._waiter.set_result(status)
        if not keep and self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


def ask(url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """One request by an ordinary client, for what is not measured: the body of the answer.

    Raises UnavailableError where the service does not answer 2xx, with what it says.
    """
    status, answer = ask_status(url, method, path, body, headers)
    if not 200 <= status < 300:
        said = answer.decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
        raise UnavailableError(f"{url}{path} answered {status}: {said}")
    return answer


def ask_status(
    url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One request by an ordinary client: status and body. Raises UnavailableError where nothing answers."""
    connection = HTTPConnection(*address_of(url), timeout=30.0)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer: Any = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"{url} does not answer: {error}") from error
    finally:
        connection.close()
