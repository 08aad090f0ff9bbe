"""Windows with their truth: what training, calibration and scoring work on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.domain.machine import FailureMode, Machine
from gnn_service.domain.recording import MICROSECONDS, Recording
from gnn_service.domain.window import Window
from gnn_service.model.decode import too_short
from gnn_service.model.grid import on_grid
from gnn_service.model.judge import severities_of
from gnn_service.recordings.windows import cycle_windows

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class WindowSet:
    """W windows of one machine. ``levels[mode]`` (W,) holds the index of the true level, -1 where not known.

    ``grids`` (W, S, T) float32 in the machine's units; ``group``, ``settled`` and every column of ``extra`` (W,).
    ``too_short`` counts the recordings' cycles that are not among them, being too short to be diagnosed.
    """

    machine: Machine
    windows: tuple[Window, ...]
    grids: NDArray[np.float32]
    group: NDArray[np.str_]
    settled: NDArray[np.bool_]
    levels: Mapping[str, NDArray[np.int64]]
    extra: Mapping[str, NDArray[Any]]
    too_short: int = 0

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, rows: NDArray[Any]) -> "WindowSet":
        """The windows at these rows (indices or mask), in their order."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return WindowSet(
            self.machine,
            tuple(self.windows[i] for i in index),
            self.grids[index],
            self.group[index],
            self.settled[index],
            {mode: levels[index] for mode, levels in self.levels.items()},
            {name: column[index] for name, column in self.extra.items()},
            self.too_short,
        )

    def join(self, other: "WindowSet") -> "WindowSet":
        """These windows and those of another set of the same machine.

        Of the truth's own columns those that both have are kept. Raises InvalidInputError when sensors, failure modes
        or duty cycle differ.
        """
        parts = [(m.sensor_ids, m.failure_modes, m.duty_cycle) for m in (self.machine, other.machine)]
        if parts[0] != parts[1]:
            raise InvalidInputError(
                f"two recordings describe machine {self.machine.id} differently; give each its own id"
            )
        return WindowSet(
            self.machine,
            self.windows + other.windows,
            np.concatenate([self.grids, other.grids]),
            np.concatenate([self.group, other.group]),
            np.concatenate([self.settled, other.settled]),
            {mode: np.concatenate([levels, other.levels[mode]]) for mode, levels in self.levels.items()},
            {name: np.concatenate([c, other.extra[name]]) for name, c in self.extra.items() if name in other.extra},
            self.too_short + other.too_short,
        )

    @property
    def modes(self) -> tuple[FailureMode, ...]:
        """Failure modes of which at least one window's level is known."""
        return tuple(m for m in self.machine.failure_modes if (self.levels[m.id] != UNKNOWN).any())

    def level_table(self) -> NDArray[np.int64]:
        """Levels of all known modes, (W, tasks). Raises InvalidInputError when there is none."""
        if not self.modes:
            raise InvalidInputError(f"the recording of {self.machine.id} has no truth; there is nothing to learn from")
        return np.stack([self.levels[m.id] for m in self.modes], axis=1)

    def constant_modes(self) -> frozenset[str]:
        """Modes present at one unchanging level above none: part of the operating regime, not faults."""
        return frozenset(
            mode
            for mode, levels in self.levels.items()
            if len(levels) and levels[0] > 0 and (levels == levels[0]).all()
        )

    def healthy(self, ignoring: frozenset[str] = frozenset()) -> NDArray[np.bool_]:
        """Windows free of every fault but the ignored ones, (W,).

        A mode that is known in some windows has to be known in a healthy one; without any truth all are healthy.
        """
        free = np.ones(len(self), bool)
        for mode in self.modes:
            if mode.id not in ignoring:
                free &= self.levels[mode.id] == 0
        return free

    def faulty(self, ignoring: frozenset[str] = frozenset()) -> NDArray[np.bool_]:
        """Windows with a known fault other than the ignored ones, (W,)."""
        ill = np.zeros(len(self), bool)
        for mode, levels in self.levels.items():
            if mode not in ignoring:
                ill |= levels > 0
        return ill

    def column(self, key: str) -> NDArray[Any]:
        """A column of the truth, e.g. `cooler`, `group`. Raises InvalidInputError naming those there are."""
        if key == "group":
            return self.group
        if key not in self.extra:
            raise InvalidInputError(
                f"the truth has no column {key!r}; there are: {', '.join(['group', *sorted(self.extra)])}"
            )
        return self.extra[key]


def window_set(recording: Recording) -> WindowSet:
    """Cut a recording into cycles and join each with its truth, by the middle of the cycle.

    Where there is no truth, levels are unknown, a cycle is a group of its own, and it counts as settled unless other
    cycles are marked. Cycles that are too short to be diagnosed, as one that a recording ends in, are left out and
    counted. Raises InvalidRecordingError when there is no whole cycle.
    """
    machine = recording.machine
    if not len(recording.readings.times):
        raise InvalidRecordingError("the recording holds no cycle; record at least one")
    found = [(window, on_grid(machine, window)) for window in cycle_windows(recording)]
    reasons = [too_short(machine, grid) for _, grid in found]
    whole = [pair for pair, reason in zip(found, reasons, strict=True) if not reason]
    if not whole:
        raise InvalidRecordingError(f"the recording holds no whole cycle: {reasons[0]}")
    missed = len(found) - len(whole)
    windows = tuple(window for window, _ in whole)
    grids = np.stack([grid for _, grid in whole])
    middle = np.array([(w.start + w.end) / 2 for w in windows]) * MICROSECONDS
    levels = {mode.id: np.full(len(windows), UNKNOWN, np.int64) for mode in machine.failure_modes}
    group = np.array([f"cycle-{w.cycle if w.cycle is not None else k}" for k, w in enumerate(windows)])
    truth = recording.truth
    if truth is None or not len(truth.start):
        return WindowSet(machine, windows, grids, group, np.ones(len(windows), bool), levels, {}, missed)
    row_of = _join(truth.start, truth.end, middle)
    modes_on = {c.id: machine.modes_of(c.id) for c in machine.components}
    first_row = np.full(len(windows), -1)
    for row, window in row_of:
        first_row[window] = row if first_row[window] < 0 else first_row[window]
        for mode in modes_on[str(truth.component[row])]:
            if str(truth.fault[row]) == mode.id:
                levels[mode.id][window] = nearest_level(mode, float(truth.severity[row]))
            elif levels[mode.id][window] == UNKNOWN:
                levels[mode.id][window] = 0
    known = first_row >= 0
    group = np.where(known, truth.group[first_row], group)
    extra = {name: _taken(column, first_row) for name, column in truth.extra.items()}
    settled = np.ones(len(windows), bool)
    if "stable" in truth.extra:
        settled = np.asarray(truth.extra["stable"], bool)[first_row] & known
    return WindowSet(machine, windows, grids, group.astype(str), settled, levels, extra, missed)


def _taken(column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Entries of a truth column, (W,); None where the row is -1, so that it equals no value that is asked for."""
    if (rows >= 0).all():
        return column[rows]
    return np.array([column[row] if row >= 0 else None for row in rows], dtype=object)


def nearest_level(mode: FailureMode, severity: float) -> int:
    """Index of the level whose severity is nearest."""
    return int(np.abs(np.asarray(severities_of(mode)) - severity).argmin())


def commissioning_rows(windows: WindowSet, count: int | None = None, seconds: float | None = None) -> NDArray[np.int64]:
    """The first ``count`` healthy and settled windows, or the first ``seconds`` of them, wherever they lie.

    A fault present at one unchanging level through all of them belongs to the regime and does not count. Without
    truth the first windows are taken. Raises InvalidInputError saying how many there are when there are too few.
    """
    fit = windows.healthy(windows.constant_modes()) & windows.settled
    found = np.flatnonzero(fit)
    if count is None:
        ticks = [_tick_s(windows.windows[i]) for i in found]
        total = np.cumsum([windows.windows[i].end - windows.windows[i].start for i in found]) + np.cumsum(ticks)
        # A clock that jitters by less than half a sample costs no cycle.
        count = int(np.searchsorted(total, (seconds or 0.0) - max(ticks, default=0.0) / 2)) + 1
        if count > len(found):
            there = f"{total[-1] if len(total) else 0.0:.0f} s in {len(found)} cycles"
            raise InvalidInputError(
                f"commissioning needs {seconds or 0.0:.0f} s of healthy and settled cycles, and there are {there}; "
                "ask for less, or choose a part of the recording that has it"
            )
    if len(found) < count:
        raise InvalidInputError(
            f"commissioning needs {count} healthy and settled windows, and there are {len(found)}; "
            "ask for fewer, or choose a part of the recording that has them"
        )
    return found[:count]


def _tick_s(window: Window) -> float:
    """Time from sample to sample, s."""
    return float(np.median(np.diff(window.times))) if len(window.times) > 1 else 0.0


def _join(start: NDArray[np.int64], end: NDArray[np.int64], middle: NDArray[np.float64]) -> Sequence[tuple[int, int]]:
    """Pairs (truth row, window) in which the window's middle lies in the row's stretch of time."""
    order = np.argsort(middle, kind="stable")
    first = np.searchsorted(middle[order], start, side="left")
    last = np.searchsorted(middle[order], end, side="left")
    return [(row, int(order[k])) for row in range(len(start)) for k in range(first[row], last[row])]
