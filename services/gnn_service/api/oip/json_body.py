"""JSON of requests: parsed with simdjson, its arrays of numbers straight into NumPy; every refusal names its place.

The proxies that simdjson hands out point into its parser, which reads nothing new while one is alive: whoever asks for
a `document` lets go of it before it returns.
"""

import threading
from collections.abc import Iterator
from itertools import islice
from math import prod
from typing import Any, Final

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from gnn_service.api.oip.tensors import InputPlan
from gnn_service.core.errors import InvalidInputError, MalformedBodyError

KEEP_BYTES: Final = 1 << 20
"""A parser keeps memory for the largest document it has read; larger ones get a parser of their own."""

_SHOWN: Final = 60
_LOOKED_AT: Final = 65_536
_KIND_OF_BUFFER: Final = {"f": "d", "i": "i", "u": "u"}
_READ_AS: Final = {"f": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}
_HELD: Final = "re-use a parser"
_ours = threading.local()


def document(text: bytes) -> simdjson.Object:
    """The JSON object that ``text`` is.

    Raises:
        MalformedBodyError: it is no JSON, or no object.
        InvalidInputError: it is JSON that is not read here.
    """
    if not text:
        raise MalformedBodyError("the body is empty; send a JSON object")
    try:
        found = _parsed(text)
    except (ValueError, RuntimeError) as error:  # UnicodeDecodeError is a ValueError
        raise _unreadable(text, error) from None
    if not isinstance(found, simdjson.Object):
        raise MalformedBodyError("the body is JSON but no object; send {...}")
    return found


def numbers_alone(text: bytes) -> simdjson.Array | None:
    """The array that ``text`` is; None where it is no JSON, or no array."""
    try:
        found = _parsed(text)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return found if isinstance(found, simdjson.Array) else None


def fields(given: simdjson.Object, where: str) -> list[str]:
    """The names of an object's members.

    Raises:
        InvalidInputError: a name stands there twice.
    """
    names = list(given)
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidInputError(f"has {shown(twice)} twice; send it once", where=where or None)
    return names


def objects(given: Any, where: str) -> Iterator[tuple[str, simdjson.Object]]:
    """The objects of an array with their places."""
    if not isinstance(given, simdjson.Array):
        raise InvalidInputError("must be an array of objects", where=where)
    for index, each in enumerate(given):
        place = f"{where}[{index}]"
        if not isinstance(each, simdjson.Object):
            raise InvalidInputError(f"must be an object, not {shown(each)}", where=place)
        yield place, each


def numbers(given: Any, plan: InputPlan, shape: tuple[int, ...], where: str, *, flat: bool) -> NDArray[Any]:
    """The array that ``data`` holds, flat in row-major order or nested as its shape.

    Args:
        given: what the JSON has there.
        plan: the input that it is for.
        shape: what its shape says, checked already.
        where: the place of the data.
        flat: nothing is nested here, that is known; else it is looked at.

    Raises:
        InvalidInputError: it is no array of such numbers, of another size, or one of them does not fit the type.
    """
    if not isinstance(given, simdjson.Array):
        raise InvalidInputError("must be an array of numbers", where=where)
    if plan.dtype.kind == "b":
        read = _booleans(given, where)
    else:
        kind = plan.dtype.kind
        try:
            buffer = given.as_buffer(of_type=_KIND_OF_BUFFER[kind])  # type: ignore[arg-type]  # one of its three
        except (TypeError, ValueError):
            raise _odd_one(given, plan, where) from None
        read = np.frombuffer(buffer, _READ_AS[kind])
    wanted = prod(shape)
    if read.size != wanted:
        raise InvalidInputError(f"has {read.size} numbers; the shape {list(shape)} takes {wanted}", where=where)
    if not flat and not (_is_flat(given) or _is_nested(given, shape)):
        raise InvalidInputError(f"must be flat, or nested as its shape {list(shape)} says", where=where)
    return _fitted(read, plan, where).reshape(shape)


def check_finite(array: NDArray[Any], where: str) -> None:
    """Refuse NaN and infinity in a flat array.

    Raises:
        InvalidInputError: names the first one.
    """
    index = _first_unsound(array)
    if index is not None:
        raise InvalidInputError(f"must be finite, not {array[index]}", where=f"{where}[{index}]")


def shown(value: object) -> str:
    """A value as an error quotes it."""
    if isinstance(value, simdjson.Array | list):
        return "an array"
    if isinstance(value, simdjson.Object | dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _parsed(text: bytes) -> Any:
    if len(text) > KEEP_BYTES:
        return simdjson.Parser().parse(text)
    try:
        return _ours.parser.parse(text)
    except (AttributeError, RuntimeError) as error:
        # This thread's first; or a document is still held, by the traceback of an error that somebody keeps. That
        # one goes on pointing into its own parser. Any other error comes again.
        if isinstance(error, RuntimeError) and _HELD not in str(error):
            raise
        _ours.parser = simdjson.Parser()
        return _ours.parser.parse(text)


def _unreadable(text: bytes, error: Exception) -> InvalidInputError:
    """Why simdjson did not read it, in orjson's words, which have the place."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as syntax:
        return MalformedBodyError(f"the body is no JSON: {syntax}")
    reason = str(error).partition(":")[0]
    return InvalidInputError(
        f"the JSON has an integer beyond 64 bits, or is nested over 1024 deep ({reason}); "
        "write large numbers with an exponent"
    )


def _booleans(given: simdjson.Array, where: str) -> NDArray[np.bool_]:
    values = given.as_list()
    if set(map(type, values)) <= {bool}:
        return np.array(values, np.bool_)
    found: list[bool] = []
    for place, index, value in _leaves(values, where):
        if not isinstance(value, bool):
            raise InvalidInputError(f"must be true or false, not {shown(value)}", where=f"{place}[{index}]")
        found.append(value)
    return np.array(found, np.bool_)


def _fitted(read: NDArray[Any], plan: InputPlan, where: str) -> NDArray[Any]:
    """The numbers in the input's own type. Raises InvalidInputError where one does not fit."""
    if plan.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = read.astype(plan.dtype, copy=False)
        index = _first_unsound(array)
        if index is not None:
            raise InvalidInputError(f"{read[index]!s} is beyond {plan.datatype}", where=f"{where}[{index}]")
        return array
    if read.dtype == plan.dtype:
        return read
    limits = np.iinfo(plan.dtype)
    outside = (read < limits.min) | (read > limits.max)
    if outside.any():
        index = int(outside.argmax())
        raise InvalidInputError(f"{read[index]!s} is beyond {plan.datatype}", where=f"{where}[{index}]")
    return read.astype(plan.dtype)


def _first_unsound(array: NDArray[Any]) -> int | None:
    sound = np.isfinite(array)
    # counts truths three times as fast as `all` looks for a false one
    return int(sound.argmin()) if np.count_nonzero(sound) < array.size else None


def _odd_one(given: simdjson.Array, plan: InputPlan, where: str) -> InvalidInputError:
    """What is wrong with numbers that simdjson did not take; only for the wording, so not for long."""
    whole = plan.dtype.kind in "iu"
    for place, index, value in islice(_leaves(given, where), _LOOKED_AT):
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            wanted = "an integer" if whole else "a number"
            return InvalidInputError(f"must be {wanted}, not {shown(value)}", where=f"{place}[{index}]")
        if whole and not np.iinfo(plan.dtype).min <= value <= np.iinfo(plan.dtype).max:
            return InvalidInputError(f"{value} is beyond {plan.datatype}", where=f"{place}[{index}]")
    return InvalidInputError(f"must hold numbers that fit {plan.datatype}", where=where)


def _leaves(values: simdjson.Array | list[Any], where: str) -> Iterator[tuple[str, int, Any]]:
    """What stands in nested arrays: the array's place, the index in it, the value. Documents may be deep."""
    within = [(where, enumerate(values))]
    while within:
        place, rest = within[-1]
        for index, value in rest:
            if isinstance(value, simdjson.Array | list):
                within.append((f"{place}[{index}]", enumerate(value)))
                break
            yield place, index, value
        else:
            within.pop()


def _is_flat(given: simdjson.Array) -> bool:
    return not any(isinstance(each, simdjson.Array) for each in given)


def _is_nested(given: simdjson.Array, shape: tuple[int, ...]) -> bool:
    """Whether arrays stand in arrays as ``shape`` says; all their leaves are known to be numbers."""
    arrays = sum(prod(shape[:depth]) for depth in range(len(shape)))
    text: Any = given.mini  # bytes, whatever its type hints say
    return _fits(given, shape) and text.count(b"[") == arrays


def _fits(given: simdjson.Array, shape: tuple[int, ...]) -> bool:
    if len(given) != shape[0]:
        return False
    return len(shape) == 1 or all(isinstance(each, simdjson.Array) and _fits(each, shape[1:]) for each in given)
