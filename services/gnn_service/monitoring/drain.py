"""Takes what waits in the spool to the database, in order, as soon as the database is back."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import (
    ConfigurationError,
    DeadlineExceededError,
    GnnServiceError,
    SpoolFailedError,
    SpoolFullError,
    UnavailableError,
)
from gnn_service.db.spool import READ_BYTES, Spool, SpoolRecord
from gnn_service.db.stats import DatabaseState
from gnn_service.monitoring.deadline import within
from gnn_service.observability import logs

__all__ = ["AWAY", "Drain", "DrainStats", "Handler"]

Handler = Callable[[Sequence[SpoolRecord]], Awaitable[None]]
"""Writes records of one kind to the database, repeatably; raises where one of them cannot be written."""
AWAY: Final = (UnavailableError, DeadlineExceededError, ConfigurationError, TimeoutError, OSError)
"""Errors that speak against the database, not against what was to be written."""
STORE_S: Final = 60.0
"""Seconds for one batch."""
STOP_S: Final = 5.0
_LEAST_BYTES: Final = 2**16
_PAUSE_MAX_S: Final = 30.0
_DOUBTS_MAX: Final = 5
"""Times that a record is tried that fails for a reason that has no name."""
_log = logs.logger("gnn_service.monitoring.drain")


@dataclass(frozen=True, slots=True)
class DrainStats:
    """``away``: the database did not take the last that was given to it. Totals since start, in records."""

    away: bool
    drained_total: int
    rejected_total: int
    failures_total: int


class Drain:
    """One reader of the spool; belongs to one event loop. Call `start` in it, and `stop` at the end.

    Args:
        spool: what waits. Started and stopped by its owner.
        handlers: who writes which kind of record.
        on_progress: told after each batch up to which sequence number the database has everything.
        on_empty: told when the spool is empty.
        clock: pauses.
        draw: a number in [0, 1) for the jitter of pauses.
    """

    def __init__(
        self,
        spool: Spool,
        handlers: Mapping[str, Handler],
        *,
        on_progress: Callable[[int], None] = lambda _: None,
        on_empty: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._spool = spool
        self._handlers = dict(handlers)
        self._on_progress = on_progress
        self._on_empty = on_empty
        self._clock = clock or SystemClock()
        self._draw = draw
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._batch_bytes = READ_BYTES
        self._tries = 0  # that failed in a row, for whatever reason
        self._doubts: tuple[int, int] = (-1, 0)  # a record that failed without a name for it, and how often
        self._away = self._pausing = False
        self._drained = self._rejected = self._failures = 0

    @property
    def away(self) -> bool:
        """Whether the database did not take the last that was given to it."""
        return self._away

    def stats(self) -> DrainStats:
        """What it has done."""
        return DrainStats(self._away, self._drained, self._rejected, self._failures)

    def start(self) -> None:
        """Begin to drain."""
        self._task = asyncio.create_task(self._run(), name="drain")

    async def stop(self) -> None:
        """End; what is not drained stays in the spool."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_S)

    def nudge(self) -> None:
        """Something new waits."""
        self._empty.clear()
        if not self._pausing:
            self._wake.set()

    def failed(self) -> None:
        """The database did not take what somebody gave it."""
        self._away = True

    def succeeded(self) -> None:
        """The database took what somebody gave it."""
        if self._away:
            self._away, self._tries = False, 0
            self._wake.set()

    def database_changed(self, state: DatabaseState) -> None:
        """Listener for `DatabaseManager`: try at once when it is back."""
        if state is DatabaseState.HEALTHY:
            self._tries = 0
            self._away = self._away and not self._spool.empty
            self._wake.set()

    async def settled(self, timeout_s: float) -> bool:
        """Wait until the spool is empty; False where that takes longer."""
        self.nudge()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _run(self) -> None:
        while True:
            try:
                if await self._step():
                    continue
                await self._wait(None)
            except AWAY as error:
                self._failures += 1
                self._tries += 1
                if not isinstance(error, SpoolFailedError | SpoolFullError):
                    self._away = True
                if isinstance(error, DeadlineExceededError):
                    self._batch_bytes = max(_LEAST_BYTES, self._batch_bytes // 2)
                pause_s = min(_PAUSE_MAX_S, 2.0 ** min(self._tries - 1, 10)) * (0.5 + 0.5 * self._draw())
                _log.warning("the spool is not drained", error=str(error), again_s=round(pause_s, 1))
                await self._wait(pause_s)
            except Exception:  # noqa: BLE001 - a bug must not end draining for good
                _log.exception("draining failed")
                await self._wait(_PAUSE_MAX_S)

    async def _wait(self, seconds: float | None) -> None:
        """Until something new happens, or the time has passed."""
        waking = asyncio.ensure_future(self._wake.wait())
        pausing = asyncio.ensure_future(self._clock.sleep(seconds)) if seconds is not None else None
        both = {waking} if pausing is None else {waking, pausing}
        self._pausing = pausing is not None
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pausing = False
            for task in both:
                task.cancel()
        self._wake.clear()

    async def _step(self) -> bool:
        """Drain one batch; False where nothing waits."""
        records = await self._spool.read(self._batch_bytes)
        if not records:
            if self._spool.empty:
                self._empty.set()
                self._on_empty()
            return False
        alike = [record for record in records if record.kind == records[0].kind]
        if len(alike) < len(records):  # only the first ones are in a row
            alike = alike[: next(n for n, record in enumerate(records) if record.kind != records[0].kind)]
        await self._take(alike)
        self._batch_bytes = min(READ_BYTES, 2 * self._batch_bytes)
        return True

    async def _take(self, records: Sequence[SpoolRecord]) -> None:
        try:
            await self._handle(records)
        except AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a record, the others go on
            if len(records) > 1:  # one bad record must not hold up the others
                for record in records:
                    await self._take([record])
                return
            await self._doubt(records[0], error)
        else:
            self._away, self._tries = False, 0
            self._drained += len(records)
        await self._spool.advance(records[-1].sequence + 1)
        self._on_progress(records[-1].sequence + 1)

    async def _handle(self, records: Sequence[SpoolRecord]) -> None:
        handler = self._handlers.get(records[0].kind)
        if handler is None:
            raise LookupError(f"nobody knows what {records[0].kind} is")

        async def work() -> None:
            await handler(records)

        await within(STORE_S, work(), name="draining")

    async def _doubt(self, record: SpoolRecord, error: Exception) -> None:
        """Set aside a record that the database refuses, and one that fails again and again."""
        if not isinstance(error, GnnServiceError | LookupError):
            sequence, times = self._doubts
            self._doubts = (record.sequence, times + 1 if sequence == record.sequence else 1)
            if self._doubts[1] < _DOUBTS_MAX:
                raise UnavailableError(f"record {record.sequence} was not taken: {error!r}") from error
        await self._spool.reject(record, str(error))
        self._rejected += 1
