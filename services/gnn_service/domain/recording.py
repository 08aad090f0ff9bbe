"""A stored stretch of a machine's life, in memory."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import Machine

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Readings:
    """Frames on one time grid.

    ``times`` (R,) int64 microseconds since 1970 UTC, strictly rising; ``values`` (R, S) float32, NaN = missing,
    columns named by ``sensors``; the optional columns have length R.
    """

    times: NDArray[np.int64]
    sensors: tuple[str, ...]
    values: NDArray[np.float32]
    phase: NDArray[np.str_] | None = None
    operating_state: NDArray[np.str_] | None = None
    cycle: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a machine's state: one row for a component over a stretch of time.

    ``start`` and ``end`` are int64 microseconds, ``end`` exclusive. ``fault`` is a failure-mode id of the machine
    ('' where none), ``severity`` 0..1, ``group`` the unit a split never cuts. ``extra`` holds the optional
    columns of the contract (root_cause, rul_h, observable) and the set's own ones.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    component: NDArray[np.str_]
    fault: NDArray[np.str_]
    severity: NDArray[np.float32]
    group: NDArray[np.str_]
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """A machine, its readings and, where known, the truth; ``info`` is `recording.json`."""

    machine: Machine
    readings: Readings
    truth: Truth | None = None
    info: dict[str, Any] = field(default_factory=dict)
