"""A row a duty cycle: how long it took, what each sensor showed in each phase, and where the energy went.

Fed with the frames of a batch chunk by chunk, so that a long run at full rate never lies in memory whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Entry

MICROSECONDS = 1_000_000
BLOCK_STEPS = 200
"""Sums are made of blocks of this many steps: their rounding must not depend on how time is cut into chunks."""
BETWEEN = "between"
"""How the time between phases is called in column names."""

ENERGIES = {
    "energy_in": "input",
    "energy_useful": "useful",
    "energy_heat": "loss",
    "energy_ambient": "ambient",
    "energy_stored": "stored",
    "energy_heat_stored": "heat_stored",
}
"""Columns in J by the kind of ledger entry: heat is what all losses made, stored the change over the cycle."""


@dataclass(slots=True)
class _Piece:
    """A stretch of one machine within one chunk, in one phase of one cycle."""

    cycle: int
    phase: int
    first: int
    steps: int
    sums: Array
    counts: NDArray[np.int32]


@dataclass(slots=True)
class _One:
    """What is known of one machine so far."""

    pieces: list[_Piece] = field(default_factory=list)
    power: dict[int, Array] = field(default_factory=dict)
    last_energy: dict[int, Array] = field(default_factory=dict)


class CycleTable:
    """Gathers the cycles of B machines.

    Args:
        sensors: ids, in the order of the frames.
        phases: the plant's ``PHASES``.
        ledger: the plant's ``LEDGER``; without it there are no energies.
        step_s: length of a step.
        batch: B.
    """

    def __init__(
        self, sensors: Sequence[str], phases: Sequence[str], ledger: Sequence[Entry], step_s: float, batch: int
    ) -> None:
        self._sensors, self._phases, self._ledger, self._step_s = tuple(sensors), tuple(phases), tuple(ledger), step_s
        self._machines = [_One() for _ in range(batch)]
        self._steps = 0
        self._waiting: list[tuple[NDArray[Any], ...]] = []
        rates = np.array([entry.kind not in ("stored", "heat_stored") for entry in self._ledger], dtype=bool)
        self._is_power = rates

    def add(
        self,
        values: NDArray[np.floating[Any]],
        phase: NDArray[np.integer[Any]],
        cycle: NDArray[np.integer[Any]],
        ledger: Array | None = None,
    ) -> None:
        """Take the next N steps: values (N, S, B), phase and cycle (N, B), ledger (N, L, B)."""
        chunk = (values, phase, cycle) if ledger is None else (values, phase, cycle, ledger)
        self._waiting.append(chunk)
        steps = sum(len(waiting[0]) for waiting in self._waiting)
        if steps >= BLOCK_STEPS:
            joined = self._joined()
            whole = steps // BLOCK_STEPS * BLOCK_STEPS
            # copies, so that what waits does not keep all that came before it
            self._waiting = [tuple(part[whole:].copy() for part in joined)] if steps > whole else []
            self._take(*(part[:whole] for part in joined))

    def _joined(self) -> tuple[NDArray[Any], ...]:
        if len(self._waiting) == 1:
            return self._waiting[0]
        return tuple(np.concatenate(parts) for parts in zip(*self._waiting, strict=True))

    def _take(
        self,
        values: NDArray[np.floating[Any]],
        phase: NDArray[np.integer[Any]],
        cycle: NDArray[np.integer[Any]],
        ledger: Array | None = None,
    ) -> None:
        """Add up whole blocks, or what is left at the end."""
        # machines first, so that each one's rows lie together
        columns, marks = np.ascontiguousarray(values.transpose(2, 0, 1)), len(self._phases)
        keys = np.ascontiguousarray((cycle.astype(np.int64) * marks + phase).T)
        cycles = np.ascontiguousarray(cycle.T)
        books = None if ledger is None else np.ascontiguousarray(ledger.transpose(2, 0, 1))
        for number, one in enumerate(self._machines):
            # machine by machine: a copy of the whole batch in double precision would be most of all memory
            rows = columns[number].astype(np.float64)
            present = np.isfinite(rows)
            rows[~present] = 0.0
            key = keys[number]
            starts = _starts(key)
            sums = np.add.reduceat(rows, starts, axis=0)
            counts = np.add.reduceat(present, starts, axis=0, dtype=np.int32)
            lengths = np.diff(starts, append=len(key))
            for index, first in enumerate(starts.tolist()):
                which, where = divmod(int(key[first]), marks)
                one.pieces.append(
                    _Piece(which, where, self._steps + first, int(lengths[index]), sums[index], counts[index])
                )
            if books is not None:
                self._add_energy(one, cycles[number], books[number])
        self._steps += len(values)

    def _add_energy(self, one: _One, cycle: NDArray[np.integer[Any]], book: Array) -> None:
        starts = _starts(cycle)
        sums = np.add.reduceat(book, starts, axis=0) * self._step_s
        ends = [*(starts[1:] - 1).tolist(), len(cycle) - 1]
        for index, first in enumerate(starts.tolist()):
            which = int(cycle[first])
            one.power[which] = one.power.get(which, 0.0) + sums[index]
            one.last_energy[which] = book[ends[index]].copy()  # a view would keep the whole stretch

    def columns(self, machine: int, start_us: int) -> dict[str, NDArray[Any]]:
        """The table of one machine, whose first step began at ``start_us`` (microseconds since 1970 UTC).

        Means and seconds of a phase that a cycle did not have are NaN. The change of stored energy of the first cycle
        is not known. ``complete`` says that the next cycle follows.
        """
        if self._waiting:
            self._take(*self._joined())
            self._waiting = []
        one = self._machines[machine]
        cycles = list(dict.fromkeys(piece.cycle for piece in one.pieces))
        row = {cycle: index for index, cycle in enumerate(cycles)}
        shape = (len(cycles), len(self._phases))
        sums, counts = np.zeros((*shape, len(self._sensors))), np.zeros((*shape, len(self._sensors)))
        steps, first = np.zeros(shape), np.full(len(cycles), self._steps)
        for piece in one.pieces:
            at = row[piece.cycle]
            sums[at, piece.phase] += piece.sums
            counts[at, piece.phase] += piece.counts
            steps[at, piece.phase] += piece.steps
            first[at] = min(first[at], piece.first)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, sums / counts, np.nan).astype(np.float32)
        step_us = self._step_s * MICROSECONDS
        begin = start_us + np.round(first * step_us).astype(np.int64)
        end = start_us + np.round((first + steps.sum(1)) * step_us).astype(np.int64)
        table: dict[str, NDArray[Any]] = {
            "cycle": np.array(cycles, dtype=np.int64),
            "start": begin.astype("datetime64[us]"),
            "end": end.astype("datetime64[us]"),
            "complete": np.arange(len(cycles)) < len(cycles) - 1,
            "cycle_s": (steps.sum(1) * self._step_s).astype(np.float32),
        }
        table |= self._energies(one, cycles)
        for index in np.flatnonzero(steps.any(axis=0)).tolist():
            name = self._phases[index] or BETWEEN
            lasted = np.where(steps[:, index] > 0, steps[:, index] * self._step_s, np.nan)
            table[f"{name}_s"] = lasted.astype(np.float32)
            table |= {f"{name}.{sensor}": means[:, index, s] for s, sensor in enumerate(self._sensors)}
        return table

    def _energies(self, one: _One, cycles: Sequence[int]) -> dict[str, NDArray[Any]]:
        if not one.power:
            return {}
        flows = np.stack([one.power[cycle] for cycle in cycles])  # (C, L)
        at_end = np.stack([one.last_energy[cycle] for cycle in cycles])
        change = np.diff(at_end, axis=0, prepend=np.full((1, at_end.shape[1]), np.nan))
        values = np.where(self._is_power, flows, change)
        kinds = np.array([entry.kind for entry in self._ledger])
        return {name: values[:, kinds == kind].sum(axis=1) for name, kind in ENERGIES.items()}


def _starts(marks: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Where stretches of equal marks begin, and blocks."""
    begins = np.empty(len(marks), dtype=bool)
    begins[1:] = marks[1:] != marks[:-1]
    begins[::BLOCK_STEPS] = True
    return np.flatnonzero(begins)
