"""Removes what deleted machines have left, in bounded steps."""

import asyncio
from typing import Final

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.db.machines import MachineRepository
from gnn_service.observability import logs

_EVERY_S: Final = 600.0
_BREATH_S: Final = 0.1  # others want the database too
_log = logs.logger("gnn_service.db.purge")


class Purge:
    """Works after each `nudge`, and now and then for what other processes or a crash left. Belongs to one event loop.

    Args:
        machines: whose deleted ones.
        clock: pauses.
    """

    def __init__(self, machines: MachineRepository, *, clock: Clock | None = None) -> None:
        self._machines = machines
        self._clock = clock or SystemClock()
        self._wake = asyncio.Event()
        self.removed_total = 0

    def nudge(self) -> None:
        """A machine was deleted."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled. A step that fails is logged, and done again later."""
        while True:
            self._wake.clear()
            try:
                while removed := await self._machines.purge():
                    self.removed_total += removed
                    await self._clock.sleep(_BREATH_S)
            except Exception as error:  # noqa: BLE001 - the next round may do better, and must come
                _log.warning("purge_failed", error=str(error), kind=type(error).__name__)
            waking = asyncio.ensure_future(self._wake.wait())
            pausing = asyncio.ensure_future(self._clock.sleep(_EVERY_S))
            try:
                await asyncio.wait({waking, pausing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
                pausing.cancel()
