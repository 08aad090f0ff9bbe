"""The spool: what was accepted while the database is away waits on disk, and nothing acknowledged is lost.

`Spool.append` returns once the records are on the disk itself. Everything that arrives within a few milliseconds
shares one fsync. Files are only touched by one own thread.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.config_spool import SpoolSettings
from gnn_service.core.errors import GnnServiceError, OverloadedError, SpoolFailedError
from gnn_service.core.gather import Gather
from gnn_service.db.own_thread import OwnThread
from gnn_service.db.spool_format import SpoolRecord, check_record
from gnn_service.db.spool_log import FULL_RETRY_S, Entry, SpoolLog
from gnn_service.db.spool_stats import SpoolStats
from gnn_service.observability import logs

__all__ = ["Entry", "Spool", "SpoolRecord", "SpoolStats", "Surveyor"]

STOP_S: Final = 5.0
"""Seconds for what waits to be written when the spool stops."""
READ_BYTES: Final = 4 * 2**20
P = ParamSpec("P")
T = TypeVar("T")
_log = logs.logger("gnn_service.db.spool")


class Surveyor(Protocol[T]):
    """Wants to know what a spool holds from before its start."""

    def digest(self, records: Iterable[SpoolRecord]) -> T:
        """What matters of the records of one segment; called on another thread."""
        ...

    def take(self, digest: T) -> None:
        """Take it in, on the event loop."""
        ...

    def finish(self) -> None:
        """That was all."""
        ...


class Spool:
    """Use it as a context manager, or `start` and `stop` it. Belongs to one event loop.

    Args:
        folder: where it keeps its files; one process at a time.
        settings: bounds and times.
        clock: monotonic seconds and pauses.
        wall: seconds since 1970 UTC, for the age of records.
        surveyor: shown every record that the start finds, afterwards.
    """

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        *,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
        surveyor: "Surveyor[Any] | None" = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock or SystemClock()
        self._wall = wall
        self._surveyor = surveyor
        self._survey: asyncio.Task[None] | None = None
        self._thread: OwnThread | None = None
        self._files: SpoolLog | None = None  # made, used and closed on the thread
        self._gather: Gather[Sequence[Entry], int] = Gather(
            self._commit,
            name="spool",
            wait_s=settings.commit_wait_ms / 1000,
            waiting_max=settings.queue_max_bytes,
            batch_max=settings.queue_max_bytes,
            unavailable=SpoolFailedError,
            clock=self._clock,
        )
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
            found = await self._thread.submit(self._open)
        except BaseException:
            self._thread.submit(self._close)
            self._thread.leave()
            self._thread = None
            raise
        self._gather.start()
        if self._surveyor is not None:
            self._survey = asyncio.create_task(self._look_through(self._surveyor, found), name="spool-survey")

    async def stop(self) -> None:
        """Write what waits, within a few seconds, and let go of the folder; a second time is no error."""
        thread = self._thread
        if thread is None:
            return
        if self._survey is not None:
            self._survey.cancel()
        try:
            if not await self._gather.stop(STOP_S):
                _log.error("the spool's disk does not answer", folder=str(self._folder))
        finally:
            self._thread = None
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
        return self._seen.records == 0 and self._gather.size == 0

    def stats(self) -> SpoolStats:
        """What it holds and has seen."""
        seen, since_s = self._seen, self._clock.monotonic() - self._seen_at
        return replace(
            seen,
            oldest_s=seen.oldest_s + since_s if seen.records else 0.0,
            full=seen.full and (seen.records > 0 or since_s < FULL_RETRY_S),  # a disk has room again without us
            refused_total=seen.refused_total + self._refused,
        )

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
        size = sum(len(kind) + len(payload) for kind, payload in entries)
        try:
            return await self._in_time(self._gather.put(entries, size))
        except OverloadedError:
            self._refused += len(entries)
            raise

    async def _commit(self, groups: Sequence[Sequence[Entry]]) -> Sequence[int | GnnServiceError]:
        return await self._on_thread(SpoolLog.append, groups)

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

    async def _look_through(self, surveyor: "Surveyor[Any]", segments: Sequence[Path]) -> None:
        """Show the surveyor what was there at the start, a segment at a time, beside everything else."""
        for path in segments:
            try:
                digest = await self._on_thread(SpoolLog.survey, path, surveyor.digest)
            except OSError as error:
                _log.error("a segment of the spool cannot be read", segment=path.name, error=str(error))
                return
            if digest is not None:
                surveyor.take(digest)
        surveyor.finish()

    # ---- the thread ----

    def _open(self) -> tuple[Path, ...]:
        self._files = SpoolLog(self._folder, self._settings, self._wall)
        self._seen, self._seen_at = self._files.stats(), self._clock.monotonic()
        return self._files.segments()

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

    async def _in_time(self, outcome: Awaitable[T]) -> T:
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
