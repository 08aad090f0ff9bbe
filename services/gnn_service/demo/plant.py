"""What every simulated machine offers: many machines of one kind, advanced together in quasi-steady steps.

The arrays of a batch have the machines on their last axis, so that one NumPy call serves all of them
(structure of arrays). Nothing that one machine does depends on which others run beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.streams import Key

Array = NDArray[np.float64]
Parameters = Mapping[str, Array]
"""Physical parameters of a batch in SI: ``component.parameter`` to (B,)."""

EntryKind = Literal["input", "useful", "loss", "ambient", "stored", "heat_stored"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a plant's energy ledger.

    ``input``, ``useful``, ``loss`` and ``ambient`` are powers in W, each loss built from its own component (flow times
    pressure drop, friction times speed), never as a difference; ``stored`` (kinetic, potential, gas) and
    ``heat_stored`` are energies in J. Over any stretch of time
    input = useful + losses + change of stored, and losses = ambient + change of heat_stored.
    """

    name: str
    kind: EntryKind


@dataclass(frozen=True, slots=True)
class Schedule:
    """What each machine does when: (B, K) operating states by number, each from its start (s) to the next one's.

    The first start of every row is 0; a row that has fewer stretches than K repeats its last state.
    """

    starts_s: Array
    states: NDArray[np.int64]

    @classmethod
    def constant(cls, states: Sequence[int]) -> "Schedule":
        """One operating state for each of B machines, throughout."""
        return cls(np.zeros((len(states), 1)), np.asarray(states, dtype=np.int64)[:, None])

    def at(self, time_s: float) -> NDArray[np.int64]:
        """The operating state of each machine at this time, (B,)."""
        index = (self.starts_s <= time_s).sum(axis=1) - 1
        return np.asarray(self.states[np.arange(len(index)), index])

    def changes_within(self, start_s: float, end_s: float) -> bool:
        """Whether any machine changes its state after ``start_s`` and not later than ``end_s``."""
        return bool(((self.starts_s > start_s) & (self.starts_s <= end_s)).any())


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes each of B machines its own: its random numbers, its physics, its site and its work.

    ``parameters`` and ``site`` hold (B,) arrays in SI; what ``site`` holds (ambient_k, operator, material, ...) is
    declared by each plant's ``SITE`` with default, low and high.
    """

    keys: tuple[Key, ...]
    parameters: Parameters
    site: Mapping[str, Array]
    schedule: Schedule

    @property
    def size(self) -> int:
        """How many machines run side by side."""
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class SiteFactor:
    """A circumstance that is the machine's surroundings or people, not its state: default and spread, SI."""

    default: float
    low: float
    high: float
    description: str


@dataclass(frozen=True, slots=True)
class Frames:
    """N steps of B machines.

    ``values`` (N, S, B) float32: what perfect sensors would show, in each sensor's own unit, sensors in the order
    of the description (before noise, lag, resolution and sensor faults; NaN where the quantity does not exist in
    that step, such as the result of a test that was not made); ``state``, ``phase`` (N, B) index the plant's
    ``STATES`` and ``PHASES``; ``cycle`` (N, B) counts from 0; ``ledger`` (N, L, B) float64 where it was asked for.
    """

    values: NDArray[np.float32]
    state: NDArray[np.int8]
    phase: NDArray[np.int8]
    cycle: NDArray[np.int32]
    ledger: Array | None = None


class Plant(ABC):
    """A batch of machines of one kind at work; holds their state, and moves it on.

    Subclasses are built as ``Kind(setting)`` and are deterministic: the same setting gives the same frames, bit for
    bit, whatever the batch around a machine and however ``advance`` is divided into calls.
    """

    STEP_S: ClassVar[float]
    """Length of a quasi-steady step, s."""
    STATES: ClassVar[tuple[str, ...]]
    """Operating states, such as truck_loading, idle, hold_test."""
    PHASES: ClassVar[tuple[str, ...]]
    """Phases of the duty cycle, such as dig; '' is between phases."""
    SITE: ClassVar[Mapping[str, SiteFactor]]
    """The circumstances that it takes."""
    LEDGER: ClassVar[tuple[Entry, ...]]
    """What its energy ledger holds."""

    @abstractmethod
    def __init__(self, setting: Setting) -> None:
        """Machines as they are set, with their parameters, at the start of their schedule; not settled yet."""

    @abstractmethod
    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed physical parameters, from the next step on; states such as temperatures stay."""

    @abstractmethod
    def settle(self) -> None:
        """Bring what is slow (temperatures, contamination balance) to where long work of this kind leads.

        The clock and the count of cycles are 0 afterwards.
        """

    @abstractmethod
    def advance(self, steps: int, *, ledger: bool = False) -> Frames:
        """Move on by a number of steps and tell what was seen in each."""
