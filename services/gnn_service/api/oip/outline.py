"""JSON requests of a known outline: all but the numbers is as in a request read before, so only the numbers are read.

Clients send the same names, shapes and parameters again and again. What is learnt is the text of a request that was
read in full, without the contents of its ``data``; a request of the same text is the same request but for these.
"""

import traceback
from dataclasses import dataclass
from typing import Any, Final

import simdjson
from numpy.typing import NDArray

from gnn_service.api.oip.json_body import numbers, numbers_alone
from gnn_service.api.oip.tensors import InferRequest, InputPlan, TensorModelView
from gnn_service.core.errors import InvalidInputError

_DATA: Final = b'"data"'
_NUMBERS: Final = (b":[", b": [")
_ENDS: Final = (b",", b"}", b"]")
_BACKSLASH: Final = 0x5C
_GAP: Final = b"\0"  # never in JSON, so no outline can be mistaken for another
_TENSORS_MAX: Final = 32
_OUTLINES_MAX: Final = 64
_OUTLINE_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Outline:
    """What the text around the numbers says: a request without its arrays, and what these must be."""

    request: InferRequest
    tensors: tuple[tuple[InputPlan, tuple[int, ...], str], ...]


def known(body: bytes, model: TensorModelView) -> tuple[InferRequest | None, bytes | None]:
    """A request whose outline is known, and the outline of one that may be learnt; None where it is not so.

    What is wrong with a request is not said here: it is None then, to be read in full.
    """
    cut = _cut(body)
    if cut is None:
        return None, None
    text, pieces = cut
    outline: Outline | None = model.outlines.get(text)
    if outline is None:
        return None, text
    arrays: dict[str, NDArray[Any]] = {}
    for (plan, shape, where), piece in zip(outline.tensors, pieces, strict=True):
        given: simdjson.Array | None = numbers_alone(piece)
        if given is None:
            return None, None
        try:
            arrays[plan.name] = numbers(given, plan, shape, where, flat=True)
        except InvalidInputError as error:
            traceback.clear_frames(error.__traceback__)  # its frames hold the array, and with it the parser
            return None, None
        finally:
            del given
    asked = outline.request
    return InferRequest(asked.id, arrays, asked.batch, asked.outputs, asked.timeout_s), None


def learn(text: bytes, request: InferRequest, model: TensorModelView) -> None:
    """Remember the outline of a request that was read in full, in which no array lies in an array."""
    pieces = text.count(_GAP)
    if request.id is not None or pieces != len(request.arrays) or len(text) > _OUTLINE_MAX_BYTES:
        return
    if len(model.outlines) >= _OUTLINES_MAX:
        model.outlines.clear()
    tensors = tuple(
        (model.inputs[name], array.shape, f"inputs[{place}].data")
        for place, (name, array) in enumerate(request.arrays.items())
    )
    bare = InferRequest(None, {}, request.batch, request.outputs, request.timeout_s)
    model.outlines[text] = Outline(bare, tensors)


def _cut(body: bytes) -> tuple[bytes, list[bytes]] | None:
    """The text of a request with a gap for each array that a ``data`` has, and these arrays as they are written."""
    around: list[bytes] = []
    pieces: list[bytes] = []
    at = found = 0
    while (found := body.find(_DATA, found)) >= 0:
        behind = found + len(_DATA)
        if body[found - 1] == _BACKSLASH:
            return None
        found = behind
        if body[behind : behind + 1] in _ENDS:  # no key: an input, or whatever it is, has that name
            continue
        opening = behind + 1 + (body[behind + 1 : behind + 2] == b" ")
        end = body.find(b"]", opening) + 1
        if body[behind : opening + 1] not in _NUMBERS or end == 0 or len(pieces) == _TENSORS_MAX:
            return None
        around.append(body[at:opening])
        pieces.append(body[opening:end])
        at = found = end
    around.append(body[at:])
    return _GAP.join(around), pieces
