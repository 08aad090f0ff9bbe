"""The diagnosis of a machine's newest window, on request, also while the database is away."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import GnnServiceError, NotFoundError
from gnn_service.db.diagnoses import Given, Origin
from gnn_service.db.events import Operation
from gnn_service.db.machines import StoredMachine
from gnn_service.db.state import StoredBaseline
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.domain.window import Window
from gnn_service.model.baseline import Baseline
from gnn_service.monitoring.deadline import within
from gnn_service.monitoring.drain import AWAY
from gnn_service.monitoring.ingest import Ingest, Kept
from gnn_service.monitoring.machines import ASK_S, FRESH_S, MachineDirectory
from gnn_service.monitoring.newest import NewestReadings
from gnn_service.monitoring.pieces import Doing
from gnn_service.monitoring.window import newest_window, span_s
from gnn_service.observability import logs

KNOWN_MAX: Final = 10_000
"""Machines whose baseline is kept in memory, at most."""
COVERED: Final = 0.95
"""Share of the span that memory must hold for the database not to be asked for more."""
_MICROSECONDS: Final = 1_000_000
_log = logs.logger("gnn_service.monitoring.diagnose")


class BundleVersion(Protocol):
    """What is needed of `model.bundle.Bundle`."""

    @property
    def version(self) -> str: ...  # noqa: D102 - see Bundle


class Diagnosing(Protocol):
    """What is needed of `inference.diagnoser.Diagnoser`."""

    @property
    def bundle(self) -> BundleVersion: ...  # noqa: D102 - see Diagnoser

    async def diagnose(  # noqa: D102
        self, machine: Machine, window: Window, baseline: Baseline | None = None, *, timeout_s: float | None = None
    ) -> Diagnosis: ...


class History(Protocol):
    """What is needed of `db.readings.ReadingRepository`."""

    async def window(self, machine: StoredMachine, *, ticks: int = 128) -> Readings: ...  # noqa: D102 - see there


class Operations(Protocol):
    """What is needed of `db.events.EventRepository`."""

    async def operation(self, machine_id: int, from_us: int, to_us: int) -> Operation: ...  # noqa: D102 - see there


class Baselines(Protocol):
    """What is needed of `db.state.StateRepository`."""

    async def baseline(self, machine_id: int, bundle: str) -> StoredBaseline | None: ...  # noqa: D102 - see there


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A diagnosis, and whether it is in the database.

    ``kept`` is None where neither the database nor the spool took it: then it is in this answer alone.
    """

    diagnosis: Diagnosis
    kept: Kept | None

    @property
    def persisted(self) -> bool:
        """Whether it is in the database already."""
        return self.kept is Kept.STORED


@dataclass(frozen=True, slots=True)
class Sources:
    """The repositories that are asked where memory does not know enough."""

    history: History
    operations: Operations
    baselines: Baselines


class MachineDiagnoses:
    """Belongs to one event loop.

    Args:
        diagnoser: computes them.
        machines: descriptions.
        newest: the newest readings, as they are taken in.
        ingest: keeps what was diagnosed.
        sources: what the database knows of the time before this process.
        ticks_max: ticks that are asked for, at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        diagnoser: Diagnosing,
        machines: MachineDirectory,
        newest: NewestReadings,
        ingest: Ingest,
        *,
        sources: Sources,
        ticks_max: int,
        clock: Clock | None = None,
    ) -> None:
        self._diagnoser = diagnoser
        self._machines = machines
        self._newest = newest
        self._ingest = ingest
        self._sources = sources
        self._ticks_max = ticks_max
        self._clock = clock or SystemClock()
        self._asked: OrderedDict[tuple[int, int], None] = OrderedDict()  # whose past is in memory, if there is one
        self._baselines: OrderedDict[tuple[int, str], tuple[Baseline | None, float]] = OrderedDict()

    async def diagnose(self, external_id: str, *, request_id: str = "", timeout_s: float | None = None) -> Diagnosed:
        """Diagnose the newest window of a machine, and keep the answer: once a window, bundle and request.

        Args:
            external_id: the machine.
            request_id: tells requests of the same window apart; '' counts as the same one.
            timeout_s: seconds for the engine; its own limit where None.

        Raises:
            UnknownMachineError: there is no such machine.
            NotFoundError: it has no readings yet.
            DatabaseUnavailableError: neither it nor its readings are in memory, and the database is away.
            GnnServiceError: what `Engine.infer` raises.
        """
        machine = await self._machines.get(external_id)
        readings = await self._readings(machine)
        window = newest_window(machine.machine, readings, self._newest.moments(machine.machine_id))
        baseline = await self._baseline(machine.machine_id)
        diagnosis = await self._diagnoser.diagnose(machine.machine, window, baseline, timeout_s=timeout_s)
        given = Given(machine.machine_id, diagnosis, Origin.REQUEST, request_id)
        return Diagnosed(diagnosis, await self._keep(given))

    def forget_baseline(self, machine_id: int) -> None:
        """The machine has another one now."""
        for key in [key for key in self._baselines if key[0] == machine_id]:
            del self._baselines[key]

    async def _readings(self, machine: StoredMachine) -> Readings:
        span = span_s(machine.machine)
        known = self._newest.readings(machine, span)
        revision = (machine.machine_id, machine.revision)
        if known is None or (not _covers(known, span) and revision not in self._asked):
            try:
                await self._look_back(machine, span)
            except AWAY as error:
                if known is None:
                    raise
                _log.debug("the time before memory is not known", machine=machine.machine.id, error=str(error))
            known = self._newest.readings(machine, span)
        if known is None or not len(known.times):
            raise NotFoundError(f"machine {machine.machine.id} has no readings yet; send some")
        return known

    async def _look_back(self, machine: StoredMachine, span: float) -> None:
        """Fill memory with what the database knows of the newest stretch."""
        ticks = min(self._ticks_max, math.ceil(span * max(machine.rates_hz, default=1.0)) + 1)
        read = await within(ASK_S, self._sources.history.window(machine, ticks=ticks), name="reading a window")
        if len(read.times):
            begin, end = int(read.times[0]), int(read.times[-1]) + 1
            asked = self._sources.operations.operation(machine.machine_id, begin, end)
            doing = Doing(machine.machine_id, await within(ASK_S, asked, name="reading operation"))
            blocks = machine.blocks(read.times, read.sensors, read.values)
            self._newest.add([*blocks, doing], older=True)
        self._asked[machine.machine_id, machine.revision] = None
        while len(self._asked) > KNOWN_MAX:
            self._asked.popitem(last=False)

    async def _baseline(self, machine_id: int) -> Baseline | None:
        """The machine's own baseline for the bundle that answers; the last one known while the database is away."""
        key = (machine_id, self._diagnoser.bundle.version)
        known = self._baselines.get(key)
        if known is not None and self._clock.monotonic() - known[1] < FRESH_S:
            return known[0]
        try:
            stored = await within(ASK_S, self._sources.baselines.baseline(*key), name="reading a baseline")
            baseline = stored.baseline if stored is not None else None
        except AWAY as error:
            _log.debug("the baseline is used unchecked", machine_id=machine_id, error=str(error))
            baseline = known[0] if known is not None else None
        self._baselines[key] = (baseline, self._clock.monotonic())
        self._baselines.move_to_end(key)
        while len(self._baselines) > KNOWN_MAX:
            self._baselines.popitem(last=False)
        return baseline

    async def _keep(self, given: Given) -> Kept | None:
        try:
            return (await self._ingest.submit([given])).kept
        except GnnServiceError as error:  # whoever asked gets the answer all the same
            _log.warning("a diagnosis was not kept", machine_id=given.machine_id, error=str(error))
            return None


def _covers(readings: Readings | None, span: float) -> bool:
    if readings is None or len(readings.times) < 2:
        return False
    return float(readings.times[-1] - readings.times[0]) >= COVERED * span * _MICROSECONDS
