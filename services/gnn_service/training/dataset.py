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
from gnn_service.model.grid import on_grid
from gnn_service.model.judge import severities_of
from gnn_service.recordings.windows import cycle_windows

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class WindowSet:
    """W windows of one machine. ``levels[mode]`` (W,) holds the index of the true level, -1 where not known.

    ``grids`` (W, S, T) float32 in the machine's units; ``group``, ``settled`` and every column of ``extra`` (W,).
    """

    machine: Machine
    windows: tuple[Window, ...]
    grids: NDArray[np.float32]
    group: NDArray[np.str_]
    settled: NDArray[np.bool_]
    levels: Mapping[str, NDArray[np.int64]]
    extra: Mapping[str, NDArray[Any]]

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
        )

    def join(self, other: "WindowSet") -> "WindowSet":
        """These windows and those of another set of the same machine."""
        return WindowSet(
            self.machine,
            self.windows + other.windows,
            np.concatenate([self.grids, other.grids]),
            np.concatenate([self.group, other.group]),
            np.concatenate([self.settled, other.settled]),
            {mode: np.concatenate([levels, other.levels[mode]]) for mode, levels in self.levels.items()},
            {name: np.concatenate([column, other.extra[name]]) for name, column in self.extra.items()},
        )

    @property
    def modes(self) -> tuple[FailureMode, ...]:
        """Failure modes of which at least one window's level is known."""
        return tuple(m for m in self.machine.failure_modes if (self.levels[m.id] != UNKNOWN).any())

    def level_table(self) -> NDArray[np.int64]:
        """Levels of all known modes, (W, tasks)."""
        return np.stack([self.levels[m.id] for m in self.modes], axis=1)

    def constant_modes(self) -> frozenset[str]:
        """Modes present at one unchanging level above none: part of the operating regime, not faults."""
        return frozenset(
            mode
            for mode, levels in self.levels.items()
            if len(levels) and levels[0] > 0 and (levels == levels[0]).all()
        )

    def healthy(self, ignoring: frozenset[str] = frozenset()) -> NDArray[np.bool_]:
        """Windows free of every fault but the ignored ones, (W,)."""
        free = np.ones(len(self), bool)
        for mode, levels in self.levels.items():
            if mode not in ignoring:
                free &= levels <= 0
        return free

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
    """Cut a recording into cycles and join each with its truth. Without truth every level is unknown."""
    machine = recording.machine
    windows = tuple(cycle_windows(recording))
    if not windows:
        raise InvalidRecordingError("the recording holds no complete cycle")
    grids = np.stack([on_grid(machine, window) for window in windows])
    middle = np.array([(w.start + w.end) / 2 for w in windows]) * MICROSECONDS
    levels = {mode.id: np.full(len(windows), UNKNOWN, np.int64) for mode in machine.failure_modes}
    group = np.array([f"cycle-{w.cycle if w.cycle is not None else k}" for k, w in enumerate(windows)])
    truth = recording.truth
    if truth is None:
        return WindowSet(machine, windows, grids, group, np.ones(len(windows), bool), levels, {})
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
    extra = {name: column[first_row] for name, column in truth.extra.items()}
    settled = np.asarray(extra["stable"], bool) & known if "stable" in extra else np.ones(len(windows), bool)
    return WindowSet(machine, windows, grids, group.astype(str), settled, levels, extra)


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
        length = np.array([windows.windows[i].end - windows.windows[i].start for i in found])
        tick = np.array([np.median(np.diff(windows.windows[i].times)) for i in found])
        total = np.cumsum(length + tick)
        count = int(np.searchsorted(total, seconds or 0.0) + 1)
    if len(found) < count:
        raise InvalidInputError(
            f"commissioning needs {count} healthy and settled windows, and there are {len(found)}; "
            "ask for fewer, or choose a part of the recording that has them"
        )
    return found[:count]


def _join(start: NDArray[np.int64], end: NDArray[np.int64], middle: NDArray[np.float64]) -> Sequence[tuple[int, int]]:
    """Pairs (truth row, window) in which the window's middle lies in the row's stretch of time."""
    order = np.argsort(middle, kind="stable")
    first = np.searchsorted(middle[order], start, side="left")
    last = np.searchsorted(middle[order], end, side="left")
    return [(row, int(order[k])) for row in range(len(start)) for k in range(first[row], last[row])]
