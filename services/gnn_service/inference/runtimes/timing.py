"""What a graph costs in each runtime, measured in turns so that whatever else the computer does meets all alike."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from gnn_service.inference.runtimes.base import Item, Runtime

Name = TypeVar("Name", bound=str)
_LEAST_TURNS: Final = 5
_LEAST_RUNS: Final = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds for each graph in batches of ``batch``: of this process's CPU time, and by the clock."""

    batch: int
    cpu_us: float
    wall_us: float


def interleaved(
    runtimes: Mapping[Name, Runtime], item: Item, batches: tuple[int, ...], seconds: float
) -> dict[Name, tuple[Cost, ...]]:
    """Time each runtime at each batch size for ``seconds`` in all, in rounds in which each has a turn.

    A turn is a few runs, as the first after another runtime's finds the processor's caches cold. Of all turns the
    lower quartile is taken: what disturbs only ever adds.
    """
    cases = [(name, size) for name in runtimes for size in dict.fromkeys(batches)]
    ready = {size: {name: np.stack([value] * size) for name, value in item.items()} for size in batches}
    turns: dict[tuple[Name, int], list[tuple[int, int]]] = {case: [] for case in cases}
    ends = time.perf_counter() + seconds
    while cases and (len(turns[cases[0]]) < _LEAST_TURNS or time.perf_counter() < ends):
        for name, size in cases:
            runs = max(_LEAST_RUNS, max(batches) // size // 2)
            runtimes[name].run(ready[size])
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            for _ in range(runs):
                runtimes[name].run(ready[size])
            spent = (time.process_time_ns() - cpu, time.perf_counter_ns() - wall)
            turns[name, size].append((spent[0] // runs, spent[1] // runs))
    return {name: tuple(_cost(size, turns[name, size]) for size in dict.fromkeys(batches)) for name in runtimes}


def _cost(size: int, turns: list[tuple[int, int]]) -> Cost:
    cpu_ns, wall_ns = np.percentile(np.array(turns), 25, axis=0)
    return Cost(size, float(cpu_ns) / 1000 / size, float(wall_ns) / 1000 / size)
