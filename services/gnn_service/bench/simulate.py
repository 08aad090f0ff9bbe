"""How fast machines are simulated: machine-hours a minute of one core, and what one step of one machine costs.

Times are those of the process's own CPU, so that other work on the computer does not count.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.parameters import alike
from gnn_service.demo.plant import Schedule, Setting
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System

BATCHES = (64, 256, 1024, 4096)
HORIZONS_S = (10.0, 60.0, 600.0)
HORIZON_BATCH = 256
SHORTEST_S = 0.2
_CHUNK = 20
_BYTES = 64e6  # of frames held at a time; a smaller chunk costs nothing, a larger one only memory
_WARM_STEPS = 5

Measure = Callable[[NDArray[np.float32]], object]
"""What sensors make of the values (N, S, B) of some steps."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Simulation of ``batch`` machines side by side over ``horizon_s`` of their time."""

    machine: str
    batch: int
    horizon_s: float
    sensors: bool
    cpu_s: float
    machine_hours_per_cpu_minute: float
    us_per_machine_step: float


def bench_simulate(
    systems: Sequence[System],
    *,
    batches: Sequence[int] = BATCHES,
    horizons_s: Sequence[float] = HORIZONS_S,
    seconds: float = 1.0,
    on_point: Callable[[], object] = lambda: None,
) -> tuple[Cost, ...]:
    """Measure each system at each batch, with and without sensor models, and at each horizon.

    Args:
        systems: what to simulate.
        batches: numbers of machines side by side; each is measured over at least ``seconds`` of CPU time.
        horizons_s: lengths of simulated time at `HORIZON_BATCH` machines, each in full.
        seconds: at least `SHORTEST_S`.
        on_point: called after each measurement, for a progress display.

    Raises:
        InvalidInputError: ``seconds`` is too short to measure anything.
    """
    if not seconds >= SHORTEST_S:
        raise InvalidInputError(f"must be at least {SHORTEST_S} s, not {seconds:g}", where="seconds")
    costs = []
    for system in systems:
        for batch in batches:
            for sensors in (False, True):
                costs.append(_cost(system, batch, sensors=sensors, seconds=seconds))
                on_point()
        for horizon_s in horizons_s:
            costs.append(_cost(system, HORIZON_BATCH, sensors=False, steps=round(horizon_s / system.plant.STEP_S)))
            on_point()
    return tuple(costs)


def points(systems: int, batches: Sequence[int] = BATCHES, horizons_s: Sequence[float] = HORIZONS_S) -> int:
    """How many measurements `bench_simulate` makes."""
    return systems * (2 * len(batches) + len(horizons_s))


def spread_setting(system: System, batch: int, seed: int = 1) -> Setting:
    """Healthy machines at their usual site, each in one operating state, spread as a usual shift spreads them."""
    names = system.plant.STATES
    shares = np.cumsum([system.shift.get(name, 0.0) for name in names])
    states = np.searchsorted(shares, (np.arange(batch) + 0.5) / batch * shares[-1])
    site = {name: np.full(batch, factor.default) for name, factor in system.plant.SITE.items()}
    keys = tuple(Key(seed, machine) for machine in range(batch))
    return Setting(keys, alike(system.parameters, batch), site, Schedule.constant(states.tolist()))


def _cost(system: System, batch: int, *, sensors: bool, seconds: float = 0.0, steps: int = 0) -> Cost:
    """The cost of this many steps, or of as many as ``seconds`` of CPU time allow."""
    setting = spread_setting(system, batch)
    plant = system.plant(setting)
    bank = SensorBank(system.machine, setting.keys, system.plant.STEP_S)
    measure: Measure = bank.measure if sensors else _as_is
    chunk = max(1, min(_CHUNK, int(_BYTES / (4 * batch * max(1, len(system.sensors))))))
    plant.advance(_WARM_STEPS)
    done, began = 0, time.process_time()
    while done < steps if steps else time.process_time() - began < seconds or not done:
        measure(plant.advance(min(chunk, steps - done) if steps else chunk).values)
        done += min(chunk, steps - done) if steps else chunk
    cpu_s = time.process_time() - began
    machine_s = done * batch * system.plant.STEP_S
    return Cost(
        machine=system.name,
        batch=batch,
        horizon_s=done * system.plant.STEP_S,
        sensors=sensors,
        cpu_s=cpu_s,
        machine_hours_per_cpu_minute=machine_s / 3600 / (cpu_s / 60),
        us_per_machine_step=1e6 * cpu_s / (done * batch),
    )


def _as_is(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values
