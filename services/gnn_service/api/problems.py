"""From exceptions to problem details (RFC 9457). Nothing about the inside of the service leaves it."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from gnn_service.api.schemas.problem import MEDIA_TYPE, TYPE_PREFIX, FieldProblem, Problem
from gnn_service.core.errors import GnnServiceError, InvalidInputError
from gnn_service.observability.logs import logger

CLIENT_GONE = 499  # nginx's status for a caller that left before the answer; nobody reads it
_OIP = "/v2"  # the Open Inference Protocol wants an ``error``
_SHOWN_ERRORS = 20
_SHOWN_INPUT = 40
FAULTS_MAX = 1000
"""Faults of a body that are looked at one by one, at most."""
CODES = {
    400: "malformed-request",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "body-too-large",
    415: "unsupported-media-type",
}
_log = logger("gnn_service.api")


class UnionTag:
    """Marks the branch of a union in Pydantic's error locations, which callers have no use for."""

    PREFIX = "<"

    @classmethod
    def of(cls, name: str) -> str:
        """The tag of a branch."""
        return f"{cls.PREFIX}{name}>"


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer every error of this application, which has these routes, with problem details."""
    app.state.routes = tuple(routes)
    for kind in (GnnServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(ClientDisconnect, _on_client_gone)


def respond(scope: Scope, error: Exception) -> Response:
    """The answer to an error: one of this product's, of HTTP or of validation, else a failure of the service."""
    if isinstance(error, GnnServiceError):
        return _of_own_error(scope, error)
    if isinstance(error, RequestValidationError):
        return _of_validation_error(scope, error)
    if isinstance(error, HTTPException):
        return _of_http_error(scope, error)
    _log.error("request crashed", exc_info=error)
    return _answer(
        scope,
        code=GnnServiceError.code,
        title=GnnServiceError.title,
        status=500,
        detail="an unexpected error; it is in the service's log under this request id",
    )


def place(location: Sequence[int | str]) -> str | None:
    """Pydantic's error location as callers write it: ``("body", "a", 3, "b")`` is ``a[3].b``; None at the top."""
    text = ""
    for part in location[1:] if location[:1] == ("body",) else location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith(UnionTag.PREFIX):
            text += f".{part}" if text else part
    return text or None


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, GnnServiceError):
        tell(error)
    return respond(request.scope, error)


async def _on_client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def tell(error: GnnServiceError) -> None:
    """Log an error that is the service's own; the caller's are theirs."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", code=error.code, detail=error.detail, where=error.where)


def _of_own_error(scope: Scope, error: GnnServiceError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["connection"] = "close"  # the rest of the body may still come
    return _answer(
        scope,
        code=error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        where=error.where,
        headers=headers,
    )


def too_many_faults(count: int) -> InvalidInputError:
    """What is said of a body with over `FAULTS_MAX` of them."""
    return InvalidInputError(f"{count} places in the body do not fit; /openapi.json says what does")


def _of_validation_error(scope: Scope, error: RequestValidationError) -> Response:
    faults = error.errors()
    if len(faults) > FAULTS_MAX:
        return _of_own_error(scope, too_many_faults(len(faults)))
    found = [_field_problem(item) for item in faults[:_SHOWN_ERRORS]]
    first = found[0]
    return _answer(
        scope,
        code=InvalidInputError.code,
        title=InvalidInputError.title,
        status=InvalidInputError.status,
        detail=first.detail,
        where=first.where,
        errors=found if len(found) > 1 else None,
    )


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    detail = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if isinstance(given, str | int | float) and error["type"] != "missing":
        shown = repr(given)
        detail += f", not {shown if len(shown) <= _SHOWN_INPUT else shown[:_SHOWN_INPUT] + '...'}"
    return FieldProblem(where=place(error["loc"]), detail=detail)


def _of_http_error(scope: Scope, error: HTTPException) -> Response:
    title = HTTPStatus(error.status_code).phrase
    detail = str(error.detail)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == HTTPStatus.NOT_FOUND and detail == title:
        detail = f"there is nothing at {scope['path']}; /docs lists what there is"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and error.headers:
        headers["allow"] = allowed = _allowed(scope)
        detail = f"{scope['path']} takes {allowed}, not {scope['method']}"
    return _answer(
        scope,
        code=CODES.get(error.status_code, f"http-{error.status_code}"),
        title=title,
        status=error.status_code,
        detail=detail,
        headers=headers,
    )


def _allowed(scope: Scope) -> str:
    """Every method that one of the routes of this path takes; Starlette names those of the first route alone."""
    routes = (route for route in scope["app"].state.routes if isinstance(route, Route))
    methods = {
        method for route in routes if route.matches(scope)[0] is not Match.NONE for method in route.methods or ()
    }
    return ", ".join(sorted(methods)) or "other methods"


def _answer(
    scope: Scope,
    *,
    code: str,
    title: str,
    status: int,
    detail: str,
    where: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    problem = Problem(
        type=TYPE_PREFIX + code,
        title=title,
        status=status,
        detail=detail,
        instance=scope["path"],
        where=where,
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=errors,
        error=_one_text(detail, where) if scope["path"].startswith(_OIP) else None,
    )
    scope.setdefault("state", {})["problem"] = code
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def _one_text(detail: str, where: str | None) -> str:
    return f"{where}: {detail}" if where else detail
