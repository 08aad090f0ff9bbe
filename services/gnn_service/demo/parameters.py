"""Physical parameters of a simulated machine, taken from its description into SI."""

from functools import cache

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import shipped_machine
from gnn_service.domain.units import to_si


@cache
def nominal(machine_id: str) -> dict[str, float]:
    """Every parameter of every component of a shipped machine in SI, by ``component.parameter``."""
    return parameters_of(shipped_machine(machine_id))


def parameters_of(machine: Machine) -> dict[str, float]:
    """Every parameter of every component in SI base units (temperatures in K, angles in rad), by name."""
    return {
        f"{component.id}.{name}": to_si(parameter.value, parameter.unit)
        for component in machine.components
        for name, parameter in component.parameters.items()
    }


def alike(values: dict[str, float], size: int) -> Parameters:
    """The same parameters for each of B machines."""
    return {name: np.full(size, value) for name, value in values.items()}


def batch_of(parameters: Parameters) -> int:
    """How many machines a set of parameters is for."""
    return len(next(iter(parameters.values())))


__all__ = ["Array", "alike", "batch_of", "nominal", "parameters_of"]
