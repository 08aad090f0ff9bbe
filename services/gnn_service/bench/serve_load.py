"""The load on a service: many callers in a closed loop, or arrivals at a constant rate in an open one.

A closed loop asks as fast as it is answered and so cannot overload what it measures; an open loop asks at its rate
whatever the service does, and counts latency from the instant at which a request was due, not from when it could at
last be sent (Tene, "How NOT to Measure Latency": coordinated omission). `run_load` is meant for a process of its own.
"""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httptools
import numpy as np
from numpy.typing import NDArray

from gnn_service.bench.serve_http import Connection

_AFTER_FAILURE_S: Final = 0.01
_ROUNDING: Final = 1e-6  # of the time between two requests
UNSENT: Final = "unsent"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where. ``rate_per_s`` None is a closed loop of ``callers``; else at most so many are in flight."""

    host: str
    port: int
    requests: tuple[bytes, ...]
    callers: int
    seconds: float
    rate_per_s: float | None = None
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Tally:
    """How a load went, as its sender saw it.

    ``latencies_s`` are of the answers with a 2xx status. ``endings`` counts every request by its status, or by
    ``timeout``, ``closed``, ``connect``, ``protocol``, and ``unsent`` for those that were due and never left.
    ``late_s`` says by how much the sender itself missed each instant of an open loop, waits for a connection apart.
    """

    latencies_s: NDArray[np.float64]
    endings: dict[str, int]
    elapsed_s: float
    cpu_s: float
    late_s: NDArray[np.float64]

    @property
    def answered(self) -> int:
        """Requests with a 2xx answer."""
        return len(self.latencies_s)

    @property
    def errors(self) -> int:
        """Requests that ended in any other way."""
        return sum(self.endings.values()) - self.answered


def merge(tallies: Sequence[Tally]) -> Tally:
    """The tallies of senders that worked side by side, as one."""
    endings: Counter[str] = Counter()
    for tally in tallies:
        endings.update(tally.endings)
    return Tally(
        latencies_s=np.concatenate([tally.latencies_s for tally in tallies]),
        endings=dict(endings),
        elapsed_s=max(tally.elapsed_s for tally in tallies),
        cpu_s=sum(tally.cpu_s for tally in tallies),
        late_s=np.concatenate([tally.late_s for tally in tallies]),
    )


def split(load: Load, senders: int) -> list[Load]:
    """The same load from several senders: callers and rate shared out, nobody without a caller."""
    senders = max(1, min(senders, load.callers))
    shares = [load.callers // senders + (k < load.callers % senders) for k in range(senders)]
    rate = None if load.rate_per_s is None else load.rate_per_s / senders
    return [Load(load.host, load.port, load.requests, share, load.seconds, rate, load.timeout_s) for share in shares]


def pace(
    rate_per_s: float,
    seconds: float,
    emit: Callable[[Sequence[float]], object],
    now: Callable[[], float],
    wait: Callable[[float], bool],
) -> None:
    """Hand out the instants at which requests are due, evenly spaced, none before its time.

    Whoever is late gets all that is due at once, each with its own instant: a slow sender changes no instant.

    Args:
        rate_per_s: requests a second.
        seconds: for how long.
        emit: takes the instants that have come.
        now: seconds that never go backwards.
        wait: pauses for some seconds, and says whether to stop.
    """
    start, total, sent = now(), max(1, round(rate_per_s * seconds)), 0
    while sent < total:
        passed = now() - start
        due = min(total, int(passed * rate_per_s + _ROUNDING) + 1)
        if due > sent:
            emit([start + k / rate_per_s for k in range(sent, due)])
            sent = due
        elif wait(max(0.0, sent / rate_per_s - passed)):
            return


def run_load(load: Load) -> Tally:
    """Send it, from this process; blocks until every request has ended."""
    factory = None
    if os.name != "nt":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_send(load))


@dataclass(slots=True)
class _Sender:
    load: Load
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    turn: int = 0

    async def send(self, connection: Connection, since: float) -> None:
        """One request, its latency counted from ``since``."""
        try:
            if not connection.open:
                await connection.connect(self.load.host, self.load.port)
        except OSError:  # a TimeoutError is one
            await self._failed("connect")
            return
        except asyncio.CancelledError:
            self.endings["connect"] += 1
            raise
        self.turn += 1
        request = self.load.requests[self.turn % len(self.load.requests)]
        try:
            status = await connection.exchange(request, self.load.timeout_s)
        except (OSError, httptools.HttpParserError) as error:
            await self._failed(_name_of(error))
            return
        except asyncio.CancelledError:
            self.endings["timeout"] += 1
            raise
        if 200 <= status < 300:
            self.latencies_s.append(time.perf_counter() - since)
        self.endings[str(status)] += 1

    async def _failed(self, how: str) -> None:
        """Counted, and not tried again at once: what is down is not to be hammered."""
        self.endings[how] += 1
        await asyncio.sleep(_AFTER_FAILURE_S)

    def tally(self, began: float, cpu_began: float) -> Tally:
        return Tally(
            latencies_s=np.array(self.latencies_s),
            endings=dict(self.endings),
            elapsed_s=time.perf_counter() - began,
            cpu_s=time.process_time() - cpu_began,
            late_s=np.array(self.late_s),
        )


async def _send(load: Load) -> Tally:
    connections = [Connection() for _ in range(load.callers)]
    sender = _Sender(load)
    try:
        for connection in connections:
            await _quietly(connection.connect(load.host, load.port))
        began, cpu_began = time.perf_counter(), time.process_time()
        loop = _closed_loop if load.rate_per_s is None else _open_loop
        await loop(sender, connections)
        return sender.tally(began, cpu_began)
    finally:
        for connection in connections:
            connection.close()


async def _closed_loop(sender: _Sender, connections: Iterable[Connection]) -> None:
    end = time.perf_counter() + sender.load.seconds

    async def caller(connection: Connection) -> None:
        while (now := time.perf_counter()) < end:
            await sender.send(connection, now)

    await asyncio.gather(*(caller(connection) for connection in connections))


async def _open_loop(sender: _Sender, connections: Iterable[Connection]) -> None:
    load = sender.load
    assert load.rate_per_s is not None  # noqa: S101 - the caller has looked
    due: asyncio.Queue[float | None] = asyncio.Queue()  # holds rate x seconds instants at most
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def put(instants: Sequence[float]) -> None:
        now = time.perf_counter()
        for instant in instants:
            sender.late_s.append(now - instant)
            due.put_nowait(instant)

    def emit(instants: Sequence[float]) -> None:
        loop.call_soon_threadsafe(put, instants)

    async def caller(connection: Connection) -> None:
        while (instant := await due.get()) is not None:
            await sender.send(connection, instant)

    callers = [asyncio.create_task(caller(connection)) for connection in connections]
    try:
        # a thread keeps time to some 50 us, where an event loop's timers have 1 ms
        await asyncio.to_thread(pace, load.rate_per_s, load.seconds, emit, time.perf_counter, stop.wait)
        for _ in callers:
            due.put_nowait(None)
        await asyncio.wait(callers, timeout=load.timeout_s)
    finally:
        stop.set()
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    left = sum(due.get_nowait() is not None for _ in range(due.qsize()))
    if left:
        sender.endings[UNSENT] += left


async def _quietly(connecting: Awaitable[Any]) -> None:
    """A connection that cannot be had now is tried again, and counted, by whoever sends on it."""
    try:
        await connecting
    except OSError:
        return


def _name_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "closed" if isinstance(error, OSError) else "protocol"
