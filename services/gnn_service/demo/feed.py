"""Replays the cycles of a recording through the service, and compares each diagnosis with the truth."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from gnn_service.client import Client
from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.domain.diagnosis import ComponentDiagnosis, Diagnosis, FaultFinding
from gnn_service.domain.machine import FailureMode, Machine
from gnn_service.domain.recording import MICROSECONDS, Recording, Truth
from gnn_service.domain.window import Window
from gnn_service.recordings.windows import cycle_windows

FOUND = 0.5
"""From this probability on a fault without levels counts as found."""


@dataclass(frozen=True, slots=True)
class TrueState:
    """What one component of a cycle really is: the mode that is labelled for it, and how far it has gone."""

    mode: FailureMode
    severity: float

    @property
    def faulty(self) -> bool:
        """Whether the fault is there at all."""
        return self.severity > 0

    @property
    def level(self) -> str | None:
        """The named level of the severity, where the mode has levels."""
        nearest = min(self.mode.levels, key=lambda level: abs(level.severity - self.severity), default=None)
        return nearest.name if nearest else None


@dataclass(frozen=True, slots=True)
class Cycle:
    """One duty cycle: its window, and the true state of the components whose state is known."""

    window: Window
    truth: Mapping[str, TrueState]
    stable: bool

    @property
    def healthy(self) -> bool:
        """Whether it may be commissioned from: settled, and known to be free of faults."""
        return self.stable and bool(self.truth) and not any(state.faulty for state in self.truth.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """One component of one diagnosis beside the truth; ``right`` is None where the service said unknown."""

    diagnosis: ComponentDiagnosis
    truth: TrueState | None
    right: bool | None

    @property
    def labelled(self) -> bool:
        """Whether the truth names one fault to look at: a mode with levels, or a fault that is there."""
        return self.truth is not None and (bool(self.truth.mode.levels) or self.truth.faulty)

    @property
    def finding(self) -> FaultFinding | None:
        """The fault to show: the one that is labelled, else the most probable."""
        if self.truth is not None and self.labelled:
            return _finding(self.diagnosis, self.truth.mode)
        return max(self.diagnosis.faults, key=lambda fault: fault.probability, default=None)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cycle as the service diagnosed it."""

    index: int
    cycle: Cycle
    diagnosis: Diagnosis
    verdicts: tuple[Verdict, ...]


class Feed(Protocol):
    """What the replay needs of `Client`."""

    async def put_machine(self, machine: Any) -> Any: ...  # noqa: D102

    async def commission(self, machine: Any, windows: Sequence[Any]) -> dict[str, Any]: ...  # noqa: D102

    async def put_baseline(self, machine_id: str, baseline: Any) -> None: ...  # noqa: D102

    async def send_readings(self, machine_id: str, readings: Any) -> Any: ...  # noqa: D102

    async def diagnose_machine(self, machine_id: str) -> Diagnosis: ...  # noqa: D102


def cycles_of(recording: Recording) -> tuple[Cycle, ...]:
    """The cycles of a recording in order of time, each with its truth. InvalidRecordingError where truth is missing."""
    if recording.truth is None:
        raise InvalidRecordingError("there is no truth to compare with; replay a recording that has truth.parquet")
    rows = _rows_by_start(recording.truth)
    return tuple(
        _cycle(window, recording.machine, recording.truth, rows.get(round(window.start * MICROSECONDS), []))
        for window in cycle_windows(recording)
    )


def split_for_commissioning(cycles: Sequence[Cycle], count: int) -> tuple[list[Cycle], list[Cycle]]:
    """The first ``count`` healthy cycles, and all the others. InvalidRecordingError where there are fewer."""
    healthy = [index for index, cycle in enumerate(cycles) if cycle.healthy][:count]
    if len(healthy) < count:
        raise InvalidRecordingError(f"{len(healthy)} settled healthy cycles are there to commission from, not {count}")
    chosen = set(healthy)
    return [cycles[index] for index in healthy], [c for index, c in enumerate(cycles) if index not in chosen]


def only_fault(cycles: Sequence[Cycle], machine: Machine, fault: str) -> list[Cycle]:
    """The cycles in which a failure mode is present. InvalidInputError lists those that there are."""
    present = {mode.id for cycle in cycles for mode in (s.mode for s in cycle.truth.values() if s.faulty)}
    if fault not in present:
        known = ", ".join(mode.id for mode in machine.failure_modes if mode.id in present)
        raise InvalidInputError(f"no cycle has the fault {fault!r}; there are: {known}", where="--fault")
    return [c for c in cycles if any(state.mode.id == fault and state.faulty for state in c.truth.values())]


async def replay(
    client: Feed | Client,
    machine: Machine,
    healthy: Sequence[Cycle],
    cycles: Sequence[Cycle],
    *,
    pause_s: float = 0.0,
    until_s: float | None = None,
) -> AsyncIterator[Replayed]:
    """Do as a plant does: describe the machine, commission it, send readings cycle by cycle, have each diagnosed.

    The machine is commissioned from the healthy cycles. The others are sent ``pause_s`` apart, with times of their own:
    as if the last of them had ended at ``until_s``, seconds since 1970 UTC, now where that is None.
    """
    await client.put_machine(machine)
    baseline = await client.commission(machine.id, [cycle.window for cycle in healthy])
    await client.put_baseline(machine.id, baseline)
    starts = _starts(cycles, time.time() if until_s is None else until_s)
    for index, (cycle, start) in enumerate(zip(cycles, starts, strict=True)):
        if index:
            await asyncio.sleep(pause_s)
        await client.send_readings(machine.id, _moved(cycle.window, start, index))
        diagnosis = await client.diagnose_machine(machine.id)
        verdicts = tuple(_verdict(component, cycle.truth) for component in diagnosis.components)
        yield Replayed(index, cycle, diagnosis, verdicts)


def _starts(cycles: Sequence[Cycle], until_s: float) -> list[float]:
    """When each cycle is to begin, in whole seconds: with a pause after it as long as the longest of them."""
    if not cycles:
        return []
    longest = max(cycle.window.end - cycle.window.start for cycle in cycles)
    apart = 2 * math.ceil(longest + 1)
    return [math.floor(until_s - longest) - apart * (len(cycles) - 1 - index) for index in range(len(cycles))]


def _moved(window: Window, start: float, index: int) -> Window:
    """The window at another time; cycles that have no number are counted."""
    times = window.times - window.times[0] + start
    return replace(window, times=times, cycle=index + 1 if window.cycle is None else window.cycle)


def _verdict(component: ComponentDiagnosis, truth: Mapping[str, TrueState]) -> Verdict:
    state = truth.get(component.component)
    if state is None:
        return Verdict(component, None, None)
    finding = _finding(component, state.mode)
    if component.health is None or (finding is None and (state.faulty or state.level is not None)):
        return Verdict(component, state, None)
    if finding is not None and state.level is not None:
        return Verdict(component, state, finding.level == state.level)
    if finding is not None and state.faulty:
        return Verdict(component, state, finding.probability >= FOUND)
    return Verdict(component, state, all(fault.probability < FOUND for fault in component.faults))


def _finding(component: ComponentDiagnosis, mode: FailureMode) -> FaultFinding | None:
    return next((fault for fault in component.faults if fault.id == mode.id), None)


def _rows_by_start(truth: Truth) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, start in enumerate(truth.start.tolist()):
        rows.setdefault(start, []).append(row)
    return rows


def _cycle(window: Window, machine: Machine, truth: Truth, rows: Sequence[int]) -> Cycle:
    states = {}
    for row in rows:
        component, fault = str(truth.component[row]), str(truth.fault[row])
        modes = [mode for mode in machine.modes_of(component) if fault in ("", mode.id)]
        if modes:
            states[component] = TrueState(modes[0], float(truth.severity[row]))
    stable = truth.extra.get("stable", np.ones(len(truth.start), dtype=np.bool_))
    return Cycle(window, states, stable=bool(rows) and all(bool(stable[row]) for row in rows))
