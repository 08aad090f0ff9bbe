"""What the JSON of a body may cost: bounds on its structure, and on the faults that are listed of it."""

from typing import Any, Final, TypeVar

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from gnn_service.api.problems import FAULTS_MAX, too_many_faults
from gnn_service.core.errors import BodyTooLargeError

MEMBERS_MAX: Final = 150_000
"""Objects, lists and members of objects in one body, at most: some hundred windows, or the largest machine there is.

Each costs a check microseconds and hundreds of bytes with the interpreter's lock held, whereas numbers are cheap.
"""

_QUOTE: Final = ord('"')
_STRUCTURE: Final = tuple(b":{[")
Body = TypeVar("Body", bound=BaseModel)


def check_members(body: bytes) -> None:
    """BodyTooLargeError where JSON has over `MEMBERS_MAX` objects, lists and members; asked before it is parsed."""
    if len(body) <= MEMBERS_MAX:  # each takes a byte at least
        return
    if sum([body.count(mark) for mark in _STRUCTURE]) > MEMBERS_MAX and members(body) > MEMBERS_MAX:
        raise BodyTooLargeError(
            f"the body has over {MEMBERS_MAX} objects, lists and members of objects; send fewer at once"
        )


def members(body: bytes) -> int:
    """How many objects, lists and members of objects a JSON text has. What stands in its strings does not count."""
    if b"\\" in body:  # first the pairs, as the second of one escapes nothing
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    signs = np.frombuffer(body, np.uint8)
    outside = np.add.accumulate(signs == _QUOTE, dtype=np.uint8) & 1 == 0  # that it wraps changes no parity
    return sum(int(np.count_nonzero((signs == mark) & outside)) for mark in _STRUCTURE)


def validate(kind: type[Body], parsed: Any) -> Body:
    """A body of this kind from what its JSON said.

    Raises:
        RequestValidationError: it has not the right form, as FastAPI would say it.
        InvalidInputError: it has so little of it that nobody would read the list.
    """
    try:
        return kind.model_validate(parsed, from_attributes=True)
    except ValidationError as error:
        count = error.error_count()
        if count > FAULTS_MAX:
            raise too_many_faults(count) from None
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(found) from error
