"""Excavators for tests: batches with chosen states, parameters and sites, all with the same random numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Array, Frames, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.domain.shipped import shipped_machine

SENSORS = shipped_machine("excavator").sensor_ids
Build = Callable[..., Excavator]


def setting(
    states: Sequence[str],
    changes: Mapping[str, object] | None = None,
    site: Mapping[str, object] | None = None,
    machines: Sequence[int] | None = None,
) -> Setting:
    size = len(states)
    parameters = dict(alike(nominal("excavator"), size))
    for name, value in (changes or {}).items():
        assert name in parameters
        parameters[name] = np.broadcast_to(np.asarray(value, float), (size,)).copy()
    circumstances = {name: np.full(size, factor.default) for name, factor in Excavator.SITE.items()}
    for name, value in (site or {}).items():
        circumstances[name] = np.broadcast_to(np.asarray(value, float), (size,)).copy()
    keys = tuple(Key(5, machine) for machine in (machines or [0] * size))
    schedule = Schedule.constant([Excavator.STATES.index(state) for state in states])
    return Setting(keys, parameters, circumstances, schedule)


@pytest.fixture(scope="session")
def build() -> Build:
    """build(states, changes, site, machines, kind) gives a plant with warm oil; ``settle`` for that of long work."""

    def make(states, changes=None, site=None, machines=None, *, kind=Excavator, settle=False, oil_c=70.0):
        plant = kind(setting(states, changes, site, machines))
        if settle:
            plant.settle()
        elif oil_c is not None:
            plant._oil.temperature[:] = oil_c + 273.15
            plant._oil.tick(0.0)
            plant._turn_over()
        return plant

    return make


@pytest.fixture(scope="session")
def sensor() -> Callable[[Frames, str], Array]:
    """sensor(frames, id) gives (N, B) values."""
    return lambda frames, name: frames.values[:, SENSORS.index(name)].astype(float)


@pytest.fixture(scope="session")
def whole_cycles() -> Callable[[Frames, int], slice]:
    """whole_cycles(frames, machine) gives the steps from the first new cycle to the last one."""

    def cut(frames, machine):
        turns = np.flatnonzero(np.diff(frames.cycle[:, machine])) + 1
        return slice(int(turns[0]), int(turns[-1]))

    return cut
