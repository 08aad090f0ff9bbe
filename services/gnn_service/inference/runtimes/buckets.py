"""Batches of any size on a runtime that computes a few sizes only: which sizes to take, padding, and cutting."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
ONE_RUN: Final = 1e6
"""An overhead at which fewer runs are always worth their padding, as on a GPU."""


def powers(base: int, largest: int) -> tuple[int, ...]:
    """1, ``base``, ``base`` squared ... below ``largest``, and ``largest``; rising."""
    sizes = [1]
    while sizes[-1] * base < largest:
        sizes.append(sizes[-1] * base)
    return tuple(sorted({*sizes, largest}))


@lru_cache(maxsize=1024)
def plan(size: int, buckets: tuple[int, ...], overhead: float = ONE_RUN) -> tuple[int, ...]:
    """The bucket of each run that a batch takes, largest first; together they hold at least ``size`` graphs.

    Args:
        size: graphs in the batch, at least 1.
        buckets: sizes that can be run, rising.
        overhead: what one more run costs, in graphs; padding costs a graph for each that is not there.
    """
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for count in range(1, size + 1):
        options = [(overhead + bucket, bucket, best[max(0, count - bucket)]) for bucket in buckets]
        best.append(min((cost + rest[0], (bucket, *rest[1])) for cost, bucket, rest in options))
    return tuple(sorted(best[size][1], reverse=True))


def in_buckets(
    run: Callable[[Arrays], Mapping[str, NDArray[Any]]],
    batch: Mapping[str, NDArray[Any]],
    buckets: tuple[int, ...],
    overhead: float = ONE_RUN,
) -> Arrays:
    """Answers of a batch of any size, from runs of the sizes in ``buckets`` alone, in the order of the batch.

    Padding repeats the last graph, so that nothing is computed that a caller did not send; its answers are cut off.
    """
    size = len(next(iter(batch.values())))
    if size in buckets:
        return dict(run(dict(batch)))
    parts: list[Mapping[str, NDArray[Any]]] = []
    first = 0
    for bucket in plan(size, buckets, overhead):
        last = min(size, first + bucket)
        answers = run({name: filled(array[first:last], bucket) for name, array in batch.items()})
        parts.append({name: array[: last - first] for name, array in answers.items()})
        first = last
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def filled(rows: NDArray[Any], size: int) -> NDArray[Any]:
    """The rows, followed by the last of them until there are ``size``."""
    missing = size - len(rows)
    return rows if missing == 0 else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
