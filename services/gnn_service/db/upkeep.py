"""The database's housekeeping, done by the service itself: roll-ups by minute and hour, and retention.

Every process runs it and one at a time works, by an advisory lock of each transaction. Every step is a transaction of
its own, of about `batch_s` seconds, and may be cut off anywhere: what it had not finished is still due. Where
TimescaleDB keeps roll-ups and retention itself (`db.timescale`), only the notes that it does not need are removed.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.core.errors import QueryTimeoutError
from gnn_service.db import retention, upkeep_rolling
from gnn_service.db import upkeep_sql as sql
from gnn_service.db.repository import Connection, Runner
from gnn_service.db.retention import Aged, Deleted, ReadingsWaitError
from gnn_service.db.upkeep_rolling import BATCH_VALUES, Rolled
from gnn_service.observability import logs

T = TypeVar("T")
_NOTES: Final = 5000
_RETENTION_S: Final = 3600.0
_SPREAD: Final = 0.1
_LEAST: Final = 1e-3  # of a batch's size, after batches that took too long
_log = logs.logger("gnn_service.db.upkeep")


class _HeldError(Exception):
    """Another process is at it."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did. ``held``: another process is at it. ``more``: there was not time for everything."""

    minutes: int = 0
    hours: int = 0
    values: int = 0
    deleted: int = 0
    held: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class UpkeepStats:
    """Since the start; ``last_s`` is when, in seconds of the monotonic clock, a round last ended well."""

    rounds: int = 0
    failures: int = 0
    minutes: int = 0
    values: int = 0
    deleted: int = 0
    last_s: float | None = None


class Upkeep:
    """Runs the rounds; belongs to one event loop.

    Args:
        database: runs the work; its connections read arrays as `frames.set_codecs` has them.
        settings: how often, how much at once, and how long things are kept.
        clock: monotonic seconds, and the pauses.
        draw: a number in [0, 1) that spreads the rounds of several processes.
    """

    def __init__(
        self,
        database: Runner,
        settings: UpkeepSettings | None = None,
        *,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._settings = settings or UpkeepSettings()
        self._clock = clock or SystemClock()
        self._draw = draw
        self._share = 1.0  # of BATCH_VALUES that a batch reads
        self._retained_s: float | None = None
        self._stats = UpkeepStats()

    @property
    def stats(self) -> UpkeepStats:
        """What was done since the start."""
        return self._stats

    async def run(self) -> None:
        """Round after round, until it is cancelled. A round that fails is logged, and the next one tries again."""
        while True:
            more = False
            try:
                more = (await self.round()).more
            except Exception as error:  # noqa: BLE001 - the next round may do better, and must come
                self._stats = replace(self._stats, failures=self._stats.failures + 1)
                _log.warning("upkeep_failed", error=str(error), kind=type(error).__name__)
            pause = 0.0 if more else self._settings.interval_s * (1 - _SPREAD * self._draw())
            await self._clock.sleep(max(pause, self._settings.batch_s))  # others want the database too

    async def round(self) -> Round:
        """Work off what is due, for about `round_s` seconds.

        Raises:
            GnnServiceError: the database failed; what was done so far stays done.
        """
        began, done = self._clock.monotonic(), Round()
        until = began + self._settings.round_s
        try:
            if await self._step("upkeep.mode", _by_timescale):
                while await self._step("upkeep.forget", _forget) == _NOTES:
                    pass
                done = await self._retain(done, until, plain_only=True)
            else:
                done = await self._roll(done, until)
                if not done.more:
                    done = await self._retain(done, until)
        except _HeldError:
            done = replace(done, held=True)
        self._count(done)
        return done

    async def _roll(self, done: Round, until: float) -> Round:
        """Collect what writers noted, and roll it up."""
        while await self._step("upkeep.collect", _collect) == _NOTES:
            pass
        while True:
            rolled = await self._batch()
            done = replace(
                done,
                minutes=done.minutes + rolled.minutes,
                hours=done.hours + rolled.hours,
                values=done.values + rolled.values,
                more=rolled.more,
            )
            if not rolled.more or self._clock.monotonic() >= until:
                return done

    async def _batch(self) -> Rolled:
        """One batch; the next one is smaller or larger, as this one took longer or shorter than it should."""
        values = BATCH_VALUES * self._share

        async def work(con: Connection) -> Rolled:
            return await upkeep_rolling.roll(con, values)

        began = self._clock.monotonic()
        try:
            rolled = await self._step("upkeep.roll", work)
        except QueryTimeoutError:
            self._share = max(_LEAST, self._share / 8)
            raise
        took_s = self._clock.monotonic() - began
        if took_s > self._settings.batch_s:
            self._share = max(_LEAST, self._share / 2)
        elif took_s < self._settings.batch_s / 4:
            self._share = min(1.0, self._share * 2)
        return rolled

    async def _retain(self, done: Round, until: float, *, plain_only: bool = False) -> Round:
        """Delete what is too old, once an hour. ``plain_only``: TimescaleDB sees to its own."""
        now = self._clock.monotonic()
        if self._retained_s is not None and now - self._retained_s < _RETENTION_S:
            return done
        for what in await self._step("upkeep.aged", self._aged) if plain_only else retention.aged(self._settings):
            more = True
            while more:
                step = await self._delete(what)
                done, more = replace(done, deleted=done.deleted + step.count), step.more
                if more and self._clock.monotonic() >= until:
                    return replace(done, more=True)
        self._retained_s = now
        return done

    async def _aged(self, con: Connection) -> list[Aged]:
        """Tables that TimescaleDB has no policy for."""
        by_age = [what for what in retention.aged(self._settings) if not what.rolled_up and what.table != "rollup_1h"]
        return [what for what in by_age if not await con.fetchval(sql.IS_HYPERTABLE, what.table)]

    async def _delete(self, what: Aged) -> Deleted:
        async def work(con: Connection) -> Deleted:
            return await retention.delete_step(con, what)

        try:
            return await self._step("upkeep.retain", work)
        except ReadingsWaitError:  # written meanwhile, or old ones that came late: after the next round
            return Deleted(0, more=False)

    async def _step(self, name: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Work in one transaction, if no other process is at it."""

        async def locked(con: Connection) -> T:
            async with con.transaction():
                if not await con.fetchval(sql.LOCK):
                    raise _HeldError
                return await work(con)

        return await self._database.run(locked, name=name, idempotent=True)

    def _count(self, done: Round) -> None:
        before = self._stats
        self._stats = replace(
            before,
            rounds=before.rounds + 1,
            minutes=before.minutes + done.minutes,
            values=before.values + done.values,
            deleted=before.deleted + done.deleted,
            last_s=self._clock.monotonic(),
        )
        if done.minutes or done.deleted:
            _log.debug("upkeep_round", minutes=done.minutes, hours=done.hours, deleted=done.deleted, more=done.more)


async def _by_timescale(con: Connection) -> bool:
    return bool(await con.fetchval(sql.BY_TIMESCALE))


async def _collect(con: Connection) -> int:
    return int(await con.fetchval(sql.COLLECT, _NOTES))


async def _forget(con: Connection) -> int:
    return int(await con.fetchval(sql.FORGET, _NOTES))
