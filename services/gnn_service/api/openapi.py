"""What makes the OpenAPI 3.1 document complete: errors as problem details, stable operation ids."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from gnn_service.api.schemas.diagnose import CommissionBody
from gnn_service.api.schemas.oip import InferenceRequest
from gnn_service.api.schemas.problem import MEDIA_TYPE, Problem
from gnn_service.api.schemas.readings import ReadingsBody

_MEANINGS = {
    400: "The body is no JSON.",
    404: "There is no such machine, model or thing.",
    406: "What `Accept` asks for is not made here.",
    408: "The body did not arrive in time.",
    409: "It contradicts what is stored; nothing was changed.",
    413: "The body is too large.",
    415: "The body is of a type that is not read here.",
    422: "The input cannot be used; `where` names the place.",
    500: "The service failed; its log has the request id.",
    503: "The service cannot answer now; `Retry-After` says when to ask again.",
    504: "The deadline passed before the answer was there.",
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
_REQUEST_ID = {"X-Request-Id": {"description": "names the request in logs and traces", "schema": {"type": "string"}}}
REQUEST_SCHEMA = "#/components/schemas/InferenceRequest"
READINGS_SCHEMA = "#/components/schemas/ReadingsBody"
COMMISSION_SCHEMA = "#/components/schemas/CommissionBody"
"""Of bodies that FastAPI does not read itself."""
_UNREAD = (InferenceRequest, ReadingsBody, CommissionBody)
_FASTAPI_422 = "Validation Error"
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer these errors."""
    return {
        status: {
            "model": Problem,
            "description": _MEANINGS[status],
            "headers": _RETRY_AFTER if status == 503 else {},
        }
        for status in statuses
    }


def operation_id(route: APIRoute) -> str:
    """The route's function name: generated clients name their methods by it."""
    return route.name


def install(app: FastAPI) -> None:
    """Serve the completed document in place of FastAPI's own."""

    def completed() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    summary=app.summary,
                    description=app.description,
                    license_info=app.license_info,
                    tags=app.openapi_tags,
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = completed  # type: ignore[method-assign]  # the documented way to extend it


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    for kind in _UNREAD:
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = {**schema.pop("$defs", {}), kind.__name__: schema}
        document["components"]["schemas"] = parts | document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            if operation["responses"].get("422", {}).get("description") == _FASTAPI_422:
                del operation["responses"]["422"]  # it has parameters in its path alone, and any text will do there
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == _PROBLEM_REF:
                    content[MEDIA_TYPE] = content.pop("application/json")
                response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document
