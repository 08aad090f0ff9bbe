"""Faults that hasten other faults: hot oil ages seals, worn pumps load filters, an open bypass wears everything.

Each cascade makes the clock of the effect run faster: by 1 + rate x severity of the cause. The physical side of a
cascade (thin oil leaks more, dirt clogs, air cavitates) is in the plants themselves; this is the long run.
Rates are representative of the class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.modes import SimulatedMode
from gnn_service.demo.plant import Array


@dataclass(frozen=True, slots=True)
class Cascade:
    """One failure mode that hastens another, by their short ids.

    ``rate`` is how much faster the effect's clock runs at severity 1 of the cause (1: twice as fast); the cause acts
    only ``above`` a severity, as a filter does whose bypass opens.
    """

    cause: str
    effect: str
    rate: float
    above: float = 0.0


CASCADES: dict[str, tuple[Cascade, ...]] = {
    "excavator": (
        Cascade("E1", "E8", 4.0),  # particles of the pump fill the filter
        Cascade("E1", "E5", 1.0),  # and make spools stick
        Cascade("E3", "E1", 2.0),  # cavitation wears the pump
        Cascade("E7", "E4", 0.6),  # hot oil ages seals
        Cascade("E7", "E9", 0.6),
        Cascade("E7", "E10", 1.0),  # and oxidises
        Cascade("E8", "E1", 2.0, above=0.8),  # the bypass is open: nothing is filtered
        Cascade("E8", "E5", 2.0, above=0.8),
        Cascade("E8", "E9", 2.0, above=0.8),
        Cascade("E10", "E1", 0.5),
        Cascade("E10", "E4", 0.5),
    ),
    "moulding": (
        Cascade("I2", "I10", 3.0),
        Cascade("I3", "I2", 0.3),  # the pumps do what the accumulator does not
        Cascade("I3", "I4", 0.3),
        Cascade("I7", "I8", 0.6),
        Cascade("I7", "I2", 0.6),
        Cascade("I10", "I4", 2.0),  # varnish and dirt in the servo valve
        Cascade("I10", "I2", 1.0, above=0.5),
    ),
    "cnc": (
        Cascade("C4", "C3", 2.0),  # dry guides and nuts
        Cascade("C6", "C5", 0.3),  # more recharges, more cycles of the seal
        Cascade("C7", "C1", 1.0),  # a warm spindle
        Cascade("C9", "C10", 0.3),  # more current, more heat in the cabinet
    ),
    "robot": (
        Cascade("R2", "R7", 0.5),  # friction, current, winding temperature
        Cascade("R3", "R1", 0.5),  # the gear carries what the counterbalance does not
        Cascade("R5", "R2", 0.3),
        Cascade("R10", "R7", 0.6),
    ),
}
"""What hastens what in the four machines."""


def cascade_matrix(modes: Sequence[SimulatedMode], cascades: Sequence[Cascade]) -> tuple[Array, Array]:
    """Rates (M, M) by effect and cause, and above which severity each acts (M, M); InvalidInputError for no mode."""
    number = {mode.id: index for index, mode in enumerate(modes)}
    rates, above = np.zeros((len(modes), len(modes))), np.zeros((len(modes), len(modes)))
    for one in cascades:
        for mode_id in (one.cause, one.effect):
            if mode_id not in number:
                raise InvalidInputError(f"a cascade names {mode_id!r}, which is no failure mode of this machine")
        rates[number[one.effect], number[one.cause]] = one.rate
        above[number[one.effect], number[one.cause]] = one.above
    return rates, above


def pushes(rates: Array, above: Array, severity: Array) -> Array:
    """What each cause adds to the speed of each effect's clock, (M, M, K) by effect and cause, at severities (M, K)."""
    added = np.zeros((*rates.shape, severity.shape[1]))
    for effect, cause in zip(*np.nonzero(rates), strict=True):
        floor = above[effect, cause]
        added[effect, cause] = rates[effect, cause] * np.maximum(severity[cause] - floor, 0.0) / (1.0 - floor)
    return added
