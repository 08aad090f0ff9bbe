"""A TCP proxy that loses, delays and cuts, to stand between a client and PostgreSQL."""

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import SecretStr


class Mode(StrEnum):
    PASS = "pass"
    BLACK_HOLE = "black_hole"
    """Takes connections and bytes, passes nothing on."""
    DROP_REPLIES = "drop_replies"
    """Passes on what the client says, and cuts the connection off when the server answers."""
    REFUSE = "refuse"
    """Takes no connection; those that are there go on."""


class TcpProxy:
    """Listens, on loopback if nothing else is said, and passes on to the server of ``url``, by TCP or a Unix socket."""

    def __init__(self, url: SecretStr, host: str = "127.0.0.1") -> None:
        self._host = host
        self._parts = urlsplit(url.get_secret_value())
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """What serves the connections that are there."""
        self._port = 0
        self._era = 0
        self.mode = Mode.PASS
        self.delay_s = 0.0
        self.connections = 0
        self.bytes_in = 0
        """From clients, connections that were taken included."""

    @property
    def url(self) -> SecretStr:
        """The address that leads through the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        parts = self._parts._replace(netloc=f"{user}@{self._host}:{self._port}", query="sslmode=disable")
        return SecretStr(urlunsplit(parts))

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        self.reset()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5)

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no more connections; those that are there stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)

    def forget(self) -> None:
        """Swallow what comes on the connections that are there, as a firewall does that forgot them; new ones work."""
        self._era += 1

    def reset(self) -> None:
        """Cut every connection off with RST."""
        for link in list(self._links):
            raw = link.get_extra_info("socket")
            if raw is not None and not link.is_closing() and raw.family == socket.AF_INET:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.bytes_in += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            up, down = await self._connect()
        except OSError:
            writer.transport.abort()
        else:
            await self._pass_on(reader, writer, up, down)
        finally:
            self.tasks.discard(task)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up: asyncio.StreamReader,
        down: asyncio.StreamWriter,
    ) -> None:
        """Both ways, until one end closes."""
        links = {writer, down}
        self._links |= links
        pumps = {
            asyncio.create_task(self._pump(reader, down, forward=True)),
            asyncio.create_task(self._pump(up, writer, forward=False)),
        }
        self.tasks |= pumps
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for link in links:
            link.transport.abort()
        await asyncio.wait(pumps)
        self._links -= links
        self.tasks -= pumps

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self._parts.query).get("host", [""])[0]
        port = self._parts.port or 5432
        if folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._parts.hostname, port)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, forward: bool) -> None:
        era = self._era
        with contextlib.suppress(ConnectionError, OSError):
            while data := await source.read(65536):
                if forward:
                    self.bytes_in += len(data)
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.mode is Mode.BLACK_HOLE or era != self._era:
                    continue
                if self.mode is Mode.DROP_REPLIES and not forward:
                    return
                sink.write(data)
                await sink.drain()
