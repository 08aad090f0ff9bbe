"""Graphs whose answers are known: what a runtime compiled, or found in a cache, is checked against them before use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.inference.runtimes.base import Batch, Item, Output

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each array of an item by input name, without a batch axis."""

Run = Callable[[Batch], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Known:
    """One graph and its answer. ``read`` takes from a batch of answers what ``answer`` speaks of."""

    item: Item
    answer: Output
    read: Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]] = dict


@dataclass(frozen=True)
class References:
    """What is known of a model's answers.

    Attributes:
        known: the graph whose answer is stored with the model.
        grown: the same graph at other shapes, where the model's padding allows it; None where it does not.
        tolerance: difference that is still the same answer, absolute and relative; see `Canary`.
    """

    known: Known
    grown: Callable[[Shapes], Known | None] = lambda _: None
    tolerance: float = 1e-3

    def at(self, shapes: Shapes) -> Known | None:
        """The known graph of these shapes, if there is one."""
        if all(np.shape(value) == tuple(shapes.get(name, ())) for name, value in self.known.item.items()):
            return self.known
        return self.grown(shapes)

    def flaw(self, run: Run, size: int, shapes: Shapes | None = None) -> str | None:
        """What is wrong with the answers to ``size`` known graphs, in a few words; None when they are right.

        Nothing can be said, and None is returned, where no answer is known for these shapes.
        """
        known = self.known if shapes is None else self.at(shapes)
        if known is None:
            return None
        answers = known.read(run({name: np.stack([value] * size) for name, value in known.item.items()}))
        for name, wanted in known.answer.items():
            if name not in answers:
                return f"the answer lacks {name}"
            got, rows = answers[name], np.broadcast_to(wanted, (size, *np.shape(wanted)))
            if got.shape != rows.shape:
                return f"{name} has shape {got.shape}, not {rows.shape}"
            if not np.allclose(got, rows, rtol=self.tolerance, atol=self.tolerance):
                worst = float(np.max(np.abs(got.astype(np.float64) - rows)))
                return f"{name} is off by {worst:.3g} at batch {size}, more than {self.tolerance:g}"
        return None
