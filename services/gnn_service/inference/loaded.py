"""A runtime with what it needs on its thread: arrays that batches are stacked into, answers taken apart."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import EngineFailedError
from gnn_service.inference.batcher import Signature
from gnn_service.inference.runtimes.base import Batch, Item, MemoryAware, Output, Runtime

KEPT_SIGNATURES: Final = 8
KEPT_BYTES: Final = 32 * 2**20
"""Room that is kept for batches of one signature, at most; larger ones are allocated each time."""
_Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the model gave: an answer per item, None where its numbers are not finite."""

    answers: list[Output | None]
    seconds: float
    memory_peak_bytes: int | None


class _Room:
    """An array [B, ...] that batches of one shape are copied into, item by item.

    As bytes where they lie in order: NumPy lets go of the interpreter for every row, and whoever takes it then has to
    be waited for, which costs more than the copy.
    """

    def __init__(self, size: int, like: _Array) -> None:
        self.array = np.empty((size, *like.shape), like.dtype)
        self._item_bytes = like.nbytes
        self._bytes = self.array.data.cast("B") if like.nbytes else memoryview(b"")

    def fill(self, items: Sequence[_Array]) -> None:
        """Copy the items into the first rows."""
        step = self._item_bytes
        for row, item in enumerate(items):
            if item.flags.c_contiguous and step:
                self._bytes[row * step : (row + 1) * step] = item.data.cast("B")
            else:
                self.array[row] = item


class LoadedModel:
    """A runtime that answers items. Belongs to one thread, and is itself a `Runtime`.

    Args:
        runtime: what computes.
        names: the model's inputs, in the order of a signature.
        batch_max: items in a batch, at most.
    """

    def __init__(self, runtime: Runtime, names: Sequence[str], batch_max: int) -> None:
        self.runtime = runtime
        self._names = tuple(names)
        self._batch_max = batch_max
        self._memory = runtime if isinstance(runtime, MemoryAware) else None
        self._kept: OrderedDict[Signature, dict[str, _Room]] = OrderedDict()

    @property
    def name(self) -> str:
        """What computes."""
        return self.runtime.name

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.runtime.device

    @property
    def buckets(self) -> tuple[int, ...] | None:
        """Batch sizes that it computes; see `Runtime.buckets`."""
        return self.runtime.buckets

    def run(self, batch: Batch) -> dict[str, _Array]:
        """Compute a batch that is stacked already; see `Runtime.run`."""
        return self.runtime.run(batch)

    def answer(self, items: Sequence[Item]) -> Run:
        """Stack ``items``, which are of one signature, run them, and take the answers apart.

        Raises:
            EngineFailedError: an output has not one row an item.
            Exception: whatever the runtime raised.
        """
        batch = self._stack(items)
        began = time.perf_counter()
        outputs = self.runtime.run(batch)
        seconds = time.perf_counter() - began
        answers = _taken_apart(outputs, len(items))
        return Run(answers, seconds, None if self._memory is None else self._memory.memory_peak_bytes)

    def release_memory(self) -> None:
        """Give cached memory back, the runtime's too where it can."""
        self._kept.clear()
        if self._memory is not None:
            self._memory.release_memory()

    def close(self) -> None:
        """Close the runtime; the model is not used afterwards."""
        self._kept.clear()
        self.runtime.close()

    def _stack(self, items: Sequence[Item]) -> dict[str, _Array]:
        """Arrays [B, ...] by name; those of more than one item are overwritten by the next batch of their shapes."""
        first, count = items[0], len(items)
        if count == 1:
            return {name: first[name][np.newaxis] for name in self._names}  # a view: nothing to copy
        kept = self._room_for(first) if count <= self._batch_max else None
        if kept is None:
            return {name: np.stack([item[name] for item in items]) for name in self._names}
        for name, room in kept.items():
            room.fill([item[name] for item in items])
        return {name: room.array[:count] for name, room in kept.items()}

    def _room_for(self, item: Item) -> dict[str, _Room] | None:
        signature = tuple([item[name].shape for name in self._names])
        kept = self._kept.get(signature)
        if kept is None:
            if self._batch_max * sum(item[name].nbytes for name in self._names) > KEPT_BYTES:
                return None
            kept = {name: _Room(self._batch_max, item[name]) for name in self._names}
            while len(self._kept) >= KEPT_SIGNATURES:
                self._kept.popitem(last=False)
            self._kept[signature] = kept
        self._kept.move_to_end(signature)
        return kept


def _taken_apart(outputs: dict[str, _Array], count: int) -> list[Output | None]:
    """An answer per item: its own copy, so that a caller who keeps it holds nobody else's; None if not finite."""
    sound: NDArray[np.bool_] | None = None
    columns: list[list[_Array]] = []
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != count:
            raise EngineFailedError(f"output {name!r} has shape {array.shape} for a batch of {count}")
        if array.dtype.kind in "fc" and not (finite := np.isfinite(array)).all():
            good = np.asarray(finite.reshape(count, -1).all(axis=1))
            sound = good if sound is None else sound & good
        rows = array if array.ndim > 1 else [array[row, ...] for row in range(count)]
        columns.append([row.copy() for row in rows])
    names = tuple(outputs)
    answers: list[Output | None] = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if sound is None:
        return answers
    return [answer if good else None for answer, good in zip(answers, sound, strict=True)]
