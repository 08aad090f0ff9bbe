"""Binary tensors behind the JSON of a request: little-endian, row-major, without padding (Triton's extension).

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.api.oip.json_body import check_finite, shown
from gnn_service.api.oip.tensors import InputPlan
from gnn_service.core.errors import InvalidInputError, MalformedBodyError


class Tail:
    """What stands behind the JSON, taken from its front, tensor by tensor."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, size: Any, plan: InputPlan, shape: tuple[int, ...], where: str) -> NDArray[Any]:
        """The next tensor; no copy where the bytes lie aligned.

        Args:
            size: its ``binary_data_size``, as the JSON has it.
            plan: the input that it is for.
            shape: what its shape says, checked already.
            where: the place of the input.

        Raises:
            InvalidInputError: the size is not that of such a tensor, or a value is not finite, or no BOOL.
            MalformedBodyError: the body ends before it does.
        """
        wanted = prod(shape) * plan.dtype.itemsize
        if type(size) is not int or size != wanted:
            raise InvalidInputError(
                f"must be {wanted} bytes for {plan.datatype} of shape {list(shape)}, not {shown(size)}",
                where=f"{where}.parameters.binary_data_size",
            )
        left = len(self._body) - self._at
        if size > left:
            raise MalformedBodyError(f"the body ends {size - left} bytes before the tensor does", where=where)
        stored = np.dtype(np.uint8) if plan.dtype.kind == "b" else plan.dtype
        array = np.frombuffer(self._body, stored, prod(shape), self._at)
        self._at += size
        if not array.flags.aligned:  # the JSON before it has any length
            array = array.copy()
        if plan.dtype.kind == "b":
            array = _booleans(array, where)
        elif plan.dtype.kind == "f":
            check_finite(array, f"{where}.data")
        return array.reshape(shape)

    def check_used(self) -> None:
        """Refuse a body that is longer than its tensors.

        Raises:
            MalformedBodyError: bytes are left.
        """
        if left := len(self._body) - self._at:
            raise MalformedBodyError(f"{left} bytes are left behind the tensors; the sizes do not fit the body")


def _booleans(array: NDArray[np.uint8], where: str) -> NDArray[np.bool_]:
    wrong = array > 1
    if wrong.any():
        index = int(wrong.argmax())
        raise InvalidInputError(f"a BOOL is a byte of 0 or 1, not {array[index]}", where=f"{where}.data[{index}]")
    return array.view(np.bool_)
