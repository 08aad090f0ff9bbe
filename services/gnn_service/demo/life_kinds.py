"""Kinds of lives: what begins in them, what follows from it and whether people repair; and which life is of which kind.

Most lives end in the failure of one mode. In lives of a fleet several modes begin by themselves and people inspect
and repair, at times the wrong part; in lives of a cascade one mode lets another begin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.lives import LifePlan, run_to_failure
from gnn_service.demo.maintenance import Maintenance
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System

Sort = Literal["failure", "fleet", "cascade"]
SORTS: tuple[Sort, ...] = ("failure", "fleet", "cascade")
MIX: dict[str, float] = {"failure": 0.60, "fleet": 0.25, "cascade": 0.15}
"""Shares of the lives of a corpus."""
BLOCK = 20
"""So many lives in a row hold the shares; a share is met to a twentieth."""
HEALTHY_H = 2_000.0
"""Operating hours of a life in which nothing fails."""
REPLACED_BY_TIME = 3.0
"""Weibull shape from which a part is replaced by time in a fleet, as filters are: its lives differ little."""
_NOBODY = 2**31  # a machine that no life has


@dataclass(frozen=True, slots=True)
class LifeKind:
    """What happens in a life.

    ``mode`` is the failure mode that ends it, by short id, or None; ``victim`` the mode that it lets begin;
    ``fleet`` the modes that may begin by themselves in a life with repairs; ``sensor_fails`` whether a sensor
    certainly fails.
    """

    mode: str | None
    sensor_fails: bool = False
    victim: str | None = None
    fleet: tuple[str, ...] = ()

    @property
    def plan(self) -> str:
        """In words, for `recording.json`."""
        if self.fleet:
            return "several faults, inspections and repairs"
        if self.victim:
            return f"{self.mode} lets {self.victim} begin"
        return f"run to failure of {self.mode}" if self.mode else "nothing fails"

    @property
    def may_fail(self) -> bool:
        """Whether any component does."""
        return bool(self.mode or self.fleet)


def kinds_of_life(system: System, faults: Sequence[str] = (), sort: str = "failure") -> tuple[LifeKind, ...]:
    """What lives of a sort take in turn; ``faults`` are the modes that may begin by themselves, empty all of them.

    Those that end in failure take every mode, and where all may begin nothing, and only a sensor that fails.

    Raises:
        InvalidInputError: an unknown mode or sort, or a cascade of modes that hasten nothing.
    """
    chosen = tuple(system.mode(fault).id for fault in faults) or tuple(mode.id for mode in system.modes)
    if sort == "fleet":
        return (LifeKind(None, fleet=chosen),)
    if sort == "cascade":
        found = tuple(LifeKind(one.cause, victim=one.effect) for one in system.cascades if one.cause in chosen)
        if not found:
            raise InvalidInputError(f"{', '.join(chosen)} let nothing else begin in {system.name}", where="kind")
        return found
    if sort != "failure":
        raise InvalidInputError(f"no kind of lives {sort!r}; there is: {', '.join(SORTS)}", where="kind")
    ends = tuple(LifeKind(mode) for mode in chosen)
    return ends if faults else (*ends, LifeKind(None), LifeKind(None, sensor_fails=True))


def life_kinds(
    system: System, numbers: Sequence[int], *, seed: int, shares: Mapping[str, float], faults: Sequence[str] = ()
) -> list[LifeKind]:
    """The kind of each life, by its number: shares and turns in an order that the seed shuffles.

    Every sort has its share of each block of lives, and every kind of a sort its turn; a number tells neither.
    """
    pattern = _pattern(shares)
    kinds = {sort: kinds_of_life(system, faults, sort) for sort, share in shares.items() if share > 0}
    return [_kind(number, seed, pattern, kinds) for number in numbers]


def _pattern(shares: Mapping[str, float]) -> list[str]:
    """The sorts of a block of lives; InvalidInputError for what are no shares."""
    values = list(shares.values())
    if not set(shares) <= set(SORTS) or min(values, default=-1.0) < 0 or abs(sum(values) - 1.0) > 1e-9:
        raise InvalidInputError(f"{dict(shares)} are no shares of {', '.join(SORTS)} that sum to 1", where="shares")
    edges = [0, *np.round(np.cumsum(values) * BLOCK).astype(int).tolist()]
    return [sort for sort, low, high in zip(shares, edges[:-1], edges[1:], strict=True) for _ in range(high - low)]


def _kind(number: int, seed: int, pattern: Sequence[str], kinds: Mapping[str, Sequence[LifeKind]]) -> LifeKind:
    block, place = divmod(number, BLOCK)
    order = [pattern[index] for index in _shuffled(seed, 2 * block, BLOCK)]
    sort = order[place]
    turn, at = divmod(block * pattern.count(sort) + order[:place].count(sort), len(kinds[sort]))
    return kinds[sort][_shuffled(seed, 2 * turn + 1, len(kinds[sort]))[at]]


def _shuffled(seed: int, block: int, count: int) -> list[int]:
    order: list[int] = Key(seed, _NOBODY).stream(Purpose.LIFE, block).permutation(count).tolist()
    return order


def life_plan(system: System, kind: LifeKind) -> LifePlan:
    """How a life of this kind goes."""
    if kind.fleet:
        return _fleet_plan(system, kind.fleet)
    if kind.mode is None:
        return LifePlan(HEALTHY_H, HEALTHY_H / 50, modes=())
    alone = run_to_failure(system, kind.mode)
    if kind.victim is None:
        return alone
    return replace(alone, modes=(kind.mode, kind.victim), follows={kind.victim: kind.mode})


def _fleet_plan(system: System, modes: tuple[str, ...], steps: int = 1_000) -> LifePlan:
    """As long as the middle one of the modes' onsets takes, with people who inspect and repair."""
    laws = {mode: system.mode(mode).life for mode in modes}
    horizon = float(np.median([law.onset_scale_h for law in laws.values()]))
    by_time = {mode: law.onset_scale_h for mode, law in laws.items() if law.onset_shape >= REPLACED_BY_TIME}
    return LifePlan(horizon, horizon / steps, modes=modes, maintenance=Maintenance(scheduled_h=by_time))
