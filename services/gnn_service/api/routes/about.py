"""What this service knows and which one it is."""

import time
from functools import cache

from fastapi import APIRouter, Request, Response

from gnn_service import __version__
from gnn_service.api.deps import DiagnoserDep, SettingsDep
from gnn_service.api.openapi import problem_responses
from gnn_service.api.schemas.status import Status
from gnn_service.api.standing import standing
from gnn_service.domain.catalogue import Catalogue
from gnn_service.domain.catalogue import catalogue as read_catalogue

router = APIRouter(prefix="/v1", tags=["about"])


@router.get("/catalogue", response_model=Catalogue, responses=problem_responses(500))
async def catalogue() -> Response:
    """Component types, connection types, quantities, failure modes and virtual sensors of this version."""
    return Response(_catalogue(), media_type="application/json")


@router.get("/status", response_model=Status, responses=problem_responses(500))
async def status(request: Request, diagnoser: DiagnoserDep, settings: SettingsDep) -> Response:
    """Version, model bundle and the machines that can be named by their id."""
    engine = diagnoser.engine.health()
    answer = Status(
        version=__version__,
        uptime_s=round(time.monotonic() - request.state.started, 3),
        bundle=diagnoser.bundle.version,
        previous_bundle=engine.previous,
        shadow_bundle=engine.shadow,
        machines=list(diagnoser.machines()),
        storage=None if request.state.storage is None else standing(request.state.storage),
        companion_url=settings.api.companion_url,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


@cache
def _catalogue() -> bytes:
    return read_catalogue().model_dump_json().encode()
