"""The simulated machines: what there is, and everything that belongs to each.

Four machines, simulated from equations with parameters whose provenance their descriptions state: `excavator`,
`moulding`, `cnc` and `robot`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from gnn_service.core.errors import InvalidInputError, UnknownMachineError
from gnn_service.demo.capture import CircuitCapture
from gnn_service.demo.cascades import CASCADES, Cascade
from gnn_service.demo.dedicated_tests import TEST_S
from gnn_service.demo.modes import SimulatedMode
from gnn_service.demo.parameters import parameters_of
from gnn_service.demo.plant import Plant
from gnn_service.demo.spread import Spread
from gnn_service.domain.machine import DutyCycle, Machine, Sensor
from gnn_service.domain.shipped import shipped_machine

NAMES = ("excavator", "moulding", "cnc", "robot")


@dataclass(frozen=True, slots=True)
class System:
    """One kind of simulated machine.

    ``machine`` describes it; ``plant`` simulates batches of it; ``modes`` are its failure modes in the order of the
    description; ``shift`` is the share of time that each operating state has in a usual shift (sums to 1);
    ``cascades`` tell which modes hasten others; ``spread`` holds the parameters whose differences between machines
    are not those of their class; ``tests`` are the operating states that are tests, and how long each takes, s;
    ``captures`` are the circuits that can be captured at a high rate.
    """

    name: str
    machine: Machine
    plant: type[Plant]
    modes: tuple[SimulatedMode, ...]
    shift: dict[str, float]
    cascades: tuple[Cascade, ...] = ()
    spread: Mapping[str, Spread] = field(default_factory=dict)
    tests: Mapping[str, float] = field(default_factory=dict)
    captures: tuple[CircuitCapture, ...] = ()

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """Its sensors, in the order of every frame."""
        return self.machine.sensors

    @property
    def duty_cycle(self) -> DutyCycle | None:
        """What it repeats."""
        return self.machine.duty_cycle

    @property
    def parameters(self) -> dict[str, float]:
        """Its healthy physical parameters in SI, by ``component.parameter``."""
        return parameters_of(self.machine)

    def mode(self, mode_id: str) -> SimulatedMode:
        """A failure mode by its short or its full id; InvalidInputError lists those that there are."""
        for mode in self.modes:
            if mode_id.casefold() in (mode.id.casefold(), mode.mode.casefold()):
                return mode
        known = ", ".join(f"{mode.id} ({mode.mode})" for mode in self.modes)
        raise InvalidInputError(f"{self.name} has no failure mode {mode_id!r}; it has: {known}", where="fault")


def list_systems() -> tuple[str, ...]:
    """Names of the simulated machines."""
    return NAMES


@cache
def get_system(name: str) -> System:
    """One simulated machine; UnknownMachineError lists those that there are."""
    if name not in NAMES:
        raise UnknownMachineError(f"no simulated machine {name!r}; there is: {', '.join(NAMES)}")
    room = import_module(f"gnn_service.demo.machines.{name}")
    spread: Mapping[str, Spread] = getattr(room, "SPREAD", {})
    return System(
        name, shipped_machine(name), room.PLANT, room.MODES, room.SHIFT, CASCADES.get(name, ()), spread,
        TEST_S.get(name, {}), room.CAPTURES,
    )  # fmt: skip
