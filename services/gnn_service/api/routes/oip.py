"""The Open Inference Protocol V2: health, metadata and inference with tensors, as JSON or binary."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from gnn_service.api.deps import SettingsDep, TensorsDep, answer_of
from gnn_service.api.oip.hot_infer import INFER, INFER_VERSION
from gnn_service.api.oip.service import TensorService
from gnn_service.api.openapi import REQUEST_SCHEMA, problem_responses
from gnn_service.api.schemas.oip import (
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)

router = APIRouter(tags=["open inference protocol"])
_GRACE_S = 1.0  # the engine keeps the deadline; this is for all that is around it
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_PROBLEMS = problem_responses(400, 404, 408, 413, 415, 422, 500, 503, 504)
_LENGTH = {
    "description": "bytes of JSON at the start of the body, where binary tensors follow",
    "schema": {"type": "integer", "minimum": 0},
}
_INFER: dict[str, Any] = {
    "response_model": InferenceResponse,
    "response_model_exclude_none": True,
    "responses": {200: {"content": _BYTES, "headers": {"Inference-Header-Content-Length": _LENGTH}}, **_PROBLEMS},
    "openapi_extra": {
        "parameters": [{"name": "Inference-Header-Content-Length", "in": "header", "required": False, **_LENGTH}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": REQUEST_SCHEMA}}, **_BYTES},
        },
    },
}


Name = Annotated[str, Path(description="name of the model")]
Version = Annotated[str, Path(description="its version; only the one that is served now")]


@router.get("/v2", response_model=ServerMetadata)
async def server_metadata(tensors: TensorsDep) -> Response:
    """Name, version and extensions of the server."""
    return _json(tensors.server())


@router.get("/v2/health/live", response_model=ServerLive)
async def server_live() -> Response:
    """Whether the process answers at all."""
    return _json(ServerLive().model_dump())


@router.get("/v2/health/ready", response_model=ServerReady, responses=problem_responses(500, 503, 504))
async def server_ready(tensors: TensorsDep) -> Response:
    """Whether every model would answer: a canary has just gone through each engine and come back right."""
    await tensors.check_ready()
    return _json(ServerReady().model_dump())


@router.get("/v2/models/{name}", response_model=ModelMetadata, responses=problem_responses(404, 500))
async def model_metadata(name: Name, tensors: TensorsDep) -> Response:
    """What a model takes and gives."""
    return _json(tensors.metadata(name))


@router.get("/v2/models/{name}/versions/{version}", response_model=ModelMetadata, responses=problem_responses(404, 500))
async def model_version_metadata(name: Name, version: Version, tensors: TensorsDep) -> Response:
    """What this version of a model takes and gives."""
    return _json(tensors.metadata(name, version))


@router.get("/v2/models/{name}/ready", response_model=ModelReady, responses=problem_responses(404, 500, 503, 504))
async def model_ready(name: Name, tensors: TensorsDep) -> Response:
    """Whether a model would answer: a canary has just gone through its engine and come back right."""
    await tensors.check_ready(name)
    return _json(ModelReady(name=name).model_dump())


@router.get(
    "/v2/models/{name}/versions/{version}/ready",
    response_model=ModelReady,
    responses=problem_responses(404, 500, 503, 504),
)
async def model_version_ready(name: Name, version: Version, tensors: TensorsDep) -> Response:
    """Whether this version of a model would answer."""
    await tensors.check_ready(name, version)
    return _json(ModelReady(name=name).model_dump())


@router.post(INFER, **_INFER)
async def infer(name: Name, request: Request, tensors: TensorsDep, settings: SettingsDep) -> Response:
    """Run a model on tensors, [batch, ...] each.

    A request of several items is answered as a whole or not at all.
    """
    return await _infer(name, None, request, tensors, settings)


@router.post(INFER_VERSION, **_INFER)
async def infer_version(
    name: Name, version: Version, request: Request, tensors: TensorsDep, settings: SettingsDep
) -> Response:
    """Run this version of a model on tensors, [batch, ...] each."""
    return await _infer(name, version, request, tensors, settings)


async def _infer(
    name: str, version: str | None, request: Request, tensors: TensorService, settings: SettingsDep
) -> Response:
    body = await request.body()
    headers = dict(request.scope["headers"])
    work = tensors.infer(name, version, body, headers)
    answer = await answer_of(request, work, settings.inference.request_timeout_s, grace_s=_GRACE_S)
    own = {key.decode(): value.decode() for key, value in answer.headers}
    return Response(answer.body, headers=own, media_type=answer.media_type.decode())


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
