"""One graph whose answer is known: says what fits the model, and tells a sick model from bad input."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.inference.batcher import Signature
from gnn_service.inference.runtimes.base import Item, Output


class Canary:
    """A known graph and, where it is known, its answer.

    Args:
        item: arrays by input name, without a batch axis.
        expected: its answer by output name; None asks only for finite numbers.
        tolerance: difference that is still the same answer, absolute and relative. Other CPUs and providers round
            differently by about 1e-5; a wrong model is off by far more.
    """

    def __init__(self, item: Item, expected: Output | None, tolerance: float = 1e-3) -> None:
        self.item = dict(item)
        self.names = tuple(self.item)
        self.signature: Signature = tuple(array.shape for array in self.item.values())
        self._wanted = tuple((name, array.dtype, array.ndim) for name, array in self.item.items())
        self._expected = expected
        self._tolerance = tolerance

    def signature_of(self, item: Item) -> Signature:
        """What the item stacks with: its shapes, in the order of the model's inputs.

        Raises:
            InvalidInputError: its names, types or numbers of axes are not those of the model.
        """
        if len(item) == len(self._wanted):
            shapes = []
            for name, dtype, axes in self._wanted:
                array = item.get(name)
                if type(array) is not np.ndarray or array.dtype != dtype or array.ndim != axes:
                    break
                shapes.append(array.shape)
            else:
                return tuple(shapes)
        return self._looked_at_closely(item)

    def _looked_at_closely(self, item: Item) -> Signature:
        if len(item) != len(self.names) or any(name not in item for name in self.names):
            wanted, got = ", ".join(self.names), ", ".join(map(str, item))
            raise InvalidInputError(f"the model takes the arrays {wanted}; these came: {got or 'none'}")
        for name, known in self.item.items():
            array = item[name]
            if not isinstance(array, np.ndarray):
                raise InvalidInputError(f"must be a NumPy array, not {type(array).__name__}", where=name)
            if array.dtype != known.dtype or array.ndim != known.ndim:
                wanted, got = _kind(known), _kind(array)
                raise InvalidInputError(f"must be {wanted}, not {got}", where=name)
        return tuple(item[name].shape for name in self.names)

    def flaw(self, output: Output | None) -> str | None:
        """What is wrong with the model's answer to this graph, in a few words; None when it is right."""
        if output is None:
            return "the canary's answer is not finite"
        for name, wanted in (self._expected or {}).items():
            if name not in output:
                return f"the canary's answer lacks {name}"
            got = output[name]
            if got.shape != np.shape(wanted):
                return f"the canary's {name} has shape {got.shape}, not {np.shape(wanted)}"
            if not np.allclose(got, wanted, rtol=self._tolerance, atol=self._tolerance):
                worst = float(np.max(np.abs(got.astype(np.float64) - wanted)))
                return f"the canary's {name} is off by {worst:.3g}, more than {self._tolerance:g}"
        return None


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} with {array.ndim} axes"
