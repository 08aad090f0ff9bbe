"""Diagnosing a whole recording, with a baseline from its own beginning or its own healthy cycles."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Recording
from gnn_service.domain.window import Window
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.recordings.windows import cycle_windows
from gnn_service.training.dataset import commissioning_rows, window_set
from gnn_service.training.scoring import CALLERS, Tick, together


@dataclass(frozen=True, slots=True)
class Chosen:
    """Windows to diagnose, and the healthy ones that make the baseline."""

    machine: Machine
    windows: tuple[Window, ...]
    healthy: tuple[Window, ...]


def choose(recording: Recording, at: datetime | None, cycles: int | None, seconds: float | None) -> Chosen:
    """The windows of a recording, or the one that runs ``at`` a time. Raises InvalidInputError when none does."""
    healthy: tuple[Window, ...] = ()
    if cycles is not None or seconds is not None:
        windows = window_set(recording)
        healthy = tuple(windows.windows[k] for k in commissioning_rows(windows, cycles, seconds))
    found: Sequence[Window] = list(cycle_windows(recording))
    if at is not None:
        moment = at.timestamp()
        running = [w for k, w in enumerate(found) if w.start <= moment < _until(found, k)]
        if not running:
            first, last = (
                datetime.fromtimestamp(found[0].start, at.tzinfo),
                datetime.fromtimestamp(found[-1].end, at.tzinfo),
            )
            raise InvalidInputError(f"no cycle runs at {at.isoformat()}; the recording holds {first} to {last}")
        found = running
    return Chosen(recording.machine, tuple(found), healthy)


async def diagnose_all(diagnoser: Diagnoser, chosen: Chosen, tick: Tick | None = None) -> list[Diagnosis]:
    """Diagnoses in order of time."""
    baseline = diagnoser.baseline_of(chosen.machine, chosen.healthy) if chosen.healthy else None
    door, done = asyncio.Semaphore(CALLERS), 0

    async def one(window: Window) -> Diagnosis:
        nonlocal done
        async with door:
            answer = await diagnoser.diagnose(chosen.machine, window, baseline)
        done += 1
        if tick is not None:
            tick(done, len(chosen.windows))
        return answer

    return await together(one(window) for window in chosen.windows)


def _until(windows: Sequence[Window], index: int) -> float:
    """When the next window starts, or one sample after the last."""
    if index + 1 < len(windows):
        return windows[index + 1].start
    times = windows[index].times
    return float(times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1.0))
