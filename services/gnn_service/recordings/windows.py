"""Windows cut from a recording: one a duty cycle."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording
from gnn_service.domain.window import Window


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
    cycle that the recording joined late is placed by its end. InvalidRecordingError where neither is known.
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
    for first, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        late = 0.0 if first or period is None else _joined_late(readings.times, stop, period)
        yield window_of(readings, start, stop, phase_s=late)


def _joined_late(times: NDArray[np.int64], stop: int, period_s: float) -> float:
    """Seconds of the first cycle that are missing before its first row, where the next cycle follows without a gap."""
    if stop < 2 or stop >= len(times) or times[stop] - times[stop - 1] > 1.5 * (times[stop - 1] - times[stop - 2]):
        return 0.0
    return max(0.0, period_s - float(times[stop] - times[0]) / MICROSECONDS)
