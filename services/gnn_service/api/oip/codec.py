"""Requests read and answers written, with neither HTTP nor an event loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from gnn_service.api.oip import outline as outlines
from gnn_service.api.oip.binary import Slot, check_length
from gnn_service.api.oip.json_body import document, fields, numbers, objects, shown
from gnn_service.api.oip.tensors import (
    DATATYPES,
    Arrays,
    InferRequest,
    InputPlan,
    RequestedOutput,
    TensorModelView,
)
from gnn_service.core.errors import InvalidInputError, MalformedBodyError

HEADER_LENGTH: Final = "inference-header-content-length"
"""The HTTP header with the bytes of JSON in a body that has binary tensors, in lower case."""

_HEADS_MAX: Final = 64
_HEAD_MAX_BYTES: Final = 4096
_WORTH_CUTTING: Final = 1024
"""Bytes of JSON from which on knowing its outline saves more than looking for it costs."""
_NOT_SERVED: Final = {
    "BYTES": "text is not a tensor that a graph of numbers takes",
    "BF16": "NumPy has no such type; send FP32",
}
_NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({})
_SHARED_MEMORY: Final = "shared_memory_region"

_Tensor = Slot | NDArray[Any]


def parse(body: bytes, header_length: int | None, model: TensorModelView) -> InferRequest:
    """Read a request for ``model``.

    Args:
        body: the whole body; the arrays may point into it.
        header_length: bytes of JSON at its start, where binary tensors follow; None where all of it is JSON.
        model: what the request must fit.

    Raises:
        MalformedBodyError: the body is not JSON, or its parts are not as long as they say.
        InvalidInputError: the request does not fit the protocol or the model; ``where`` names the place.
    """
    if header_length is not None and not 0 <= header_length <= len(body):
        raise MalformedBodyError(f"{HEADER_LENGTH} is {header_length}; the body has {len(body)} bytes")
    return _request(body, header_length, model)


def write(model: TensorModelView, request: InferRequest, answers: Arrays) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON where binary tensors follow, else None.

    Args:
        model: who answers.
        request: what was asked.
        answers: arrays [B, ...] by output name, finite, of the types that the model has for them.
    """
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for wanted in request.outputs:
        array = answers[wanted.name]
        told: dict[str, Any] = {
            "name": wanted.name,
            "datatype": model.outputs[wanted.name].datatype,
            "shape": array.shape,
        }
        if wanted.binary:
            tail.append(array.tobytes())
            told["parameters"] = {"binary_data_size": array.nbytes}
        else:
            told["data"] = _for_json(array)
        outputs.append(told)
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.id is not None:
        head["id"] = request.id
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *tail)), len(text)) if tail else (text, None)


@dataclass(frozen=True, slots=True)
class _Head:
    """What the JSON of a request says, checked against the model: tensors that are in it, and where the others lie."""

    id: str | None
    arrays: Arrays
    slots: tuple[Slot, ...]
    batch: int
    outputs: tuple[RequestedOutput, ...]
    timeout_s: float | None
    flat: bool
    """No array lies in an array."""


def _request(body: bytes, header_length: int | None, model: TensorModelView) -> InferRequest:
    if header_length is None:
        return _of_json(body, model)
    text = body[:header_length]
    head = model.heads.get(text) or _remembered(text, model)
    check_length(head.slots, len(body) - header_length)
    arrays = {slot.plan.name: slot.take(body, header_length) for slot in head.slots}
    return InferRequest(head.id, {**head.arrays, **arrays}, head.batch, head.outputs, head.timeout_s)


def _of_json(body: bytes, model: TensorModelView) -> InferRequest:
    request, outline = outlines.known(body, model) if len(body) >= _WORTH_CUTTING else (None, None)
    if request is not None:
        return request
    head = _head(body, model, binary=False)
    request = InferRequest(head.id, head.arrays, head.batch, head.outputs, head.timeout_s)
    if outline is not None and head.flat:
        outlines.learn(outline, request, model)
    return request


def _remembered(text: bytes, model: TensorModelView) -> _Head:
    head = _head(text, model, binary=True)
    if not head.arrays and len(text) <= _HEAD_MAX_BYTES:
        if len(model.heads) >= _HEADS_MAX:
            model.heads.clear()
        model.heads[text] = head
    return head


def _head(text: bytes, model: TensorModelView, *, binary: bool) -> _Head:
    given = document(text)
    names = fields(given, "")
    known_as = given["id"] if "id" in names else None
    if known_as is not None and not isinstance(known_as, str):
        raise InvalidInputError(f"must be text, not {shown(known_as)}", where="id")
    parameters = _parameters(given, names, "parameters")
    if "inputs" not in names:
        raise InvalidInputError(f"is missing; the model takes {', '.join(model.inputs)}", where="inputs")
    outputs = given["outputs"] if "outputs" in names else None
    inputs = given["inputs"]
    if not isinstance(inputs, simdjson.Array):
        raise InvalidInputError("must be an array of tensors", where="inputs")
    # each has one array for its shape and one for its data, where none has its data behind the JSON
    flat = not binary and _nothing_nested(text, arrays=1 + 2 * len(inputs) + (outputs is not None))
    tensors = _inputs(inputs, model, binary=binary, flat=flat)
    return _Head(
        known_as,
        {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Slot)},
        tuple(tensor for tensor in tensors.values() if isinstance(tensor, Slot)),
        _batch(tensors, model),
        _outputs(outputs, model, binary=_switch(parameters, "binary_data_output", "parameters", default=False)),
        _timeout_s(parameters),
        flat,
    )


def _inputs(given: simdjson.Array, model: TensorModelView, *, binary: bool, flat: bool) -> dict[str, _Tensor]:
    tensors: dict[str, _Tensor] = {}
    start = 0
    for where, tensor in objects(given, "inputs"):
        names = fields(tensor, where)
        name = _text(tensor, names, "name", where)
        plan = model.inputs.get(name)
        if plan is None:
            known = ", ".join(model.inputs)
            raise InvalidInputError(f"the model has no input {shown(name)}; it takes {known}", where=f"{where}.name")
        if name in tensors:
            raise InvalidInputError(f"input {name} is there twice; send it once", where=f"{where}.name")
        _check_datatype(_text(tensor, names, "datatype", where), plan, where)
        shape = _shape(tensor["shape"] if "shape" in names else None, plan, model, f"{where}.shape")
        size = _binary_size(tensor, names, where, binary=binary)
        if size is None:
            tensors[name] = numbers(tensor["data"], plan, shape, f"{where}.data", flat=flat)
        else:
            slot = tensors[name] = Slot.of(size, plan, shape, where, start)
            start = slot.end
    if len(tensors) != len(model.inputs):
        missing = ", ".join(name for name in model.inputs if name not in tensors)
        raise InvalidInputError(f"{missing} is missing", where="inputs")
    return tensors


def _binary_size(tensor: simdjson.Object, names: list[str], where: str, *, binary: bool) -> Any:
    """What a tensor's ``binary_data_size`` is said to be; None where it has its data in the JSON."""
    parameters = _parameters(tensor, names, f"{where}.parameters")
    if _SHARED_MEMORY in parameters:
        raise InvalidInputError("shared memory is not served; send the data", where=f"{where}.parameters")
    size = parameters.get("binary_data_size")
    if size is None and "data" not in names:
        raise InvalidInputError("is missing; send data, or binary_data_size and the bytes", where=f"{where}.data")
    if size is not None and "data" in names:
        raise InvalidInputError("has data and binary_data_size; send one of them", where=where)
    if size is not None and not binary:
        raise MalformedBodyError(f"binary tensors need the header {HEADER_LENGTH}", where=where)
    return size


def _outputs(given: Any, model: TensorModelView, *, binary: bool) -> tuple[RequestedOutput, ...]:
    if given is None or (isinstance(given, simdjson.Array) and not len(given)):
        return model.all_outputs[binary]
    wanted: dict[str, RequestedOutput] = {}
    for where, output in objects(given, "outputs"):
        names = fields(output, where)
        name = _text(output, names, "name", where)
        if name not in model.outputs:
            known = ", ".join(model.outputs)
            raise InvalidInputError(f"the model has no output {shown(name)}; it gives {known}", where=f"{where}.name")
        if name in wanted:
            raise InvalidInputError(f"output {name} is there twice; ask once", where=f"{where}.name")
        place = f"{where}.parameters"
        parameters = _parameters(output, names, place)
        if parameters.get("classification") or _SHARED_MEMORY in parameters:
            raise InvalidInputError("classification and shared memory are not served", where=place)
        wanted[name] = RequestedOutput(name, _switch(parameters, "binary_data", place, default=binary))
    return tuple(wanted.values())


def _shape(given: Any, plan: InputPlan, model: TensorModelView, where: str) -> tuple[int, ...]:
    sizes: list[Any] | None = given.as_list() if isinstance(given, simdjson.Array) else None
    if sizes is None:
        raise InvalidInputError(f"must be an array of {len(plan.sizes)} sizes", where=where)
    if len(sizes) != len(plan.sizes):
        told = list(plan.sizes)
        raise InvalidInputError(f"must have {len(told)} axes, the batch first: {told}, not {len(sizes)}", where=where)
    for axis, (size, wanted) in enumerate(zip(sizes, plan.sizes, strict=True)):
        if type(size) is not int or size < 1:
            raise InvalidInputError(f"must be an integer of at least 1, not {shown(size)}", where=f"{where}[{axis}]")
        if wanted not in {-1, size}:
            raise InvalidInputError(f"must be {wanted}, not {size}", where=f"{where}[{axis}]")
    if sizes[0] > model.batch_max:
        raise InvalidInputError(f"{sizes[0]} items are too many; send at most {model.batch_max}", where=f"{where}[0]")
    return tuple(sizes)


def _batch(tensors: Mapping[str, _Tensor], model: TensorModelView) -> int:
    """Items in the request. Raises InvalidInputError where axes that belong together differ."""
    for tied in model.ties:
        first, axis = tied[0]
        size = tensors[first].shape[axis]
        for name, other in tied[1:]:
            if tensors[name].shape[other] != size:
                raise InvalidInputError(
                    f"axis {other} of {name} is {tensors[name].shape[other]} and axis {axis} of {first} is {size}; "
                    "they must be the same",
                    where="inputs",
                )
    first, _ = model.ties[0][0]
    return int(tensors[first].shape[0])


def _check_datatype(given: str, plan: InputPlan, where: str) -> None:
    if given == plan.datatype:
        return
    if given in _NOT_SERVED:
        reason = f"{given} is not served: {_NOT_SERVED[given]}"
    elif given in DATATYPES:
        reason = f"input {plan.name} takes {plan.datatype}, not {given}"
    else:
        reason = f"there is no datatype {shown(given)}; input {plan.name} takes {plan.datatype}"
    raise InvalidInputError(reason, where=f"{where}.datatype")


def _parameters(given: simdjson.Object, names: list[str], where: str) -> Mapping[str, Any]:
    found = given["parameters"] if "parameters" in names else None
    if found is None:
        return _NO_PARAMETERS
    if not isinstance(found, simdjson.Object):
        raise InvalidInputError(f"must be an object, not {shown(found)}", where=where)
    fields(found, where)
    return found.as_dict()


def _switch(parameters: Mapping[str, Any], name: str, where: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInputError(f"must be true or false, not {shown(value)}", where=f"{where}.{name}")
    return value


def _timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """Triton's ``timeout``, which is in microseconds; 0 stands for none."""
    value = parameters.get("timeout", 0)
    if type(value) is not int or value < 0:
        raise InvalidInputError(
            f"must be a whole number of microseconds, not {shown(value)}", where="parameters.timeout"
        )
    return value / 1e6 if value else None


def _text(given: simdjson.Object, names: list[str], name: str, where: str) -> str:
    if name not in names:
        raise InvalidInputError("is missing", where=f"{where}.{name}")
    value = given[name]
    if not isinstance(value, str):
        raise InvalidInputError(f"must be text, not {shown(value)}", where=f"{where}.{name}")
    return value


def _nothing_nested(text: bytes, arrays: int) -> bool:
    """Whether there are no more arrays than the protocol's own, so that none of them has one in it.

    Brackets in text count too: then it is looked at more closely. ``find`` runs at memory speed, ``count`` does not.
    """
    at = text.find(b"[")
    while at >= 0 and arrays >= 0:
        arrays -= 1
        at = text.find(b"[", at + 1)
    return arrays >= 0


def _for_json(array: NDArray[Any]) -> NDArray[Any]:
    flat = array.ravel()  # in row-major order, copied where it does not lie so
    return flat.astype(np.float32) if flat.dtype == np.float16 else flat
