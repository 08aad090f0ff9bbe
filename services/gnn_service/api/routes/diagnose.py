"""The stateless diagnosis: a window in, a diagnosis out; healthy windows in, a baseline out."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager

from fastapi import APIRouter, Request, Response

from gnn_service.api.bodies import validate
from gnn_service.api.deps import (
    DiagnoserDep,
    Diagnosing,
    JsonRoute,
    LearningDep,
    MachinesDep,
    MetricsDep,
    SettingsDep,
    answer_of,
    check_json_headers,
    find_machine,
    parse_json,
    too_late,
)
from gnn_service.api.door import Door
from gnn_service.api.known import KnownMachines
from gnn_service.api.openapi import COMMISSION_SCHEMA, problem_responses
from gnn_service.api.schemas.diagnose import CommissionBody, Commissioning, DiagnoseBody
from gnn_service.api.schemas.window import WindowBody
from gnn_service.api.windows import check_units, to_window
from gnn_service.core.errors import DeadlineExceededError, InvalidInputError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.observability import tracing

router = APIRouter(prefix="/v1", tags=["diagnosis"])
_PROBLEMS = problem_responses(400, 404, 408, 413, 415, 422, 500, 503, 504)
GRACE_S = 1.0
"""Seconds beyond the engine's deadline for all that is around the engine."""


class BoundedRoute(JsonRoute):
    """A route of which the application's door lets only so many requests in."""

    def admit(self, request: Request) -> AbstractContextManager[None]:
        """A place behind the door."""
        door: Door = request.state.door
        return door.place()


bounded = APIRouter(prefix="/v1", tags=["diagnosis"], route_class=BoundedRoute)


@bounded.post("/diagnose", response_model=Diagnosis, responses=_PROBLEMS)
async def diagnose(
    body: DiagnoseBody,
    request: Request,
    diagnoser: DiagnoserDep,
    machines: MachinesDep,
    settings: SettingsDep,
    metrics: MetricsDep,
) -> Response:
    """Diagnose one window of one machine.

    Nothing is stored. A window that is too short or too sparse is answered with the state `unknown` and the reason.
    """
    timeout_s, arrived = settings.inference.request_timeout_s, request.state.arrived
    with tracing.span(tracing.SpanName.DIAGNOSE, attributes={"gnn.machine": _id_of(body.machine)}) as span:
        # the engine keeps the deadline; this one is behind it, for all that is around the engine
        work = diagnose_window(diagnoser, machines, body, timeout_s, arrived)
        diagnosis = await answer_of(request, work, timeout_s, since=arrived, grace_s=GRACE_S)
        span.set_attribute("gnn.state", diagnosis.state)
    metrics.diagnoses.labels(diagnosis.state).inc()
    return Response(diagnosis.model_dump_json(), media_type="application/json")


@router.post(
    "/commission",
    response_model=Commissioning,
    responses=_PROBLEMS,
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": COMMISSION_SCHEMA}}}}
    },
)
async def commission(
    request: Request,
    diagnoser: DiagnoserDep,
    machines: MachinesDep,
    settings: SettingsDep,
    learning: LearningDep,
    metrics: MetricsDep,
) -> Response:
    """Learn what healthy running of one machine looks like, from windows that are known to be healthy.

    Nothing is stored: send the baseline along with each window to diagnose.
    """
    learning.door.check()  # before megabytes are received for nothing
    given = request.headers
    check_json_headers(given.get("content-type", ""), given.get("content-encoding", "identity"))
    sent = await request.body()
    run, threads = asyncio.get_running_loop().run_in_executor, learning.threads

    async def work() -> Commissioning:
        with learning.door.place(), tracing.span(tracing.SpanName.COMMISSION) as span:
            body = await run(threads, _commission_body, sent, settings.api.windows_max)
            placed = {f"windows[{index}]": window for index, window in enumerate(body.windows)}
            span.set_attributes({"gnn.machine": _id_of(body.machine), "gnn.windows": len(placed)})
            known = await machines.names(body.machine)
            machine, windows = await run(threads, _read, known, body.machine, placed)
            baseline = await diagnoser.commission(machine, windows, threads=threads)
            return Commissioning(machine=_id_of(body.machine), baseline=baseline)

    answer = await answer_of(request, work(), settings.inference.request_timeout_s)
    metrics.commissions.inc()
    return Response(answer.model_dump_json(), media_type="application/json")


def _commission_body(sent: bytes, most: int) -> CommissionBody:
    parsed = parse_json(sent)
    windows = parsed.get("windows") if isinstance(parsed, dict) else None
    if isinstance(windows, list) and len(windows) > most:  # before each of them is looked at
        raise InvalidInputError(f"{len(windows)} windows are too many; send at most {most}", where="windows")
    return validate(CommissionBody, parsed)


async def diagnose_window(
    diagnoser: Diagnosing, machines: KnownMachines, body: DiagnoseBody, timeout_s: float, arrived: float
) -> Diagnosis:
    """The diagnosis that a body asks for; raises what makes it impossible.

    ``timeout_s`` is counted from ``arrived``, an instant of the event loop's clock.
    """
    known = await machines.names(body.machine)
    machine, (window,) = await asyncio.to_thread(_read, known, body.machine, {"window": body.window})
    left_s = arrived + timeout_s - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise too_late(timeout_s)
    try:
        return await diagnoser.diagnose(machine, window, body.baseline, timeout_s=left_s)
    except DeadlineExceededError as error:
        raise too_late(timeout_s) from error  # in the caller's seconds, not in those that were left


def _id_of(given: str | Machine) -> str:
    return given.id if isinstance(given, Machine) else given


def _read(
    known: Mapping[str, Machine], given: str | Machine, windows: Mapping[str, WindowBody]
) -> tuple[Machine, list[Window]]:
    """The machine of a request and its windows by their place; on a thread, as new units take milliseconds each."""
    check_units(windows)
    machine = find_machine(known, given)
    return machine, [to_window(window, machine, where) for where, window in windows.items()]
