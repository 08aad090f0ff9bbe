"""Keeps a pool that works: makes it, checks it, gives it up while the server is down, and makes a new one after."""

import random
from collections.abc import Callable
from typing import Final

from pydantic import SecretStr

from gnn_service.core.clock import Clock
from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError, PoolTimeoutError
from gnn_service.db import failures
from gnn_service.db.capability import CAPABILITY_SQL, Capability
from gnn_service.db.health import HealthWatch
from gnn_service.db.pool import Connection, ConnectionPool, Prepare
from gnn_service.db.stats import Counters, DatabaseState
from gnn_service.observability import logs

_START_S: Final = 2.0  # a service whose database is silent is up and degraded within 5 s
_STOP_MARGIN_S: Final = 1.1  # of the time to stop, for taking leave and for cutting off
_log = logs.logger("gnn_service.db.keeper")


class PoolKeeper:
    """Holds the present pool, or none while the server is down.

    Args:
        settings: pool, timeouts and health.
        url: address of the server, with its password.
        clock: monotonic seconds.
        prepare: sets up a new connection.
        counters: shared by all pools, one after the other.
        on_change: told of each new state, after the pool has followed it.
        draw: a number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        url: SecretStr,
        clock: Clock,
        prepare: Prepare,
        counters: Counters,
        on_change: Callable[[DatabaseState], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._url = url
        self._clock = clock
        self._prepare = prepare
        self._counters = counters
        self._on_change = on_change
        self._pools_made = 0
        self.pool: ConnectionPool | None = None
        self.capability: Capability | None = None
        self.health = HealthWatch(
            settings.health, check=self._check, on_change=self._changed, counters=counters, draw=draw
        )

    async def start(self) -> None:
        """Connect, and check from now on. A server that is not there yet is waited for in the background.

        Raises:
            DatabaseRefusedError: no repetition mends what is wrong.
        """
        try:
            await self.health.check(min(_START_S, self._settings.connection.timeout_s))
        except DatabaseRefusedError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the checks go on
            _log.warning("no database at the start; trying on", reason=self.health.last_error)
        self.health.start()

    async def stop(self) -> None:
        """Check no more, finish what is under way within `database.shutdown_timeout_s`, and close every connection."""
        until_s = self._clock.monotonic() + self._settings.shutdown_timeout_s - _STOP_MARGIN_S
        await self.health.stop()
        pool, self.pool = self.pool, None
        if pool is not None:
            await pool.close(max(until_s - self._clock.monotonic(), 0.0))

    async def _check(self) -> bool:
        """Whether the server answers; false where nothing can be said because all connections are in use.

        Raises:
            GnnServiceError: it does not.
        """
        try:
            if self.pool is None:
                await self._renew()
                return True
            return await self._ask(self.pool)
        except Exception as error:
            raise failures.of_connecting(error).error from error

    async def _ask(self, pool: ConnectionPool) -> bool:
        limit_s = self._settings.health.timeout_s
        try:
            held = await pool.take(limit_s)
        except PoolTimeoutError:
            if pool.still_s < self._settings.health.stuck_after_s:
                return False
            _log.warning("connections are stuck; making the pool anew", still_s=round(pool.still_s, 1))
            await self._renew()
            return True
        problem: BaseException | None = None
        try:
            await held.con.execute("select 1", timeout=limit_s)
        except BaseException as error:
            problem = error
            raise
        finally:
            await pool.give_back(held, problem, tidy=True)
        await pool.top_up()
        return True

    async def _renew(self) -> None:
        """Make a pool, take it into use, and cut off the one before."""
        pool = await ConnectionPool.open(
            self._settings,
            self._url.get_secret_value(),
            prepare=self._prepare,
            counters=self._counters,
            clock=self._clock,
        )
        try:
            held = await pool.take(self._settings.connection.timeout_s)
            try:
                self.capability = await read_capability(held.con)
            finally:
                await pool.give_back(held)
        except BaseException:
            pool.terminate()
            raise
        old, self.pool = self.pool, pool
        self._counters.swaps += self._pools_made > 0
        self._pools_made += 1
        if old is not None:
            old.terminate()
        _log.info("database connected", server=str(self.capability), connections=pool.size)

    def _changed(self, new: DatabaseState) -> None:
        if new is DatabaseState.DOWN:
            pool, self.pool = self.pool, None
            if pool is not None:
                pool.terminate()  # whoever waits on it hears now, not after the query timeout
        self._on_change(new)


async def read_capability(con: Connection) -> Capability:
    """What the server can do.

    Raises:
        DatabaseRefusedError: it is too old.
    """
    row = await con.fetchrow(CAPABILITY_SQL)
    if row is None:
        raise DatabaseUnavailableError("the server did not say what it is")
    return Capability.of(*row)
