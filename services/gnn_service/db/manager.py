"""The database behind one door: connections, transactions and repeated work, and what is known of the server's health.

The order of protections is fixed: deadline around repetition around circuit breaker around one attempt. An open breaker
and a database that is down are not repeated; the caller hears at once, and when to come back.
"""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import asyncpg
from pydantic import SecretStr

from gnn_service.core.breaker import BreakerState, CircuitBreaker, Permit, Transition
from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import (
    BreakerOpenError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    GnnServiceError,
)
from gnn_service.core.retry import Retry
from gnn_service.db import failures
from gnn_service.db.capability import Capability
from gnn_service.db.failures import Failed, Failure, Repeat
from gnn_service.db.frames import set_codecs
from gnn_service.db.keeper import PoolKeeper, read_capability
from gnn_service.db.pool import Connection, ConnectionPool, Held, Prepare
from gnn_service.db.stats import Counters, DatabaseState, DatabaseStats
from gnn_service.db.work import Isolation, transaction, within
from gnn_service.observability import logs
from gnn_service.observability.database import operation_ended
from gnn_service.observability.tracing import SpanName, span

T = TypeVar("T")
_log = logs.logger("gnn_service.db.manager")


class DatabaseManager:
    """The only thing that touches a pool. Belongs to one event loop; call `start` in it, and `stop` at the end.

    Args:
        settings: pool, timeouts, repetition, breaker and health.
        url: address of the server, with its password.
        clock: monotonic seconds.
        prepare: sets up a new connection, such as its codecs.
        draw: a number in [0, 1) for all jitter.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        url: SecretStr,
        clock: Clock | None = None,
        prepare: Prepare = set_codecs,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._counters = Counters()
        self._breaker = CircuitBreaker(
            settings.breaker, self._clock, name="database", listeners=[self._breaker_changed], neutral=()
        )
        self._retry = Retry(settings.retry, self._clock, draw=draw)
        self._keeper = PoolKeeper(
            settings,
            url=url,
            clock=self._clock,
            prepare=prepare,
            counters=self._counters,
            on_change=self._changed,
            draw=draw,
        )
        self._listeners: list[Callable[[DatabaseState], None]] = []
        self._stopped = True

    @property
    def state(self) -> DatabaseState:
        """How the database did at the last check."""
        return self._keeper.health.state

    @property
    def capability(self) -> Capability:
        """What the server can do, as found when the present pool was made.

        Raises:
            DatabaseUnavailableError: there was no connection yet.
        """
        if self._keeper.capability is None:
            raise self._unavailable()
        return self._keeper.capability

    def add_listener(self, listener: Callable[[DatabaseState], None]) -> None:
        """Call ``listener`` with the new state after each change; one that raises is logged and hurts nobody."""
        self._listeners.append(listener)

    def stats(self) -> DatabaseStats:
        """A snapshot for health and metrics; costs no query."""
        pool, settings = self._keeper.pool, self._settings
        return DatabaseStats(
            state=self.state,
            pool=self._counters.pool(
                size=pool.size if pool else 0,
                idle=pool.idle if pool else 0,
                minimum=settings.pool_min,
                maximum=settings.pool_max,
            ),
            breaker=self._breaker.stats(),
            operations={name: counts.snapshot() for name, counts in self._counters.operations.items()},
            repeats_refused=self._retry.budget.refused_total,
            checks=self._counters.checks,
            failed_checks=self._counters.failed_checks,
            last_error=self._keeper.health.last_error,
        )

    async def start(self) -> None:
        """Connect, and watch the database from now on. A server that is not there yet is waited for in the background.

        Again after `stop`, it starts anew; again before, it does nothing.

        Raises:
            DatabaseRefusedError: wrong password, no such database, server too old: no repetition mends that.
        """
        if not self._stopped:
            return
        try:
            await self._keeper.start()
        except BaseException:
            await self._keeper.stop()
            raise
        self._stopped = False

    async def stop(self) -> None:
        """Finish what is under way, for at most `database.shutdown_timeout_s`, and close every connection."""
        self._stopped = True
        await self._keeper.stop()

    def look_now(self) -> None:
        """Check the database at once: there is reason to think that it came back, or went."""
        self._keeper.health.look_now()

    async def refresh_capability(self) -> Capability:
        """Ask the server again what it can do, after a migration may have added an extension."""
        self._keeper.capability = await self.run(read_capability, name="capability", idempotent=True)
        return self._keeper.capability

    @asynccontextmanager
    async def acquire(self, *, timeout_s: float | None = None, name: str = "acquire") -> AsyncIterator[Connection]:
        """A connection for the block. Its statements have `database.query_timeout_s` each; nothing is repeated.

        Args:
            timeout_s: seconds to wait for a connection; `database.acquire_timeout_s` where None.
            name: what the block does, in metrics.

        Raises:
            PoolTimeoutError: no connection came free in time.
            DatabaseUnavailableError: the database is away, or went away meanwhile.
            QueryTimeoutError: a statement took too long.
            ConflictError: a constraint was violated.
            DatabaseRefusedError: a table or a right is missing.
        """
        with self._measured(name):
            limit_s = self._settings.acquire_timeout_s if timeout_s is None else timeout_s
            async with self._session(limit_s, tidy=False) as held:
                yield held.con

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False, name: str = "transaction"
    ) -> AsyncIterator[Connection]:
        """A connection with a transaction around the block; `Connection.transaction` inside it is a savepoint.

        The block leaves nothing in the session that outlives the transaction.

        Raises:
            DatabaseUnavailableError: as `acquire`; after a lost connection it may nevertheless have been committed.
        """
        with self._measured(name):
            async with (
                self._session(self._settings.acquire_timeout_s) as held,
                transaction(held.con, isolation, readonly=readonly),
            ):
                yield held.con

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        name: str,
        idempotent: bool,
        timeout_s: float | None = None,
        isolation: Isolation | None = None,
        readonly: bool = False,
    ) -> T:
        """The result of the work; all of it is done again where that helps and does no harm.

        Args:
            work: gets a connection; called once for each attempt. It must have no effect but on tables, and leave
                nothing in the session (no session-level lock or setting).
            name: what it does, in metrics and traces; one of few.
            idempotent: whether doing it twice is the same as once. If not, it is repeated only where nothing of it
                can have been done.
            timeout_s: seconds for everything, repetitions included; `database.query_timeout_s` where None.
            isolation: puts a transaction of this level around the work; then it is repeated after a serialization
                failure or a deadlock even if it is not idempotent.
            readonly: the transaction writes nothing.

        Raises:
            DatabaseUnavailableError: as `acquire`; work that is not idempotent may nevertheless have been done.
            QueryTimeoutError: it took longer than ``timeout_s``.
        """
        deadline_s = self._clock.monotonic() + (self._settings.query_timeout_s if timeout_s is None else timeout_s)
        counts = self._counters.operation(name)

        async def whole(con: Connection) -> T:
            if isolation is None:
                return await work(con)
            async with transaction(con, isolation, readonly=readonly):
                return await work(con)

        def may_repeat(error: Exception) -> bool:
            return isinstance(error, Failed) and error.failure.repeat.allows(
                idempotent=idempotent, transaction=isolation is not None
            )

        def on_repeat(error: Exception) -> None:
            counts.repeats += 1
            _log.info("database work is repeated", operation=name, reason=str(error))

        async def attempt() -> T:
            left_s = deadline_s - self._clock.monotonic()
            async with self._session(min(self._settings.acquire_timeout_s, left_s)) as held:
                return await within(held, whole, deadline_s - self._clock.monotonic())

        with (
            self._measured(name),
            span(SpanName.DATABASE, attributes={"db.system.name": "postgresql", "db.operation.name": name}),
        ):
            return await self._retry.run(attempt, may_repeat=may_repeat, deadline_s=deadline_s, on_repeat=on_repeat)

    @asynccontextmanager
    async def _session(self, timeout_s: float, *, tidy: bool = True) -> AsyncIterator[Held]:
        """One admitted use of a connection; ``tidy`` as in `ConnectionPool.give_back`.

        Raises:
            Failed: what went wrong, if it is the database's affair.
        """
        pool, permit = self._admit()
        try:
            try:
                held = await pool.take(timeout_s)
            except Exception as error:
                raise self._settled(permit, _while_running(failures.of_connecting(error))) from error
            try:
                yield held
            except BaseException as error:
                lost = held.lost
                await pool.give_back(held, error, tidy=tidy)
                if not isinstance(error, Exception):
                    raise
                failure = failures.of_work(error, lost=lost, silent=held.silent)
                if failure is None:
                    if isinstance(error, asyncpg.PostgresError):
                        permit.success()  # the server spoke
                    raise
                raise self._settled(permit, failure) from error
            permit.success()
            await pool.give_back(held, tidy=tidy)
        finally:
            permit.release()  # where nothing was learnt

    def _admit(self) -> tuple[ConnectionPool, Permit]:
        if self._stopped:
            raise Failed(
                Failure(DatabaseUnavailableError("the database manager is stopped"), Repeat.NEVER, outage=False)
            )
        if self._keeper.pool is None:
            raise Failed(Failure(self._unavailable(), Repeat.NEVER, outage=False))
        try:
            return self._keeper.pool, self._breaker.acquire()
        except BreakerOpenError as error:
            refusal = DatabaseUnavailableError(error.detail, retry_after_s=error.retry_after_s)
            raise Failed(Failure(refusal, Repeat.NEVER, outage=False)) from error

    def _unavailable(self) -> DatabaseUnavailableError:
        reason = self._keeper.health.last_error or "no connection yet"
        return DatabaseUnavailableError(
            f"the database is away: {reason}", retry_after_s=self._settings.health.backoff_max_s
        )

    def _settled(self, permit: Permit, failure: Failure) -> Failed:
        if failure.outage:
            permit.failure()
            self._keeper.health.suspect()
        elif failure.repeat is not Repeat.ALWAYS:
            permit.success()  # the server answered, if not as was hoped
        return Failed(failure)

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        """Count an operation, its time and its end; `Failed` goes on as the error that it carries."""
        counts = self._counters.operation(name)
        started = time.perf_counter()
        code: str | None = None
        try:
            yield
        except Failed as failed:
            code = failed.failure.error.code
            raise failed.failure.error from failed.__cause__
        except Exception as error:
            code = error.code if isinstance(error, GnnServiceError) else type(error).__name__
            raise
        except BaseException:
            code = "cancelled"
            raise
        finally:
            seconds = time.perf_counter() - started
            counts.ended(seconds, code)
            operation_ended(name, seconds, code)
            if seconds > self._settings.slow_query_s:
                counts.slow += 1
                _log.warning("slow database work", operation=name, seconds=round(seconds, 3))

    def _changed(self, state: DatabaseState) -> None:
        if state is DatabaseState.HEALTHY:
            self._breaker.reset()
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:  # noqa: BLE001 - who listens must not stop the checks
                _log.exception("a listener of the database's state failed")

    def _breaker_changed(self, change: Transition) -> None:
        level = _log.warning if change.new is BreakerState.OPEN else _log.info
        level("database breaker changed", old=str(change.old), new=str(change.new))


def _while_running(failure: Failure) -> Failure:
    """A refusal after the start may be mended while the service runs: until then the database is away."""
    if isinstance(failure.error, DatabaseRefusedError):
        return Failure(DatabaseUnavailableError(failure.error.detail), failure.repeat, failure.outage)
    return failure
