"""What is exchanged: tensors by name and datatype, the view of a model that a request is read against, the request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from gnn_service.inference.tensors import TensorSpec

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by tensor name, with the batch as first axis."""

DATATYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype(np.uint8),
        "UINT16": np.dtype(np.uint16),
        "UINT32": np.dtype(np.uint32),
        "UINT64": np.dtype(np.uint64),
        "INT8": np.dtype(np.int8),
        "INT16": np.dtype(np.int16),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype(np.int64),
        "FP16": np.dtype(np.float16),
        "FP32": np.dtype(np.float32),
        "FP64": np.dtype(np.float64),
    }
)
"""The protocol's numeric datatypes; BYTES and BF16 are not served."""

DATATYPE_OF: Final[Mapping[np.dtype[Any], str]] = MappingProxyType({dtype: name for name, dtype in DATATYPES.items()})
"""The other way round."""


@dataclass(frozen=True, slots=True)
class InputPlan:
    """An input as requests are checked against it: ``sizes`` with -1 where any size will do, the batch first."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """An output as it is told and written."""

    name: str
    datatype: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that is wanted, and whether as bytes behind the JSON."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class TensorModelView:
    """A model as the protocol sees it.

    ``ties`` are the groups of axes that must be of one size, each axis as (input name, axis); the first is the batch.
    """

    name: str
    version: str
    platform: str
    inputs: Mapping[str, InputPlan]
    outputs: Mapping[str, OutputPlan]
    ties: tuple[tuple[tuple[str, int], ...], ...]
    batch_max: int
    """Items in one request, at most."""
    all_outputs: Mapping[bool, tuple[RequestedOutput, ...]]
    """What is answered where nothing is asked for, by whether as bytes."""
    heads: dict[bytes, Any] = field(default_factory=dict, compare=False, repr=False)
    """JSON of binary requests that the codec has read before; clients send the same again and again."""
    outlines: dict[bytes, Any] = field(default_factory=dict, compare=False, repr=False)
    """Text around the numbers of JSON requests that it has read before."""

    @classmethod
    def of(
        cls,
        name: str,
        version: str,
        platform: str,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        batch_max: int,
    ) -> Self:
        """The view of a model with these tensors; their first axis is the batch."""
        tied: dict[str, list[tuple[str, int]]] = {}
        for spec in inputs:
            for axis, size in enumerate(spec.shape[1:], start=1):
                if isinstance(size, str):
                    tied.setdefault(size, []).append((spec.name, axis))
        batch = tuple((spec.name, 0) for spec in inputs)
        return cls(
            name,
            version,
            platform,
            {spec.name: InputPlan(spec.name, DATATYPE_OF[spec.dtype], spec.dtype, _sizes(spec)) for spec in inputs},
            {spec.name: OutputPlan(spec.name, DATATYPE_OF[spec.dtype], _sizes(spec)) for spec in outputs},
            (batch, *(tuple(axes) for axes in tied.values() if len(axes) > 1)),
            batch_max,
            {binary: tuple(RequestedOutput(spec.name, binary) for spec in outputs) for binary in (False, True)},
        )


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request that fits its model. ``arrays`` are read only, finite, of the model's types, [``batch``, ...]."""

    id: str | None
    arrays: Arrays
    batch: int
    outputs: tuple[RequestedOutput, ...]
    timeout_s: float | None
    """Seconds that the caller gives the answer; None where it does not say."""


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return (-1, *(size if isinstance(size, int) else -1 for size in spec.shape[1:]))
