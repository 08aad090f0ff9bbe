"""Watches the database: a check every half minute, sooner after a failure, and states that follow from the checks."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from gnn_service.core.config_database import HealthSettings
from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db.stats import Counters, DatabaseState
from gnn_service.observability import logs

_log = logs.logger("gnn_service.db.health")


class HealthWatch:
    """Healthy until a check fails, degraded until several in a row have, then down; one success makes healthy.

    Args:
        settings: intervals and counts.
        check: tries the database, within bounds of its own; raises what is wrong, false where it cannot tell.
        on_change: told of the new state.
        counters: where checks are counted.
        draw: a number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        settings: HealthSettings,
        *,
        check: Callable[[], Awaitable[bool]],
        on_change: Callable[[DatabaseState], None],
        counters: Counters,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._check = check
        self._on_change = on_change
        self._counters = counters
        self._draw = draw
        self._failures = 0  # in a row
        self._refused = False
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()
        self.state = DatabaseState.DOWN
        """Down until a first check has succeeded."""
        self.last_error: str | None = None

    def start(self) -> None:
        """Check from now on."""
        self._task = asyncio.create_task(self._watch(), name="database-health")

    async def stop(self) -> None:
        """Check no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def suspect(self) -> None:
        """Somebody's work failed in a way that speaks against the server: look now, unless it is looked at or known."""
        if self.state is DatabaseState.HEALTHY and not self._checking.locked():
            self._now.set()

    def look_now(self) -> None:
        """There is reason to think that the state has changed."""
        self._now.set()

    async def check(self, limit_s: float | None = None) -> None:
        """Check once, and set the state by it; a check that took longer than ``limit_s`` has failed.

        Raises:
            Exception: what the check found.
        """
        async with self._checking:
            self._now.clear()
            self._counters.checks += 1
            try:
                async with asyncio.timeout(limit_s):
                    told = await self._check()
            except Exception as error:
                self._counters.failed_checks += 1
                self._failed(error)
                raise
            if not told:
                return
            self._failures, self.last_error, self._refused = 0, None, False
            self._change(DatabaseState.HEALTHY)

    def pause_s(self) -> float:
        """Seconds to the next check: the interval while healthy; else doubled from the back-off, less up to half.

        A server that refuses this service is not asked more often than a healthy one: that could lock an account.
        """
        if not self._failures or self._refused:
            return self._settings.interval_s
        doubled = self._settings.backoff_s * 2.0 ** min(self._failures - 1, 60)
        return min(doubled, self._settings.backoff_max_s) * (0.5 + self._draw() / 2)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s()):  # before 3.12, wait_for can lose a cancellation
                    await self._now.wait()
            with contextlib.suppress(Exception):  # counted, logged on a change of state, and kept in last_error
                await self.check()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._refused = isinstance(error, DatabaseRefusedError)
        self.last_error = str(error) or "no answer in time"
        never_seen = self.state is DatabaseState.DOWN
        down = never_seen or self._failures >= self._settings.failures_down
        self._change(DatabaseState.DOWN if down else DatabaseState.DEGRADED)

    def _change(self, new: DatabaseState) -> None:
        old, self.state = self.state, new
        if old is new:
            return
        level = _log.info if new is DatabaseState.HEALTHY else _log.warning
        level("database state changed", old=str(old), new=str(new), reason=self.last_error)
        self._on_change(new)
