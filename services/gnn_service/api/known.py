"""The machines that the stateless routes know by their ids: those that are stored, and those of the bundle."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import GnnServiceError, UnknownMachineError
from gnn_service.domain.machine import Machine
from gnn_service.monitoring.machines import MachineDirectory
from gnn_service.observability import logs

FRESH_S: Final = 10.0
"""Seconds after which it is asked again, beside a request, whether a machine of the bundle is stored too."""
_log = logs.logger("gnn_service.api.known")


class KnownMachines:
    """Answers from memory: nobody who names a machine of the bundle, or one seen before, waits for the database.

    Belongs to one event loop. Of a stored machine and one of the bundle with the same id the stored one counts.

    Args:
        shipped: the bundle's machines by their ids.
        directory: the stored ones; None where nothing is stored.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        shipped: Callable[[], Mapping[str, Machine]],
        directory: MachineDirectory | None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._shipped = shipped
        self._directory = directory
        self._clock = clock or SystemClock()
        self._stored: dict[str, Machine] = {}  # under ids of the bundle
        self._asked_s: dict[str, float] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def names(self, given: str | Machine) -> Mapping[str, Machine]:
        """The machines among which a request's id is to be looked up.

        Raises:
            DatabaseUnavailableError: the id is neither in memory nor of the bundle, and the database is away.
        """
        shipped = self._shipped()
        if not isinstance(given, str) or self._directory is None:
            return shipped
        if given in shipped:
            self._ask_beside(given)
            return {given: self._stored.get(given, shipped[given])}
        try:
            return {given: (await self._directory.get(given)).machine}
        except UnknownMachineError:
            return shipped

    async def load(self) -> None:
        """Ask for the bundle's machines, so that a stored one of the same id counts from the first request on."""
        for machine_id in self._shipped() if self._directory is not None else ():
            self._ask_beside(machine_id)
        if self._asking:
            await asyncio.wait(self._asking)

    def changed(self, machine_id: str) -> None:
        """It was put or deleted just now."""
        self._stored.pop(machine_id, None)
        self._asked_s.pop(machine_id, None)
        if machine_id in self._shipped():
            self._ask_beside(machine_id)

    async def stop(self) -> None:
        """Ask no more."""
        tasks = list(self._asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_beside(self, machine_id: str) -> None:
        now = self._clock.monotonic()
        if now - self._asked_s.get(machine_id, float("-inf")) < FRESH_S:
            return
        self._asked_s[machine_id] = now
        task = asyncio.create_task(self._ask(machine_id), name="known-machine")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, machine_id: str) -> None:
        assert self._directory is not None  # noqa: S101 - nothing is asked without one
        try:
            self._stored[machine_id] = (await self._directory.get(machine_id)).machine
        except UnknownMachineError:
            self._stored.pop(machine_id, None)
        except GnnServiceError as error:  # what is known serves on
            _log.debug("not asked", machine=machine_id, reason=str(error))
