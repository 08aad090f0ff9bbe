"""The descriptions of machines in memory, so that readings are taken and diagnosed while the database is away."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import UnknownMachineError
from gnn_service.db.machines import StoredMachine
from gnn_service.monitoring.deadline import within
from gnn_service.monitoring.drain import AWAY
from gnn_service.observability import logs

FRESH_S: Final = 10.0
"""Seconds that a description is used without asking whether another process has changed it."""
ASK_S: Final = 5.0
"""Seconds for the database to answer."""
MACHINES_MAX: Final = 10_000
_PAGE: Final = 500
_log = logs.logger("gnn_service.monitoring.machines")


class MachineSource(Protocol):
    """What is needed of `db.machines.MachineRepository`."""

    async def get(self, external_id: str) -> StoredMachine: ...  # noqa: D102 - see there

    async def page(self, *, after: str = "", limit: int = 100) -> Sequence[StoredMachine]: ...  # noqa: D102


class MachineDirectory:
    """Belongs to one event loop.

    Args:
        source: the database.
        fresh_s: seconds that a description is used without asking again.
        machines_max: descriptions kept; the one that was asked for longest ago leaves.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        source: MachineSource,
        *,
        fresh_s: float = FRESH_S,
        machines_max: int = MACHINES_MAX,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._fresh_s = fresh_s
        self._machines_max = machines_max
        self._clock = clock or SystemClock()
        self._known: OrderedDict[str, tuple[StoredMachine, float]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[StoredMachine]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, external_id: str) -> StoredMachine:
        """The machine of this id, as it was at most a few seconds ago, or when the database was last there.

        Raises:
            UnknownMachineError: there is none.
            DatabaseUnavailableError: it is not known here, and the database is away.
        """
        known = self._known.get(external_id)
        if known is not None and self._clock.monotonic() - known[1] < self._fresh_s:
            self._known.move_to_end(external_id)
            return known[0]
        try:
            return await self._ask(external_id)
        except AWAY as error:
            if known is None:
                raise
            _log.debug("a description is used unchecked", machine=external_id, error=str(error))
            # not asked again at once: a database that hangs must not make every caller wait
            self._known[external_id] = (known[0], self._clock.monotonic())
            return known[0]
        except UnknownMachineError:
            self.forget(external_id)
            raise

    def remember(self, machine: StoredMachine) -> None:
        """Use this description from now on: it was just stored or read."""
        self._known[machine.machine.id] = (machine, self._clock.monotonic())
        self._known.move_to_end(machine.machine.id)
        while len(self._known) > self._machines_max:
            self._known.popitem(last=False)

    def forget(self, external_id: str) -> None:
        """The machine was deleted."""
        self._known.pop(external_id, None)

    async def load(self) -> int:
        """Read all machines, as many as are kept, so that they are known when the database goes; how many."""
        after, loaded = "", 0
        while loaded < self._machines_max:
            page = await within(
                ASK_S,
                self._source.page(after=after, limit=min(_PAGE, self._machines_max - loaded)),
                name="reading machines",
            )
            for machine in page:
                self.remember(machine)
                after = machine.machine.id
            loaded += len(page)
            if len(page) < _PAGE:
                break
        return loaded

    async def _ask(self, external_id: str) -> StoredMachine:
        """Ask the database; callers who ask for the same at once share one question."""
        task = self._asking.get(external_id)
        if task is None:
            task = asyncio.create_task(self._answered(external_id), name="machine")
            self._asking[external_id] = task
            task.add_done_callback(lambda done: self._asked(external_id, done))
        return await asyncio.shield(task)

    async def _answered(self, external_id: str) -> StoredMachine:
        machine = await within(ASK_S, self._source.get(external_id), name="reading a machine")
        self.remember(machine)
        return machine

    def _asked(self, external_id: str, task: asyncio.Task[StoredMachine]) -> None:
        self._asking.pop(external_id, None)
        if not task.cancelled():
            task.exception()  # whoever asked has heard it, or has left
