"""Machines that are kept: descriptions, and the baselines of healthy running that go with them."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel

from gnn_service.api.deps import DiagnoserDep, JsonRoute, MachinesDep, StorageDep, WatchingDep
from gnn_service.api.openapi import problem_responses
from gnn_service.api.schemas.machines import (
    BaselineAnswer,
    MachineAnswer,
    MachinePage,
    MachinePut,
    MachineSummary,
    SensorMapping,
)
from gnn_service.api.storage import Storage
from gnn_service.core.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnknownMachineError,
)
from gnn_service.db.diagnoses import Condition
from gnn_service.db.machines import Outcome, unknown_machine
from gnn_service.db.state import StoredBaseline
from gnn_service.domain.check import Finding, check_machine, require_valid
from gnn_service.domain.machine import IDENTIFIER, Machine
from gnn_service.model.baseline import Baseline

router = APIRouter(prefix="/v1", tags=["machines"], route_class=JsonRoute)
PAGE_MAX: Final = 500
_READ_PROBLEMS = problem_responses(404, 500, 503, 504)
_WRITE_PROBLEMS = problem_responses(400, 404, 408, 409, 413, 415, 422, 500, 503, 504)
_IDENTIFIER: Final = re.compile(IDENTIFIER)
_ETAG: Final = {"ETag": {"description": "fingerprint of the description", "schema": {"type": "string"}}}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "`ETag` that the stored description must have; `*`: there must be one",
    "schema": {"type": "string"},
}


def _possible(machine_id: str) -> str:
    """The id in a path. UnknownMachineError for one that no machine can have."""
    if not _IDENTIFIER.fullmatch(machine_id):
        shown = repr(machine_id[:64])
        raise UnknownMachineError(f"{shown} is no id of a machine: a letter, then letters, digits, _, . and -")
    return machine_id


MachineId = Annotated[str, Path(alias="id", description="id of a stored machine"), AfterValidator(_possible)]
DryRun = Annotated[bool, Query(description="check everything, store nothing")]


@router.get("/machines", response_model=MachinePage, responses=problem_responses(422, 500, 503, 504))
async def list_machines(
    storage: StorageDep,
    after: Annotated[str, Query(max_length=64, description="id after which to begin")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="machines in the answer, at most")] = 100,
) -> Response:
    """The stored machines in the order of their ids, each with its newest reading and the newest word on its health."""
    if after and not _IDENTIFIER.fullmatch(after):
        raise InvalidInputError("is no id of a machine", where="query.after")
    found = await storage.store.machines.lines(after=after, limit=limit + 1)
    shown = found[:limit]
    numbers = [one.machine_id for one in shown]
    said: dict[int, Condition] = {}
    newest: dict[int, int] = {}
    if numbers:
        said, newest = await asyncio.gather(
            storage.store.diagnoses.conditions(numbers), storage.store.readings.newest(numbers)
        )
    answer = MachinePage(
        machines=[MachineSummary.of(one, said.get(one.machine_id), newest.get(one.machine_id)) for one in shown],
        next=shown[-1].external_id if len(found) > limit else None,
    )
    return json_answer(answer)


@router.get(
    "/machines/{id}",
    response_model=MachineAnswer,
    responses={200: {"headers": _ETAG}, **_READ_PROBLEMS},
)
async def get_machine(machine_id: MachineId, storage: StorageDep) -> Response:
    """The description of a machine as it is stored."""
    stored = await storage.store.machines.get(machine_id)
    storage.machines.remember(stored)
    answer = MachineAnswer(
        revision=stored.revision,
        fingerprint=stored.machine.fingerprint,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        machine=stored.machine,
    )
    return json_answer(answer, headers={"etag": etag(stored.machine)})


@router.put(
    "/machines/{id}",
    response_model=MachinePut,
    responses={
        200: {"description": "It was there; changed or not, or nothing was to be stored.", "headers": _ETAG},
        201: {"description": "It is new.", "model": MachinePut, "headers": _ETAG},
        **_WRITE_PROBLEMS,
    },
    openapi_extra={"parameters": [_IF_MATCH]},
)
async def put_machine(
    machine_id: MachineId,
    body: Machine,
    request: Request,
    storage: StorageDep,
    machines: MachinesDep,
    dry_run: DryRun = False,
) -> Response:
    """Store a description under its id: a new machine, a new revision, or nothing new.

    Readings of sensors that stay are kept. The same description again changes nothing.
    """
    findings = await asyncio.to_thread(_checked, machine_id, body)
    expected = await _expected(storage, machine_id, request.headers.get("if-match"))
    if dry_run:
        outcome, revision = await _would(storage, body, expected), None
    else:
        put = await storage.store.machines.put(body, expected=expected)
        storage.machines.remember(put.stored)
        machines.changed(machine_id)
        outcome, revision = put.outcome, put.stored.revision
    answer = MachinePut(
        machine=body.id,
        outcome=None if outcome is None else outcome.value,
        dry_run=dry_run,
        revision=revision,
        fingerprint=body.fingerprint,
        findings=findings,
        sensors=[
            SensorMapping(sensor=s.id, component=s.component, quantity=s.quantity, unit=s.unit, rate_hz=s.rate_hz)
            for s in body.sensors
        ],
    )
    created = outcome is Outcome.CREATED and not dry_run
    headers = {"etag": etag(body)} | ({"location": f"/v1/machines/{machine_id}"} if created else {})
    return json_answer(answer, status=201 if created else 200, headers=headers)


@router.delete("/machines/{id}", status_code=204, response_class=Response, responses=_READ_PROBLEMS)
async def delete_machine(machine_id: MachineId, storage: StorageDep, machines: MachinesDep) -> Response:
    """Take a machine away, with all its readings and diagnoses.

    Its id is free at once; what was kept of it is removed in the background.
    """
    known = await storage.store.machines.get(machine_id)
    if not await storage.store.machines.delete(machine_id):
        raise unknown_machine(machine_id)
    storage.machines.forget(machine_id)
    storage.pipeline.newest.forget(known.machine_id)
    machines.changed(machine_id)
    storage.purge.nudge()
    return Response(status_code=204)


@router.get("/machines/{id}/baseline", response_model=BaselineAnswer, responses=_READ_PROBLEMS)
async def get_baseline(machine_id: MachineId, storage: StorageDep, diagnoser: DiagnoserDep) -> Response:
    """The baseline that the machine is diagnosed with by the present model bundle."""
    stored = await storage.machines.get(machine_id)
    found = await storage.store.state.baseline(stored.machine_id, diagnoser.bundle.version)
    if found is None:
        raise NotFoundError(
            f"machine {machine_id} has no baseline for bundle {diagnoser.bundle.version};"
            " learn one with POST /v1/commission, and keep it with PUT here"
        )
    return json_answer(_baseline_answer(machine_id, found))


@router.put("/machines/{id}/baseline", response_model=BaselineAnswer, responses=_WRITE_PROBLEMS)
async def put_baseline(
    machine_id: MachineId, body: Baseline, storage: StorageDep, diagnoser: DiagnoserDep, watching: WatchingDep
) -> Response:
    """Keep what `POST /v1/commission` answered as `baseline`: the machine is diagnosed with it from now on."""
    stored = await storage.machines.get(machine_id)
    await asyncio.to_thread(body.check, stored.machine)
    kept = StoredBaseline(stored.machine_id, diagnoser.bundle.version, datetime.now(UTC), body)
    await storage.store.state.put_baseline(kept)
    watching.forget_baseline(stored.machine_id)
    return json_answer(_baseline_answer(machine_id, kept))


def json_answer(answer: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A model as JSON."""
    return Response(answer.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


def etag(machine: Machine) -> str:
    """The entity tag of a description (RFC 9110)."""
    return f'"{machine.fingerprint}"'


def _checked(machine_id: str, machine: Machine) -> list[Finding]:
    """What looks wrong. On a thread: reading new units takes milliseconds each."""
    if machine.id != machine_id:
        raise InvalidInputError(f"the description is of {machine.id}, the path is of {machine_id}", where="id")
    require_valid(machine)
    return [finding for finding in check_machine(machine) if finding.level != "error"]


async def _expected(storage: Storage, machine_id: str, if_match: str | None) -> str | None:
    """The fingerprint that `If-Match` asks for; ConflictError where it asks for any and there is none."""
    if if_match is None:
        return None
    if if_match.strip() == "*":
        try:
            await storage.store.machines.get(machine_id)
        except UnknownMachineError as error:
            raise ConflictError(f"there is no machine {machine_id} yet", where="If-Match") from error
        return None
    return if_match.strip().removeprefix("W/").strip('"')


async def _would(storage: Storage, machine: Machine, expected: str | None) -> Outcome | None:
    """What storing it would change; None where the database is away."""
    try:
        there = (await storage.store.machines.get(machine.id)).machine.fingerprint
    except UnknownMachineError:
        there = None
    except UnavailableError:
        return None
    if there == machine.fingerprint:
        return Outcome.UNCHANGED
    if expected is not None and there != expected:
        raise ConflictError(f"machine {machine.id} is not as If-Match says; read it again", where="If-Match")
    return Outcome.CREATED if there is None else Outcome.CHANGED


def _baseline_answer(machine_id: str, found: StoredBaseline) -> BaselineAnswer:
    return BaselineAnswer(machine=machine_id, bundle=found.bundle, fitted_at=found.fitted_at, baseline=found.baseline)
