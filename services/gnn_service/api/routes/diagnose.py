"""The stateless diagnosis: a window in, a diagnosis out; healthy windows in, a baseline out."""

import asyncio

from fastapi import APIRouter, Request, Response

from gnn_service.api.deps import (
    DiagnoserDep,
    JsonRoute,
    MetricsDep,
    SettingsDep,
    UnitsDep,
    find_machine,
    while_connected,
)
from gnn_service.api.openapi import problem_responses
from gnn_service.api.schemas.diagnose import CommissionBody, Commissioning, DiagnoseBody
from gnn_service.api.windows import to_window
from gnn_service.core.errors import DeadlineExceededError, InvalidInputError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.observability import tracing

router = APIRouter(prefix="/v1", tags=["diagnosis"], route_class=JsonRoute)
_PROBLEMS = problem_responses(400, 404, 408, 413, 415, 422, 500, 503, 504)


@router.post("/diagnose", response_model=Diagnosis, responses=_PROBLEMS)
async def diagnose(
    body: DiagnoseBody,
    request: Request,
    diagnoser: DiagnoserDep,
    settings: SettingsDep,
    metrics: MetricsDep,
    units: UnitsDep,
) -> Response:
    """Diagnose one window of one machine.

    Nothing is stored. A window that is too short or too sparse is answered with the state `unknown` and the reason.
    """
    if body.window.units or isinstance(body.machine, Machine):
        await units.ready()
    machine = find_machine(diagnoser, body.machine)
    window = to_window(body.window, machine, "window")
    if body.baseline is not None:
        body.baseline.check(machine)
    timeout_s = settings.inference.request_timeout_s
    with tracing.span(tracing.SpanName.DIAGNOSE, attributes={"gnn.machine": machine.id}) as span:
        diagnosis = await while_connected(
            request, diagnoser.diagnose(machine, window, body.baseline, timeout_s=timeout_s)
        )
        span.set_attribute("gnn.state", diagnosis.state)
    metrics.diagnoses.labels(diagnosis.state).inc()
    return Response(diagnosis.model_dump_json(), media_type="application/json")


@router.post("/commission", response_model=Commissioning, responses=_PROBLEMS)
async def commission(
    body: CommissionBody,
    request: Request,
    diagnoser: DiagnoserDep,
    settings: SettingsDep,
    metrics: MetricsDep,
    units: UnitsDep,
) -> Response:
    """Learn what healthy running of one machine looks like, from windows that are known to be healthy.

    Nothing is stored: send the baseline along with each window to diagnose.
    """
    most = settings.api.windows_max
    if len(body.windows) > most:
        raise InvalidInputError(f"{len(body.windows)} windows are too many; send at most {most}", where="windows")
    if isinstance(body.machine, Machine) or any(window.units for window in body.windows):
        await units.ready()
    machine = find_machine(diagnoser, body.machine)
    windows = [to_window(window, machine, f"windows[{index}]") for index, window in enumerate(body.windows)]
    timeout_s = settings.inference.request_timeout_s
    with tracing.span(tracing.SpanName.COMMISSION, attributes={"gnn.machine": machine.id, "gnn.windows": len(windows)}):
        try:
            async with asyncio.timeout(timeout_s):
                baseline = await while_connected(request, diagnoser.commission(machine, windows))
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"commissioning took longer than {timeout_s:g} s; send fewer windows"
            ) from error
    metrics.commissions.inc()
    answer = Commissioning(machine=machine.id, baseline=baseline)
    return Response(answer.model_dump_json(), media_type="application/json")
