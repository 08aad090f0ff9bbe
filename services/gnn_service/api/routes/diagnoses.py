"""Diagnoses of stored machines: of the newest window, now, and those that were given."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from gnn_service.api.deps import MetricsDep, SettingsDep, StorageDep, WatchingDep, answer_of
from gnn_service.api.openapi import problem_responses
from gnn_service.api.routes.diagnose import GRACE_S
from gnn_service.api.routes.machines import MachineId, json_answer
from gnn_service.api.schemas.diagnoses import DiagnosisEntry, DiagnosisPage, MachineDiagnosis
from gnn_service.core.errors import InvalidInputError
from gnn_service.db.diagnoses import Given, Origin, Place
from gnn_service.observability import tracing

router = APIRouter(prefix="/v1", tags=["diagnosis"])
PAGE_MAX: Final = 1000
_A_DAY: Final = timedelta(days=1)


@router.post(
    "/machines/{id}/diagnosis", response_model=MachineDiagnosis, responses=problem_responses(404, 500, 503, 504)
)
async def diagnose_machine(
    machine_id: MachineId, request: Request, watching: WatchingDep, settings: SettingsDep, metrics: MetricsDep
) -> Response:
    """Diagnose the newest window of readings of a machine, now, and keep the diagnosis.

    While the database is away this goes on from memory, with `persisted: false`; the diagnosis is kept when it is back.
    """
    timeout_s = settings.inference.request_timeout_s
    with tracing.span(tracing.SpanName.DIAGNOSE, attributes={"gnn.machine": machine_id}) as span:
        work = watching.diagnose(machine_id, timeout_s=timeout_s)
        found = await answer_of(request, work, timeout_s, grace_s=GRACE_S)
        span.set_attribute("gnn.state", found.diagnosis.state)
    metrics.diagnoses.labels(found.diagnosis.state).inc()
    body = found.diagnosis.model_dump_json()
    return Response(f'{body[:-1]},"persisted":{str(found.persisted).lower()}}}', media_type="application/json")


@router.get(
    "/machines/{id}/diagnoses", response_model=DiagnosisPage, responses=problem_responses(404, 422, 500, 503, 504)
)
async def list_diagnoses(
    machine_id: MachineId,
    storage: StorageDep,
    from_: Annotated[AwareDatetime | None, Query(alias="from", description="begin; a day before the end")] = None,
    to: Annotated[AwareDatetime | None, Query(description="end, not included; now")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="diagnoses in the answer, at most")] = 100,
    before: Annotated[str | None, Query(max_length=1024, description="`next` of the page before")] = None,
) -> Response:
    """Diagnoses of windows that end in [from, to), the newest first."""
    end = to or datetime.now(UTC)
    begin = from_ or end - _A_DAY
    if end <= begin:
        raise InvalidInputError("the end must be after the begin", where="query.to")
    key = None if before is None else _key(before)
    stored = await storage.machines.get(machine_id)
    found = await storage.store.diagnoses.page(stored.machine_id, begin, end, limit=limit, before=key)
    answer = DiagnosisPage(
        machine=machine_id,
        diagnoses=[
            DiagnosisEntry(origin=one.origin.value, request_id=one.request_id, diagnosis=one.diagnosis) for one in found
        ],
        next=_cursor(found[-1]) if len(found) == limit else None,
    )
    return json_answer(answer)


def _cursor(last: Given) -> str:
    """Where a page ends; opaque to callers."""
    key = [last.diagnosis.end, last.diagnosis.bundle, last.origin.value, last.request_id]
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def _key(cursor: str) -> Place:
    try:
        time, bundle, origin, request_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        end = datetime.fromisoformat(time)
        if end.tzinfo is None or not (isinstance(bundle, str) and isinstance(request_id, str)):
            raise ValueError(cursor)
        return end, bundle, Origin(origin).value, request_id
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidInputError("is no `next` of a page", where="query.before") from error
