"""Which stretch of the newest readings a diagnosis looks at."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from gnn_service.domain.machine import DutyCycle, Machine
from gnn_service.domain.recording import Readings
from gnn_service.domain.window import Window
from gnn_service.model.grid import window_length_s
from gnn_service.monitoring.newest import Moment
from gnn_service.recordings.windows import window_of

_MICROSECONDS: Final = 1_000_000
COMPLETE: Final = 0.98
"""Share of its period that a cycle which has not ended yet must have lasted to count as complete."""


def span_s(machine: Machine) -> float:
    """Seconds of readings in which a whole window is found: the cycle that runs now, and the one before it."""
    length = window_length_s(machine)
    return length if machine.duty_cycle is None or is_free(machine.duty_cycle) else 2 * length


def is_free(cycle: DutyCycle) -> bool:
    """Whether nothing has a fixed place in the cycle: its length goes with the programme or the operator."""
    return bool(cycle.phases) and all(phase.kind == "free" for phase in cycle.phases)


def newest_window(machine: Machine, readings: Readings, moments: Sequence[Moment]) -> Window:
    """The newest window in readings that are not empty: the last complete duty cycle, else the last length of one.

    Where cycles begin comes from the changes of cycle number in ``moments``. Of a machine without a duty cycle, or one
    in which nothing has a fixed place, the window is the newest stretch, and so it is where no cycle is known.
    """
    length_us = round(window_length_s(machine) * _MICROSECONDS)
    times = readings.times
    tick_us = int(np.median(np.diff(times))) if len(times) > 1 else 0
    start, end, moment = int(times[-1]) - length_us + 1, int(times[-1]) + 1, None
    if machine.duty_cycle is not None and not is_free(machine.duty_cycle):
        found = _last_cycle(moments, int(times[0]), int(times[-1]) + tick_us, length_us)
        if found is not None and np.searchsorted(times, found[1]) < np.searchsorted(times, found[2]):
            moment, start, end = found
    first, stop = np.searchsorted(times, [start, end]).tolist()
    late_s = (int(times[first]) - moment.time_us) / _MICROSECONDS if moment is not None else None
    window = window_of(readings, first, stop, phase_s=late_s)
    doing = moment or _at(moments, int(times[first]))
    return Window(
        sensors=window.sensors,
        values=window.values,
        times=window.times,
        phase_s=late_s,
        cycle=doing.cycle if doing is not None else None,
        operating_state=doing.operating_state if doing is not None else None,
    )


def _last_cycle(
    moments: Sequence[Moment], begin_us: int, until_us: int, length_us: int
) -> tuple[Moment, int, int] | None:
    """The newest complete cycle in [begin_us, until_us), else the newest that began: its beginning, first and end."""
    starts = [m for m in moments if m.cycle is not None]
    starts = starts[:1] + [later for former, later in pairwise(starts) if later.cycle != former.cycle]
    starts = [start for start in starts if start.time_us < until_us]
    ends = [*(start.time_us for start in starts[1:]), until_us][: len(starts)]
    cycles = [(s, s.time_us, e) for s, e in zip(starts, ends, strict=True) if e > begin_us]
    complete = [
        cycle for cycle in cycles if cycle[1] >= begin_us and (cycle[2] < until_us or _lasted(cycle, length_us))
    ]
    return complete[-1] if complete else cycles[-1] if cycles else None


def _lasted(cycle: tuple[Moment, int, int], length_us: int) -> bool:
    return cycle[2] - cycle[1] >= COMPLETE * length_us


def _at(moments: Sequence[Moment], time_us: int) -> Moment | None:
    """What was known to be going on at a time."""
    before = [moment for moment in moments if moment.time_us <= time_us]
    return before[-1] if before else None
