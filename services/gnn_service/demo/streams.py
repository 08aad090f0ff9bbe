"""Random numbers that belong to one machine: the same whatever runs beside it, and in however many processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What random numbers are for. Each purpose has its own stream, so that one more draw here shifts nothing there."""

    FLEET = 0
    SITE = 1
    DUTY = 2
    PROCESS = 3
    LIFE = 4
    INTERMITTENT = 5
    NOISE = 6
    SENSOR_FAULT = 7
    MAINTENANCE = 8


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Whose random numbers: of which seed, which machine of the fleet, which window of its life."""

    seed: int
    machine: int
    window: int = 0

    def stream(self, purpose: Purpose, block: int = 0) -> np.random.Generator:
        """A fresh generator, always the same for the same key, purpose and block (Philox, counter-based)."""
        source = np.random.SeedSequence(self.seed, spawn_key=(self.machine, self.window, purpose, block))
        return np.random.Generator(np.random.Philox(source))

    def of_machine(self) -> "Key":
        """The key of what stays the same through the machine's whole life."""
        return Key(self.seed, self.machine)


class CycleDraws:
    """Uniform random numbers in [0, 1) for each cycle of each machine, looked up for a whole batch at once.

    Args:
        keys: one a machine, B of them.
        purpose: what they are for.
        columns: how many numbers a cycle has.
        block: cycles that are drawn at a time.
    """

    def __init__(self, keys: Sequence[Key], purpose: Purpose, columns: int, *, block: int = 64) -> None:
        self._keys, self._purpose, self._columns, self._block = tuple(keys), purpose, columns, block
        self._drawn = np.full(len(self._keys), -1, dtype=np.int64)
        self._table = np.empty((len(self._keys), block, columns))
        self._rows = np.arange(len(self._keys))

    def at(self, cycle: NDArray[np.integer], machines: NDArray[np.integer] | None = None) -> NDArray[np.float64]:
        """The numbers of each machine's own cycle: (M,) numbers of cycles, from 0, to (columns, M).

        ``machines`` are the M that are asked for, by their place in the batch; without it, all B.
        """
        machines = self._rows if machines is None else machines
        block, row = np.divmod(np.asarray(cycle, dtype=np.int64), self._block)
        for index in np.flatnonzero(block != self._drawn[machines]):
            machine = machines[index]
            stream = self._keys[machine].stream(self._purpose, int(block[index]))
            self._table[machine] = stream.random((self._block, self._columns))
            self._drawn[machine] = block[index]
        return np.ascontiguousarray(self._table[machines, row].T)
