"""Binary tensors behind the JSON of a request: little-endian, row-major, without padding (Triton's extension).

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html
"""

from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gnn_service.api.oip.json_body import check_finite, shown
from gnn_service.api.oip.tensors import InputPlan
from gnn_service.core.errors import InvalidInputError, MalformedBodyError


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies behind the JSON: ``count`` values from byte ``start`` on."""

    plan: InputPlan
    shape: tuple[int, ...]
    where: str
    start: int
    count: int

    @classmethod
    def of(cls, size: Any, plan: InputPlan, shape: tuple[int, ...], where: str, start: int) -> Self:
        """The slot of a tensor, whose ``binary_data_size`` the JSON says to be ``size``.

        Raises:
            InvalidInputError: that is not the size of such a tensor.
        """
        count = prod(shape)
        wanted = count * plan.dtype.itemsize
        if type(size) is not int or size != wanted:
            raise InvalidInputError(
                f"must be {wanted} bytes for {plan.datatype} of shape {list(shape)}, not {shown(size)}",
                where=f"{where}.parameters.binary_data_size",
            )
        return cls(plan, shape, where, start, count)

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + self.count * self.plan.dtype.itemsize

    def take(self, body: bytes, behind: int) -> NDArray[Any]:
        """The tensor from a body whose JSON ends at byte ``behind``; no copy where it lies aligned.

        Raises:
            InvalidInputError: a value is not finite, or a BOOL neither 0 nor 1.
        """
        dtype = self.plan.dtype
        array: NDArray[Any] = np.frombuffer(body, dtype, self.count, behind + self.start)
        if not array.flags.aligned:  # the JSON before it has any length
            array = array.copy()
        if dtype.kind == "f":
            check_finite(array, f"{self.where}.data")
        elif dtype.kind == "b":
            _check_booleans(array.view(np.uint8), f"{self.where}.data")
        return array.reshape(self.shape)


def check_length(slots: tuple[Slot, ...], length: int) -> None:
    """Refuse what is shorter or longer than its tensors; ``length`` are the bytes behind the JSON.

    Raises:
        MalformedBodyError: bytes are missing, or left.
    """
    end = slots[-1].end if slots else 0
    if length > end:
        raise MalformedBodyError(f"{length - end} bytes are left behind the tensors; the sizes do not fit the body")
    if length < end:
        torn = next(slot for slot in slots if slot.end > length)
        raise MalformedBodyError(f"the body ends {torn.end - length} bytes before the tensor does", where=torn.where)


def _check_booleans(stored: NDArray[np.uint8], where: str) -> None:
    wrong = stored > 1
    if wrong.any():
        index = int(wrong.argmax())
        raise InvalidInputError(f"a BOOL is a byte of 0 or 1, not {stored[index]}", where=f"{where}[{index}]")
