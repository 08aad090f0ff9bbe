"""An HTTP server that answers what it is told to, byte for byte."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

Answer = Callable[[int], Awaitable[list[bytes]]]
"""From the number of a request to the pieces of its answer; an empty piece closes the connection."""


def always(*pieces: bytes) -> Answer:
    """The same pieces for every request."""

    async def answer(number: int) -> list[bytes]:
        return list(pieces)

    return answer


@asynccontextmanager
async def canned(answer: Answer) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Its port, and the bodies of the requests that have come."""
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                bodies.append(await reader.readexactly(int(found[1]) if found else 0))
                for piece in await answer(len(bodies) - 1):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], bodies
    finally:
        server.close()
        await asyncio.sleep(0)
