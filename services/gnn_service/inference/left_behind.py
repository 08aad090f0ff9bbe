"""Threads that were given up: a thread cannot be ended from outside, so those that hang stay until the process ends."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from gnn_service.inference.worker import Worker

JOIN_S: Final = 5.0
_log = logging.getLogger(__name__)


class LeftBehind:
    """The model threads of an engine that were given up and have not left yet; those that leave in time never count.

    Args:
        hung_max: threads that are put up with; beyond, each new one would only cost more memory.
    """

    def __init__(self, hung_max: int) -> None:
        self._hung_max = hung_max
        self._workers: list[Worker[Any]] = []
        self._reported = False
        self.on_fatal: Callable[[str], object] | None = None
        """Told once, when the limit is reached: only a new process gets rid of the threads."""

    def __len__(self) -> int:
        self._workers = [worker for worker in self._workers if not worker.exited]
        return len(self._workers)

    @property
    def verdict(self) -> str | None:
        """Why no further thread may be started; None while one may."""
        count = len(self)
        return f"{count} model threads hang; restart the service" if count >= self._hung_max else None

    def add(self, worker: Worker[Any]) -> None:
        """Give a worker up: it is to leave after its present job, whenever that ends."""
        worker.retire()
        if worker not in self._workers:
            self._workers.append(worker)

    def report(self) -> str | None:
        """As `verdict`; the first time that there is one it is logged, and told to ``on_fatal``."""
        reason = self.verdict
        if reason is None:
            self._reported = False
        elif not self._reported:
            self._reported = True
            _log.critical(reason)
            if self.on_fatal is not None:
                self.on_fatal(reason)
        return reason

    async def join(self, workers: list[Worker[Any]]) -> None:
        """Wait a few seconds for workers that were told to leave; those that do not are logged and given up."""
        left = await asyncio.gather(*(worker.join(JOIN_S) for worker in workers))
        for worker, gone in zip(workers, left, strict=True):
            if not gone:
                self.add(worker)
        if not all(left):
            _log.error("%d model threads hang and were left behind; they end with the process", left.count(False))
