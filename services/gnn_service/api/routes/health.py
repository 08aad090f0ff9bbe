"""Probes and metrics. Liveness says that the loop turns, readiness asks the engine."""

import time
from dataclasses import asdict

import orjson
from fastapi import APIRouter, Request, Response

from gnn_service import __version__
from gnn_service.api.deps import DiagnoserDep, MetricsDep
from gnn_service.api.openapi import problem_responses
from gnn_service.api.schemas.status import Health, Live, Ready
from gnn_service.api.standing import degraded, standing
from gnn_service.api.storage import Storage
from gnn_service.core.errors import UnavailableError
from gnn_service.observability import metrics as declared

router = APIRouter(tags=["health"])
scraping = APIRouter(tags=["health"])


@router.get("/health/live", response_model=Live)
async def live() -> Response:
    """Whether the process answers at all. A supervisor restarts it when this fails."""
    return Response(Live().model_dump_json(), media_type="application/json")


@router.get("/health/ready", response_model=Ready, responses=problem_responses(500, 503, 504))
async def ready(request: Request, diagnoser: DiagnoserDep) -> Response:
    """Whether a diagnosis would be answered: a canary graph has just gone through the engine and came back right.

    `degraded` while the database is away and readings wait on disk; 503 too when there is no more room for them.
    """
    readiness = await diagnoser.engine.check_ready()
    if not readiness.ready:
        raise UnavailableError(f"not ready: {readiness.reason}", retry_after_s=1)
    answer = Ready(status="degraded" if degraded(request.state.storage) else "ready")
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/health", response_model=Health)
async def health(request: Request, diagnoser: DiagnoserDep) -> Response:
    """Details for people; always 200. Probes use `/health/live` and `/health/ready`."""
    readiness = await diagnoser.engine.check_ready()
    choice = diagnoser.runtime_choice
    storage: Storage | None = request.state.storage
    status, reason = ("ready", "") if readiness.ready else ("not_ready", readiness.reason or "")
    if readiness.ready and storage is not None and storage.away:
        full = storage.spool_full
        status = "degraded" if full is None else "not_ready"
        reason = "the database is away" + (f" and {full}" if full else "")
    answer = Health(
        status=status,
        reason=reason,
        version=__version__,
        bundle=diagnoser.bundle.version,
        uptime_s=round(time.monotonic() - request.state.started, 3),
        engine=asdict(diagnoser.engine.health()),
        runtime=None if choice is None else asdict(choice),
        storage=None if storage is None else standing(storage),
    )
    return Response(orjson.dumps(answer.model_dump()), media_type="application/json")


@scraping.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"}},
)
async def metrics(instruments: MetricsDep) -> Response:
    """Prometheus metrics of the service, its engine and its process."""
    return Response(instruments.exposition(), media_type=declared.CONTENT_TYPE)
