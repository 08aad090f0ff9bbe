"""The tensors that a graph takes and gives, as it declares them."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a graph, the batch as first axis.

    ``shape`` has a number where the graph takes one size, a name where axes of that name must have the same, and None
    where any will do.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]
