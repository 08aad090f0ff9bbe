"""Clients of every kind over bare sockets, drawn from a seed: what each sent, and whether the answer was its own."""

import asyncio
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

Check = Callable[["Reply"], str | None]
"""What is wrong with an answer; None where nothing is."""

READ_WITHIN_S = 25.0
SENT_WITHIN_S = 1.0
"""The service has to allow more for a body."""

LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Reply:
    """One answer off the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def problem(self) -> str:
        """The code of the problem that it tells."""
        return str(orjson.loads(self.body)["type"]).rpartition(":")[2]


@dataclass(frozen=True)
class Sent:
    """A request as bytes, what its answer may be, and what a good answer must hold."""

    raw: bytes
    id: str
    statuses: frozenset[int]
    check: Check

    def flaw(self, reply: Reply) -> str | None:
        """What is wrong with the answer to it."""
        if reply.headers.get("x-request-id") != self.id:
            return f"{self.id} got the answer of {reply.headers.get('x-request-id')}"
        if reply.status not in self.statuses:
            return f"{self.id} got {reply.status}: {reply.body[:300]!r}"
        if reply.status == 503 and not 1 <= int(reply.headers.get("retry-after", 0)) <= 60:
            return f"{self.id} was not told when to come again"
        return self.check(reply) if reply.status == 200 else None


class Crowd:
    """Clients that behave, and clients that do not.

    Args:
        address: host and port.
        windows: bodies of windows, each with the anomaly that its diagnosis has.
        versions: of the bundles that may answer.
        seed: of all that is drawn.
    """

    def __init__(
        self, address: tuple[str, int], windows: Sequence[tuple[Any, float]], versions: Sequence[str], seed: int
    ) -> None:
        self.address = address
        self.windows = windows
        self.versions = versions
        self.chance = random.Random(seed)
        self.answered: Counter[int] = Counter()
        self.problems: Counter[str] = Counter()
        self.abandoned = 0
        self.acted: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._number = 0
        self._spoilt = 0

    async def client(self, turn: int, until: float) -> None:
        """One client after another, each on a connection of its own; ``turn`` says of which kind the first is."""
        ways: list[Callable[[], Awaitable[None]]] = [
            self.keep_alive,
            self.keep_alive,
            self.pipeline,
            self.pipeline,
            self.leave_while_sending,
            self.leave_while_waiting,
            self.leave_amid_a_pipeline,
            self.send_slowly,
            self.stall_in_the_body,
            self.stall_in_the_head,
            self.send_no_http,
            self.poison,
            self.flood,
        ]
        while time.monotonic() < until:
            way = ways[turn % len(ways)]
            turn += self.chance.choice([1, 1, 1, 2])
            self.acted[way.__name__] += 1
            await way()

    # ---- clients that behave ----

    async def keep_alive(self) -> None:
        """Good requests, one after another."""
        async with self._connection() as (reader, writer):
            for _ in range(self.chance.randint(1, 8)):
                sent = self.good()
                writer.write(sent.raw)
                if not await self._read(reader, sent):
                    break

    async def pipeline(self) -> None:
        """Several at once, good and bad, cut anywhere into pieces; the answers come in order."""
        async with self._connection() as (reader, writer):
            several = [self.chance.choice([self.good, self.good, self.bad])() for _ in range(self.chance.randint(2, 6))]
            if not await self._write_in_pieces(writer, several, self.chance.randint(0, 4)):
                return
            for sent in several:
                if not await self._read(reader, sent):
                    break

    async def send_slowly(self) -> None:
        """In pieces, but in time."""
        async with self._connection() as (reader, writer):
            sent = self.good()
            if await self._write_in_pieces(writer, [sent], 12):
                await self._read(reader, sent)

    async def flood(self) -> None:
        """More connections with a request each than the door lets in."""
        if self.acted["flood"] > 1 and self.chance.random() < 0.5:
            return

        async def one() -> None:
            async with self._connection() as (reader, writer):
                sent = self.diagnosis()
                writer.write(sent.raw)
                await self._read(reader, sent)

        await asyncio.gather(*(one() for _ in range(48)))

    # ---- clients that do not ----

    async def poison(self) -> None:
        """Bad requests with good ones between them, on one connection."""
        async with self._connection() as (reader, writer):
            for _ in range(self.chance.randint(1, 4)):
                for sent in (self.bad(), self.good()):
                    writer.write(sent.raw)
                    if not await self._read(reader, sent):
                        return

    async def leave_while_sending(self) -> None:
        """Gone before the request is whole."""
        async with self._connection() as (_, writer):
            raw = self.good().raw
            writer.write(raw[: self.chance.randrange(1, len(raw))])
            self.abandoned += 1
            await self._leave(writer)

    async def leave_while_waiting(self) -> None:
        """Gone before the answer is there, or in the instant in which it comes."""
        async with self._connection() as (_, writer):
            writer.write(self.chance.choice([self.good, self.bad])().raw)
            self.abandoned += 1
            await self._leave(writer)

    async def leave_amid_a_pipeline(self) -> None:
        """The first answer is read, the others are not waited for."""
        async with self._connection() as (reader, writer):
            several = [self.good() for _ in range(4)]
            writer.write(b"".join(sent.raw for sent in several))
            self.abandoned += len(several) - 1
            await self._read(reader, several[0])
            await self._leave(writer)

    async def stall_in_the_body(self) -> None:
        """The body never ends: it is refused, and the connection closed."""
        async with self._connection() as (reader, writer):
            sent = self.good()
            writer.write(sent.raw[:-3])
            late = Sent(sent.raw, sent.id, frozenset({408}), sent.check)
            if await self._read(reader, late):
                self.wrong.append(f"{sent.id} was late and its connection stayed open")

    async def stall_in_the_head(self) -> None:
        """The head never ends: the connection is closed without a word."""
        async with self._connection() as (reader, writer):
            writer.write(self.good().raw[:30])
            async with asyncio.timeout(READ_WITHIN_S):
                if said := await reader.read():
                    self.wrong.append(f"half a head was answered {said[:100]!r}")

    async def send_no_http(self) -> None:
        """Bytes of another kind."""
        async with self._connection() as (reader, writer):
            writer.write(bytes(self.chance.randrange(256) for _ in range(50)) + b"\r\n\r\n")
            async with asyncio.timeout(READ_WITHIN_S):
                said = await reader.read()
            if not said.startswith(b"HTTP/1.1 400"):
                self.wrong.append(f"what is no HTTP was answered {said[:100]!r}")

    # ---- what they send ----

    def good(self) -> Sent:
        """A request that is answered, or refused for want of room."""
        return self.chance.choice([self.diagnosis, self.doubled_json, self.doubled_binary])()

    def diagnosis(self) -> Sent:
        """A window, and its own diagnosis."""
        number, (window, anomaly) = self._next(), self.chance.choice(self.windows)

        def check(reply: Reply) -> str | None:
            found = orjson.loads(reply.body)
            if found["cycle"] != number or found["bundle"] not in self.versions:
                return f"cycle {number} got that of {found['cycle']}, of {found['bundle']}"
            return None if abs(found["anomaly"] - anomaly) < 1e-3 else f"cycle {number} got {found['anomaly']}"

        body = orjson.dumps(window | {"window": window["window"] | {"cycle": number}})
        return self._sent("/v1/diagnose", body, {200, 503}, check)

    def doubled_json(self) -> Sent:
        """Numbers, and twice these."""
        x = self._numbers()
        tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}

        def check(reply: Reply) -> str | None:
            found = np.array(orjson.loads(reply.body)["outputs"][0]["data"], np.float32)
            return None if np.array_equal(found, 2 * x.ravel()) else f"{x.ravel()} got {found}"

        # long enough for its outline to be learnt
        body = orjson.dumps({"inputs": [tensor], "parameters": {"note": " " * self.chance.choice([0, 1200])}})
        return self._sent("/v2/models/double/infer", body, {200, 503}, check)

    def doubled_binary(self) -> Sent:
        """The same as bytes, both ways."""
        x = self._numbers()
        tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
        head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})

        def check(reply: Reply) -> str | None:
            found = np.frombuffer(reply.body[int(reply.headers[LENGTH]) :], np.float32)
            return None if np.array_equal(found, 2 * x.ravel()) else f"{x.ravel()} got {found}"

        return self._sent("/v2/models/double/infer", head + x.tobytes(), {200, 503}, check, {LENGTH: str(len(head))})

    def bad(self) -> Sent:
        """A request with which something is wrong."""
        window, _ = self.chance.choice(self.windows)
        tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
        self._spoilt = (self._spoilt + 1) % 7
        match self._spoilt:
            case 0:
                return self._bad("/v1/diagnose", orjson.dumps(window)[:-200], 400)
            case 1:
                return self._bad("/v1/diagnose", orjson.dumps(window | {"machine": "nobody"}), 404)
            case 2:
                return self._bad("/v1/diagnose", orjson.dumps(window).replace(b"PS1", b"PS99"), 422)
            case 3:
                return self._bad("/v1/diagnose", b"[" * 100_000, 400)
            case 4:
                return self._bad("/v2/models/nobody/infer", b"{}", 404)
            case 5:
                return self._bad("/v2/models/double/infer", orjson.dumps({"inputs": [tensor | {"data": [1.0]}]}), 422)
        text = orjson.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": 12}}]})
        roots = struct.pack("<3f", 1.0, -1.0, 4.0)  # there is none of a negative number
        return self._bad("/v2/models/reciprocal/infer", text + roots, 422, {LENGTH: str(len(text))})

    def _bad(self, path: str, body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Sent:
        return self._sent(path, body, {status, 503}, _never, headers)

    def _numbers(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        number, rows = self._next(), self.chance.choice([1, 1, 2, 5])
        return (np.arange(rows * 3) / 8 + number).astype(np.float32).reshape(rows, 3)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _sent(
        self, path: str, body: bytes, statuses: set[int], check: Check, headers: Mapping[str, str] | None = None
    ) -> Sent:
        own = f"request-{self._next()}"
        lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", f"x-request-id: {own}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return Sent("\r\n".join(lines).encode() + b"\r\n\r\n" + body, own, frozenset(statuses), check)

    # ---- sockets ----

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(READ_WITHIN_S):
            reader, writer = await asyncio.open_connection(*self.address, limit=2**20)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _write_in_pieces(self, writer: asyncio.StreamWriter, several: Sequence[Sent], cuts: int) -> bool:
        """Whether it was in time: on a busy machine this sender is held up as everybody else."""
        raw, began = b"".join(sent.raw for sent in several), time.monotonic()
        places = sorted(self.chance.sample(range(len(raw)), cuts))
        for start, end in zip([0, *places], [*places, len(raw)], strict=True):
            writer.write(raw[start:end])
            await asyncio.sleep(self.chance.choice([0, 0.001, 0.02]))
        if time.monotonic() - began < SENT_WITHIN_S:
            return True
        self.abandoned += len(several)
        return False

    async def _read(self, reader: asyncio.StreamReader, sent: Sent) -> bool:
        """Read the answer and count it; whether the connection stays open."""
        async with asyncio.timeout(READ_WITHIN_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
            body = await reader.readexactly(int(headers["content-length"]))
        reply = Reply(int(head[0].split(" ")[1]), headers, body)
        self.answered[reply.status] += 1
        if reply.status != 200:
            self.problems[reply.problem()] += 1
        if flaw := sent.flaw(reply):
            self.wrong.append(flaw)
        return headers.get("connection") != "close"

    async def _leave(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.chance.choice([0, 0.001, 0.01, 0.05]))
        writer.transport.abort()


def _never(_: Reply) -> str:
    return "a request with which something is wrong was answered"
