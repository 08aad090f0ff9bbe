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
        steps = len(values)
        for number, one in enumerate(self._machines):
            # machine by machine: a copy of the whole batch in double precision would be most of all memory
            rows = values[:, :, number].astype(np.float64)
            present = np.isfinite(rows)
            rows[~present] = 0.0
            key = cycle[:, number].astype(np.int64) * len(self._phases) + phase[:, number]
            starts = np.r_[0, np.flatnonzero(np.diff(key)) + 1]
            sums = np.add.reduceat(rows, starts, axis=0)
            counts = np.add.reduceat(present, starts, axis=0, dtype=np.int32)
            lengths = np.diff(np.r_[starts, steps])
            for index, first in enumerate(starts.tolist()):
                which, where = divmod(int(key[first]), len(self._phases))
                one.pieces.append(
                    _Piece(which, where, self._steps + first, int(lengths[index]), sums[index], counts[index])
                )
            if ledger is not None:
                self._add_energy(one, cycle[:, number], ledger[:, :, number])
        self._steps += steps

    def _add_energy(self, one: _One, cycle: NDArray[np.integer[Any]], book: Array) -> None:
        starts = np.r_[0, np.flatnonzero(np.diff(cycle)) + 1]
        sums = np.add.reduceat(book, starts, axis=0) * self._step_s
        ends = np.r_[starts[1:], len(cycle)] - 1
        for index, first in enumerate(starts.tolist()):
            which = int(cycle[first])
            one.power[which] = one.power.get(which, 0.0) + sums[index]
            one.last_energy[which] = book[ends[index]].copy()  # a view would keep the whole stretch

    def columns(self, machine: int, start_us: int) -> dict[str, NDArray[Any]]:
        """The table of one machine, whose first step began at ``start_us`` (microseconds since 1970 UTC).

        Means and seconds of a phase that a cycle did not have are NaN. The change of stored energy of the first cycle
        is not known. ``complete`` says that the next cycle follows.
        """
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
