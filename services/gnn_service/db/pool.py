"""Connections: made, lent, watched, cleaned and replaced. Nothing but `db.manager` uses this.

On top of asyncpg's pool, which replaces closed connections and keeps a minimum of open ones. What is added bounds
every wait, whatever the network does: a server that vanished without a word must not hold a caller, a connection or
a shutdown for longer than the settings say.
"""

import asyncio
import contextlib
import logging
import math
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg

from gnn_service.core.clock import Clock
from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import DatabaseUnavailableError, PoolTimeoutError
from gnn_service.db.leaks import LeakWatch
from gnn_service.db.stats import Counters
from gnn_service.observability import logs

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""What work gets; its type hints are those of asyncpg."""
RawConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection outside the pool, or on its way into it."""
Prepare: TypeAlias = Callable[[RawConnection], Awaitable[None]]

SEARCH_PATH: Final = "gnn, public"
CANCEL_GRACE_S: Final = 0.5
"""Seconds that the server gets to say that it stopped a cancelled statement, before the connection is cut off."""
_KEEPALIVE_PROBES: Final = 3
_LIFETIME_SPREAD: Final = 0.1  # connections made together do not end together
_PING: Final = "select 1"
# InternalClientError: asyncpg's word for a connection that was lost between two steps of giving it back
_TROUBLE: Final = (
    TimeoutError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_log = logs.logger("gnn_service.db.pool")


class _FloorNoise(logging.Filter):
    """Drops the traceback that asyncpg's pool logs at each vain attempt to reconnect: the manager logs the outage."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.msg.startswith("Failed to restore the pool connection floor")


_FLOOR_NOISE: Final = _FloorNoise()


@dataclass(slots=True)
class _Age:
    """When, in seconds on the clock, a connection has to go, and when it was last seen to work.

    ``tidy``: its last user left no trace in the session, so that cleaning it would be a round trip for nothing.
    """

    expires_s: float
    worked_s: float
    tidy: bool = False


class _AgingConnection(asyncpg.Connection):
    __slots__ = ("age",)
    age: _Age


def _age(con: "Connection | RawConnection") -> _Age:
    """Of one of our connections, through its proxy too."""
    age: _Age = con.age  # type: ignore[union-attr]
    return age


class Held:
    """A connection in somebody's hand. ``silent``: giving it back showed that the server no longer answers."""

    __slots__ = ("con", "leak", "silent")

    def __init__(self, con: Connection, leak: LeakWatch) -> None:
        self.con = con
        self.leak = leak
        self.silent = False

    @property
    def lost(self) -> bool:
        """Whether the connection is closed, or was taken away because the pool was."""
        return is_lost(self.con)


def is_lost(con: Connection) -> bool:
    """Whether a connection is closed or no longer its holder's."""
    try:
        return con.is_closed()
    except asyncpg.InterfaceError:  # taken away
        return True


class ConnectionPool:
    """One generation of connections to one server; make it with `open`."""

    def __init__(
        self, settings: DatabaseSettings, dsn: str, *, prepare: Prepare, counters: Counters, clock: Clock
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._counters = counters
        self._clock = clock
        self._moved_s = clock.monotonic()
        self._doubt_s = -math.inf  # when a connection was last found dead: others may have died with it
        self._held = 0
        self._nothing_held = asyncio.Event()
        self._nothing_held.set()
        limits = settings.connection
        logging.getLogger("asyncpg.pool").addFilter(_FLOOR_NOISE)
        self._pool = asyncpg.create_pool(
            dsn,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            max_inactive_connection_lifetime=limits.idle_s,
            connect=self._connect,
            reset=_clean,
            connection_class=_AgingConnection,
            timeout=limits.timeout_s,
            command_timeout=settings.query_timeout_s,
            server_settings=server_settings(settings),
        )

    @classmethod
    async def open(cls, settings: DatabaseSettings, dsn: str, **parts: Any) -> "ConnectionPool":
        """A pool with its minimum of connections made.

        Raises:
            Exception: what asyncpg or the operating system says of the first connection that cannot be made.
        """
        pool = cls(settings, dsn, **parts)
        try:
            await pool._pool
        except BaseException:
            pool.terminate()
            raise
        return pool

    @property
    def size(self) -> int:
        """Open connections."""
        return self._pool.get_size()

    @property
    def idle(self) -> int:
        """Open connections that nobody holds."""
        return self._pool.get_idle_size()

    @property
    def still_s(self) -> float:
        """Seconds since a connection was last taken or given back."""
        return self._clock.monotonic() - self._moved_s

    async def take(self, timeout_s: float) -> Held:
        """A connection that is known to have worked a moment ago; give it back with `give_back`.

        Raises:
            PoolTimeoutError: all are in use and none came free in time, or too many wait already.
            Exception: what asyncpg or the operating system says of a connection that cannot be made.
        """
        counters = self._counters
        if counters.waiters >= self._settings.waiters_max and not self.idle:
            counters.refused += 1
            msg = f"{counters.waiters} callers wait for a database connection already"
            raise PoolTimeoutError(msg, retry_after_s=self._settings.acquire_timeout_s)
        started = self._clock.monotonic()
        counters.waiters += 1
        try:
            con = await self._take_live(started + timeout_s, timeout_s)
        finally:
            counters.waiters -= 1
        self._moved_s = self._clock.monotonic()
        counters.acquire_s.observe(self._moved_s - started)
        self._held += 1
        self._nothing_held.clear()
        return Held(con, LeakWatch(self._settings.connection.leak_after_s, self._leaked))

    async def give_back(self, held: Held, error: BaseException | None = None, *, tidy: bool = False) -> None:
        """Clean the connection and let the next one have it, or cut it off; ends within bounds and raises nothing.

        Args:
            held: from `take`.
            error: what its use ended with. After a timeout or a cancellation the server has `CANCEL_GRACE_S` to
                stop the work.
            tidy: whether the session is as it was: no locks, cursors or settings that outlive a transaction.
        """
        held.leak.stop()
        stopping = isinstance(error, TimeoutError | asyncio.CancelledError)
        limit_s = CANCEL_GRACE_S if stopping else self._settings.connection.release_timeout_s
        con = held.con
        try:
            if is_lost(con):
                self._abort(con)
            elif _age(con).expires_s <= self._clock.monotonic() and not stopping:
                await con.close(timeout=limit_s)
            else:
                age = _age(con)
                age.worked_s, age.tidy = self._clock.monotonic(), tidy
                await self._pool.release(con, timeout=limit_s)
        except _TROUBLE as trouble:
            held.silent = isinstance(trouble, TimeoutError)
            self._abort(con)
            _log.debug("connection cut off", reason=repr(trouble))
        finally:
            self._moved_s = self._clock.monotonic()
            self._held -= 1
            if not self._held:
                self._nothing_held.set()

    async def top_up(self) -> None:
        """Make the connections that are missing from the minimum, if asyncpg has not."""
        missing = self._settings.pool_min - self.size
        if missing <= 0:
            return
        held: list[Held] = []
        wanted = self.idle + missing
        problem: BaseException | None = None
        try:
            while len(held) < wanted:
                held.append(await self.take(self._settings.connection.timeout_s))
        except BaseException as error:
            problem = error
            raise
        finally:
            await asyncio.gather(*(self.give_back(each, problem, tidy=True) for each in held))

    async def close(self, timeout_s: float) -> None:
        """Wait for what is under way, for at most ``timeout_s``, say good-bye to the server, and cut off the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._nothing_held.wait()
        except TimeoutError:
            _log.warning("database work is cut off by the shutdown", connections=self._held)
            self.terminate()
        closing = asyncio.ensure_future(self._pool.close())
        try:
            await asyncio.wait({closing}, timeout=CANCEL_GRACE_S)
        finally:
            self.terminate()
            closing.cancel()
        await asyncio.wait({closing}, timeout=CANCEL_GRACE_S)
        if closing.done() and not closing.cancelled():
            closing.exception()  # nobody else asks for it

    def terminate(self) -> None:
        """Cut off every connection at once; who holds one gets an error."""
        with contextlib.suppress(asyncpg.InterfaceError):
            self._pool.terminate()

    async def _take_live(self, deadline_s: float, timeout_s: float) -> Connection:
        """A connection that answers: one that was unused for a while, or since another was found dead, is asked."""
        while True:
            con = await self._acquire(deadline_s, timeout_s)
            now = self._clock.monotonic()
            worked_s = _age(con).worked_s
            if worked_s > self._doubt_s and now - worked_s < self._settings.connection.ping_after_s:
                return con
            try:
                await con.execute(_PING, timeout=min(self._settings.health.timeout_s, max(deadline_s - now, 0.001)))
            except _TROUBLE:
                self._abort(con)
            except BaseException:
                self._abort(con)
                raise
            else:
                _age(con).worked_s = self._clock.monotonic()
                return con

    async def _acquire(self, deadline_s: float, timeout_s: float) -> Connection:
        left = deadline_s - self._clock.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return await self._pool.acquire(timeout=left)
        except TimeoutError:
            if self.size >= self._settings.pool_max:
                self._counters.timeouts += 1
                msg = f"none of {self._settings.pool_max} database connections came free in {timeout_s:g} s"
                raise PoolTimeoutError(msg, retry_after_s=timeout_s) from None
            msg = f"the database took no connection in {timeout_s:g} s"
            raise DatabaseUnavailableError(msg) from None

    async def _connect(self, *args: Any, **options: Any) -> RawConnection:
        """Open, prepare and bound one connection."""
        limits = self._settings.connection
        con: RawConnection = await asyncpg.connect(*args, **options)
        try:
            _bound_silence(con, limits.keepalive_s)
            async with asyncio.timeout(limits.timeout_s):
                await self._prepare(con)
        except BaseException:
            con.terminate()
            raise
        now = self._clock.monotonic()
        con.age = _Age(now + limits.lifetime_s * (1 - _LIFETIME_SPREAD * random.random()), now)  # type: ignore[attr-defined]
        self._counters.opened += 1
        return con

    def _abort(self, con: Connection) -> None:
        self._counters.aborted += 1
        self._doubt_s = self._clock.monotonic()
        with contextlib.suppress(asyncpg.InterfaceError):
            con.terminate()

    def _leaked(self) -> None:
        self._counters.leaks += 1


async def _clean(con: RawConnection) -> None:
    """Undo what a user may have left in the session; asyncpg has rolled back by now."""
    if not _age(con).tidy:
        await con.execute(con.get_reset_query())


def server_settings(settings: DatabaseSettings) -> dict[str, str]:
    """What every connection asks of its session. Times in ms; the server gives up before the client does."""
    return {
        "application_name": "gnn-service",
        "search_path": SEARCH_PATH,
        "timezone": "UTC",
        "statement_timeout": _ms(settings.statement_timeout_s),
        "lock_timeout": _ms(settings.connection.lock_timeout_s),
        "idle_in_transaction_session_timeout": _ms(settings.connection.idle_in_transaction_s),
    }


def _ms(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _bound_silence(con: RawConnection, limit_s: int) -> None:
    """Let the operating system end a connection whose peer sends no acknowledgement for ``limit_s`` seconds.

    For idle connections by keep-alive probes (RFC 9293, 3.8.4), for sent data by TCP_USER_TIMEOUT (RFC 5482).
    """
    transport = con._transport  # type: ignore[attr-defined] # noqa: SLF001 - asyncpg offers no way to the socket
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    every = max(1, limit_s // (_KEEPALIVE_PROBES + 1))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (("TCP_KEEPIDLE", every), ("TCP_KEEPINTVL", every), ("TCP_KEEPCNT", _KEEPALIVE_PROBES))
    for name, value in (*options, ("TCP_USER_TIMEOUT", limit_s * 1000)):
        if (option := getattr(socket, name, None)) is not None:  # not every system has every one
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
