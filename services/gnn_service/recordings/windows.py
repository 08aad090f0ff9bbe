"""Windows cut from a recording: one a duty cycle."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.machine import DutyCycle
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording
from gnn_service.domain.window import Window

SHORT = 0.8
"""Share of the period below which a cycle is a short one."""


def window_of(readings: Readings, start: int, stop: int, *, phase_s: float | None = 0.0) -> Window:
    """Rows ``start:stop`` as a window; ``phase_s`` is the first row's place in the duty cycle, None where unknown."""
    cycle = None if readings.cycle is None else int(readings.cycle[start])
    state = None if readings.operating_state is None else str(readings.operating_state[start]) or None
    return Window(
        sensors=readings.sensors,
        values=np.ascontiguousarray(readings.values[start:stop].T),
        times=readings.times[start:stop] / MICROSECONDS,
        phase_s=phase_s,
        cycle=cycle,
        operating_state=state,
    )


def cycle_windows(recording: Recording) -> Iterator[Window]:
    """One window for each cycle, in order of time, at the recording's rate.

    Cycles come from the ``cycle`` column, else from the period of the duty cycle counted from the first row. A first
    cycle that the recording joined late is placed by its end. Where nothing has a fixed place in the cycle (all its
    phases are free) and most of a stretch of work are short cycles, the stretch is cut by the period instead.
    InvalidRecordingError where neither is known.
    """
    readings, machine = recording.readings, recording.machine
    period = machine.duty_cycle.period_s if machine.duty_cycle else None
    if readings.cycle is not None:
        labels = readings.cycle
    elif period is not None:
        labels = (readings.times - readings.times[0]) // round(period * MICROSECONDS)
    else:
        raise InvalidRecordingError("no cycle column and no duty cycle in machine.json: it cannot be cut into cycles")
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, len(labels)]
    cycles = list(zip(starts.tolist(), stops.tolist(), strict=True))
    free = machine.duty_cycle is not None and _is_free(machine.duty_cycle)
    bounds = list(_joined(readings, cycles, (period or 0.0) * MICROSECONDS)) if free else cycles
    for first, (start, stop) in enumerate(bounds):
        placed = not first and period is not None and bounds[0] == cycles[0]
        late = _joined_late(readings.times, stop, period or 0.0) if placed else 0.0
        yield window_of(readings, start, stop, phase_s=late)


def _joined_late(times: NDArray[np.int64], stop: int, period_s: float) -> float:
    """Seconds of the first cycle that are missing before its first row, where the next cycle follows without a gap."""
    if stop < 2 or stop >= len(times) or times[stop] - times[stop - 1] > 1.5 * (times[stop - 1] - times[stop - 2]):
        return 0.0
    return max(0.0, period_s - float(times[stop] - times[0]) / MICROSECONDS)


def _is_free(cycle: DutyCycle) -> bool:
    """Whether nothing has a fixed place in it: its length goes with the programme or the operator."""
    return bool(cycle.phases) and all(phase.kind == "free" for phase in cycle.phases)


def _joined(readings: Readings, cycles: list[tuple[int, int]], period: float) -> Iterator[tuple[int, int]]:
    """Rows of each window: cycles as they are, or pieces of a period of stretches that are mostly short cycles."""
    times, states = readings.times, readings.operating_state
    tick = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    stretches: list[list[tuple[int, int]]] = []
    for start, stop in cycles:
        follows = start > 0 and times[start] - times[start - 1] <= 1.5 * tick
        if follows and (states is None or states[start] == states[start - 1]):
            stretches[-1].append((start, stop))
        else:
            stretches.append([(start, stop)])
    for stretch in stretches:
        spans = np.array([times[stop - 1] - times[start] + tick for start, stop in stretch])
        whole, short = spans.sum(), spans[spans < SHORT * period].sum()
        if 2.0 * short <= whole or whole < SHORT * period:
            yield from stretch
            continue
        first, end = stretch[0][0], stretch[-1][1]
        begins = times[first] + period * np.arange(max(1, round(whole / period)))
        edges = first + np.searchsorted(times[first:end], begins)
        yield from zip(edges.tolist(), [*edges[1:].tolist(), end], strict=True)
