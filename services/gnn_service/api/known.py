"""Machines by their ids, in memory: those that are stored, and those that the bundle brings along."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import GnnServiceError, UnavailableError, UnknownMachineError
from gnn_service.db.machines import MachineRepository, StoredMachine, unknown_machine
from gnn_service.domain.machine import Machine
from gnn_service.observability import logs

FRESH_S: Final = 5.0
"""Seconds after which a machine that is used is looked up again: another process may have changed it."""
NO_STORE: Final = "this service stores nothing (GNN_DATABASE__ENABLED is false); switch it on, or ask one that does"
_log = logs.logger("gnn_service.api.known")


@dataclass(slots=True)
class _Entry:
    """What was found under an id, None for nothing, and when."""

    stored: StoredMachine | None
    looked_s: float


class KnownMachines:
    """Answers from memory wherever it can: nobody waits for the database who asks for a machine seen before.

    Belongs to one event loop. Of a stored machine and one of the bundle with the same id the stored one counts.

    Args:
        shipped: the bundle's machines by their ids.
        repository: where machines are stored; None where nothing is.
        machines_max: kept in memory; the one not asked for for longest leaves.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        shipped: Callable[[], Mapping[str, Machine]],
        repository: MachineRepository | None,
        *,
        machines_max: int,
        clock: Clock | None = None,
    ) -> None:
        self._shipped = shipped
        self._repository = repository
        self._machines_max = machines_max
        self._clock = clock or SystemClock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._changes = 0

    async def names(self, given: str | Machine) -> Mapping[str, Machine]:
        """The machines among which a request's id is to be looked up; waits for the database only for a new id.

        Raises:
            DatabaseUnavailableError: the id is neither in memory nor of the bundle, and the database is away.
        """
        shipped = self._shipped()
        if not isinstance(given, str) or self._repository is None:
            return shipped
        entry = self._remembered(given)
        if entry is not None and entry.stored is not None:
            return {given: entry.stored.machine}
        if given in shipped:
            if entry is None:
                self._look(given)
            return shipped
        try:
            return {given: (await self.stored(given)).machine}
        except UnknownMachineError:
            return shipped

    async def stored(self, machine_id: str) -> StoredMachine:
        """The stored machine of this id.

        Raises:
            UnknownMachineError: there is none.
            DatabaseUnavailableError: it is not in memory, and the database is away.
        """
        if self._repository is None:
            raise UnavailableError(NO_STORE)
        entry = self._remembered(machine_id)
        if entry is not None and entry.stored is not None:
            return entry.stored
        changes = self._changes
        found = await self._repository.get(machine_id)
        if changes == self._changes:
            self._keep(machine_id, found)
        return found

    async def load(self) -> None:
        """Look the bundle's machines up, so that a stored one of the same id counts from the first request on."""
        for machine_id in self._shipped() if self._repository is not None else ():
            self._look(machine_id)
        if self._looking:
            await asyncio.wait(self._looking.values())

    def put(self, stored: StoredMachine) -> None:
        """It was stored just now."""
        self._changes += 1
        self._keep(stored.machine.id, stored)

    def forget(self, machine_id: str) -> None:
        """It was deleted, or is not what is remembered."""
        self._changes += 1
        self._entries.pop(machine_id, None)

    async def stop(self) -> None:
        """Look nothing up any more."""
        tasks = list(self._looking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _remembered(self, machine_id: str) -> _Entry | None:
        entry = self._entries.get(machine_id)
        if entry is not None:
            self._entries.move_to_end(machine_id)
            if self._clock.monotonic() - entry.looked_s > FRESH_S:
                self._look(machine_id)
        return entry

    def _keep(self, machine_id: str, stored: StoredMachine | None) -> None:
        self._entries[machine_id] = _Entry(stored, self._clock.monotonic())
        self._entries.move_to_end(machine_id)
        while len(self._entries) > self._machines_max:
            self._entries.popitem(last=False)

    def _look(self, machine_id: str) -> None:
        """Look it up beside the request that asked, one at a time for each id."""
        if machine_id not in self._looking:
            task = asyncio.create_task(self._look_up(machine_id), name="look-up")
            self._looking[machine_id] = task
            task.add_done_callback(lambda _: self._looking.pop(machine_id, None))

    async def _look_up(self, machine_id: str) -> None:
        assert self._repository is not None  # noqa: S101 - nothing is looked up without one
        changes = self._changes
        try:
            found: StoredMachine | None = await self._repository.get(machine_id)
        except UnknownMachineError:
            found = None
        except GnnServiceError as error:
            _log.debug("look_up_failed", machine=machine_id, error=str(error))
            return  # what is remembered serves on
        if changes != self._changes:
            return  # something was put or deleted meanwhile: this may be older
        if found is not None or machine_id in self._shipped():
            self._keep(machine_id, found)
        else:
            self._entries.pop(machine_id, None)


def no_machine(machine_id: str) -> UnknownMachineError:
    """The error for an id that no stored machine has."""
    return unknown_machine(machine_id)
