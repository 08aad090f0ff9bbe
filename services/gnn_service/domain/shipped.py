"""Machine descriptions that come with the package."""

import tomllib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from gnn_service.core.errors import UnknownMachineError
from gnn_service.domain.check import parse_machine
from gnn_service.domain.machine import Machine

RIG = "uci-hydraulic-rig"


@cache
def shipped_machines() -> tuple[Machine, ...]:
    """Every machine description in the package, sorted by id."""
    folder = files("gnn_service.domain") / "machines"
    machines = [_read(entry) for entry in folder.iterdir() if entry.name.endswith((".json", ".toml"))]
    return tuple(sorted(machines, key=lambda machine: machine.id))


def _read(entry: Traversable) -> Machine:
    text = entry.read_text(encoding="utf-8")
    return parse_machine(tomllib.loads(text) if entry.name.endswith(".toml") else text, check=False)


def shipped_machine(machine_id: str) -> Machine:
    """One machine description of the package; UnknownMachineError lists those that are there."""
    for machine in shipped_machines():
        if machine.id == machine_id:
            return machine
    known = ", ".join(machine.id for machine in shipped_machines())
    raise UnknownMachineError(f"no machine {machine_id!r} comes with the package; there is: {known}")
