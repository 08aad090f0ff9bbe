"""The spool: what was accepted while the database is away waits on disk, and nothing acknowledged is lost.

`Spool.append` returns once the records are on the disk itself. Everything that arrives within a few milliseconds
shares one fsync (group commit; J. Gray, A. Reuter, "Transaction Processing", 1993, 9.4.7). Files are only touched by
one own thread.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config_spool import SpoolSettings
from gnn_service.core.errors import GnnServiceError, OverloadedError, SpoolFailedError
from gnn_service.db.own_thread import OwnThread
from gnn_service.db.spool_format import SpoolRecord, check_record
from gnn_service.db.spool_log import Entry, SpoolLog, SpoolStats
from gnn_service.observability import logs

__all__ = ["Entry", "Spool", "SpoolRecord", "SpoolStats"]

STOP_S: Final = 5.0
"""Seconds for what waits to be written when the spool stops."""
READ_BYTES: Final = 4 * 2**20
P = ParamSpec("P")
T = TypeVar("T")
_log = logs.logger("gnn_service.db.spool")


@dataclass(slots=True, eq=False)
class _Waiting:
    entries: Sequence[Entry]
    size: int
    outcome: "asyncio.Future[int]"


class Spool:
    """Use it as a context manager, or `start` and `stop` it. Belongs to one event loop.

    Args:
        folder: where it keeps its files; one process at a time.
        settings: bounds and times.
        clock: monotonic seconds and pauses.
        wall: seconds since 1970 UTC, for the age of records.
    """

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        *,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock or SystemClock()
        self._wall = wall
        self._thread: OwnThread | None = None
        self._files: SpoolLog | None = None  # made, used and closed on the thread
        self._committer: asyncio.Task[None] | None = None
        self._stopping = False
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._first_at = 0.0
        self._wake = asyncio.Event()
        self._seen, self._seen_at = SpoolStats(), 0.0
        self._refused = 0  # at this door, beside those that the files refuse

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Take the folder, and check and mend what a crash left in it.

        Raises:
            ConfigurationError: the folder cannot be used, another process has it, or a newer version wrote it.
        """
        self._thread = OwnThread("gnn-spool")
        try:
            await self._thread.submit(self._open)
        except BaseException:
            self._thread.submit(self._close)
            self._thread.leave()
            self._thread = None
            raise
        self._stopping = False
        self._committer = asyncio.create_task(self._commit_for_ever(), name="spool")

    async def stop(self) -> None:
        """Write what waits, within a few seconds, and let go of the folder; a second time is no error."""
        thread, committer = self._thread, self._committer
        if thread is None or committer is None:
            return
        self._stopping = True
        self._wake.set()
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.wait({committer})
        except TimeoutError:
            _log.error("the spool's disk does not answer", folder=str(self._folder))
        finally:
            committer.cancel()
            self._thread = self._committer = None
            self._fail(self._waiting, SpoolFailedError("the spool has stopped"))
            self._waiting, self._waiting_bytes = [], 0
            thread.submit(self._close)
            thread.leave()
        try:
            async with asyncio.timeout(STOP_S):
                await thread.left()
        except TimeoutError:
            _log.error("the spool's thread is left behind", folder=str(self._folder))

    @property
    def empty(self) -> bool:
        """Whether everything accepted is in the database, as far as is known."""
        return self._seen.records == 0 and self._waiting_bytes == 0

    def stats(self) -> SpoolStats:
        """What it holds and has seen."""
        seen = self._seen
        waited = self._clock.monotonic() - self._seen_at if seen.records else 0.0
        return replace(seen, oldest_s=seen.oldest_s + waited, refused_total=seen.refused_total + self._refused)

    # ---- writing ----

    async def append(self, entries: Sequence[Entry]) -> int:
        """Keep records, in this order and all or none of them; returns when they are on the disk itself.

        A caller that is cancelled does not know whether they are kept; others notice nothing.

        Returns:
            The sequence number of the last one.

        Raises:
            SpoolFullError: the spool is full or its oldest record too old; nothing was kept.
            SpoolFailedError: the disk fails or does not answer; what was not acknowledged may or may not be kept.
            OverloadedError: too much waits to be written; nothing was kept.
            InvalidInputError: a record is too large.
        """
        for kind, payload in entries:
            check_record(kind, payload)
        if not entries:
            raise ValueError("there is nothing to append")
        if self._thread is None or self._stopping:
            raise SpoolFailedError("the spool is not running")
        size = sum(len(kind) + len(payload) for kind, payload in entries)
        if self._waiting_bytes and self._waiting_bytes + size > self._settings.queue_max_bytes:
            self._refused += len(entries)
            raise OverloadedError(f"{self._waiting_bytes} bytes wait for the spool's disk", retry_after_s=1.0)
        waiting = _Waiting(entries, size, asyncio.get_running_loop().create_future())
        if not self._waiting:
            self._first_at = self._clock.monotonic()
        self._waiting.append(waiting)
        self._waiting_bytes += size
        self._wake.set()
        return await self._in_time(waiting.outcome)

    async def _commit_for_ever(self) -> None:
        while not self._stopping or self._waiting:
            await self._wake.wait()
            gathered_s = self._clock.monotonic() - self._first_at
            if not self._stopping and (pause := self._settings.commit_wait_ms / 1000 - gathered_s) > 0:
                await self._clock.sleep(pause)
            self._wake.clear()
            taken, self._waiting = self._waiting, []
            await self._commit(taken)
            if self._waiting or self._stopping:
                self._wake.set()

    async def _commit(self, taken: list[_Waiting]) -> None:
        batch = [waiting for waiting in taken if not waiting.outcome.done()]  # the others have gone
        try:
            if batch:
                outcomes = await self._on_thread(SpoolLog.append, [waiting.entries for waiting in batch])
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    _settle(waiting.outcome, outcome)
        except Exception as error:  # noqa: BLE001 - nobody may be left waiting
            _log.exception("the spool failed")
            self._fail(batch, SpoolFailedError(f"the spool failed: {error}"))
        except asyncio.CancelledError:
            self._fail(batch, SpoolFailedError("the spool's disk does not answer"))
            raise
        finally:
            self._waiting_bytes -= sum(waiting.size for waiting in taken)

    @staticmethod
    def _fail(waiting: list[_Waiting], error: GnnServiceError) -> None:
        for one in waiting:
            _settle(one.outcome, error)

    # ---- draining ----

    async def read(self, bytes_max: int = READ_BYTES) -> tuple[SpoolRecord, ...]:
        """The oldest records, in order, about ``bytes_max`` of them; none when all is drained.

        The same again until `advance`: for one reader.

        Raises:
            SpoolFailedError: the disk fails or does not answer.
        """
        return await self._in_time(self._on_thread(SpoolLog.read, bytes_max))

    async def advance(self, past: int) -> None:
        """Forget the records before sequence number ``past``, which the last `read` gave: the database has them.

        Raises:
            SpoolFailedError: the disk does not answer.
        """
        await self._in_time(self._on_thread(SpoolLog.advance, past))

    async def reject(self, record: SpoolRecord, reason: str) -> None:
        """Set aside a record that the database refuses for good; `advance` past it afterwards.

        Raises:
            SpoolFullError: too much was set aside already.
            SpoolFailedError: the disk fails or does not answer.
        """
        await self._in_time(self._on_thread(SpoolLog.reject, record, reason))

    # ---- the thread ----

    def _open(self) -> None:
        self._files = SpoolLog(self._folder, self._settings, self._wall)
        self._seen, self._seen_at = self._files.stats(), self._clock.monotonic()

    def _close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None

    def _require_running(self) -> OwnThread:
        if self._thread is None:
            raise SpoolFailedError("the spool is not running")
        return self._thread

    def _on_thread(self, work: Callable[..., T], *args: object) -> "asyncio.Future[T]":
        def job() -> T:
            if self._files is None:
                raise SpoolFailedError("the spool is not running")
            try:
                return work(self._files, *args)
            finally:
                self._seen, self._seen_at = self._files.stats(), self._clock.monotonic()

        return self._require_running().submit(job)

    async def _in_time(self, outcome: "asyncio.Future[T]") -> T:
        limit_s = self._settings.write_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await outcome
        except TimeoutError as error:
            raise SpoolFailedError(
                f"the spool's disk did not answer in {limit_s:g} s", retry_after_s=limit_s
            ) from error
        except OSError as error:
            raise SpoolFailedError(f"the spool's disk fails: {error.strerror or error}") from error


def _settle(outcome: "asyncio.Future[int]", value: int | GnnServiceError) -> None:
    if outcome.done():
        return
    if isinstance(value, int):
        outcome.set_result(value)
    else:  # its own: one that several callers raise would gather the frames of all
        outcome.set_exception(type(value)(value.detail, where=value.where, retry_after_s=value.retry_after_s))
