"""From problem details back to the exception that the service raised."""

from collections.abc import Iterator, Mapping

import orjson

from gnn_service.core.errors import (
    DeadlineExceededError,
    GnnServiceError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)

_BY_STATUS: dict[int, type[GnnServiceError]] = {
    404: NotFoundError,
    503: UnavailableError,
    504: DeadlineExceededError,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes, url: str) -> GnnServiceError:
    """The exception behind an error answer; ``url`` is named where the answer does not explain itself."""
    problem = _problem(body)
    code = str(problem.get("type", "")).rpartition(":")[2]
    kind = _classes().get(code) or _BY_STATUS.get(status) or _of_range(status)
    detail = str(problem.get("detail") or f"{url} answered {status} without problem details; is a gnn-service there?")
    where = problem.get("where")
    return kind(detail, where=None if where is None else str(where), retry_after_s=_seconds(headers))


def _problem(body: bytes) -> Mapping[str, object]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _classes() -> dict[str, type[GnnServiceError]]:
    return {kind.code: kind for kind in _tree(GnnServiceError)}


def _tree(kind: type[GnnServiceError]) -> Iterator[type[GnnServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _of_range(status: int) -> type[GnnServiceError]:
    return InvalidInputError if status < 500 else GnnServiceError


def _seconds(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isdecimal() else None
