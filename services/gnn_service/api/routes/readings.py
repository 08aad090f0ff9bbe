"""Readings of stored machines: in, out again as they are, and out in buckets for plots."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

from gnn_service.api import plain
from gnn_service.api.deps import StorageDep, answer_of
from gnn_service.api.intake import ARROW, CSV, PARQUET, Taken, kind_of, take
from gnn_service.api.openapi import READINGS_SCHEMA, problem_responses
from gnn_service.api.routes.machines import DryRun, MachineId, json_answer
from gnn_service.api.schemas.readings import FrameCounts, HistoryAnswer, ReadingsAnswer, ReadingsTaken
from gnn_service.api.storage import Storage
from gnn_service.core.errors import InvalidInputError
from gnn_service.db.history import SENSORS_MAX
from gnn_service.db.machines import StoredMachine, unknown_machine
from gnn_service.db.repository import instant, microseconds
from gnn_service.domain.recording import Readings
from gnn_service.monitoring.ingest import Kept, Receipt
from gnn_service.monitoring.pieces import Doing, Piece

T = TypeVar("T")
router = APIRouter(prefix="/v1", tags=["readings"])
AN_HOUR: Final = timedelta(hours=1)
EVERY_MAX_S: Final = 366 * 86_400
_EVERY: Final = re.compile(r"(\d{1,9})(s|m|h|d)?")
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_GRACE_S: Final = 5.0
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_TEXT: Final = {CSV: {"schema": {"type": "string"}}}


@router.post(
    "/machines/{id}/readings",
    response_model=ReadingsTaken,
    responses={
        200: {"description": "They are in the database; or nothing was to be stored."},
        202: {"description": "They are on disk, and go to the database when it is back.", "model": ReadingsTaken},
        **problem_responses(400, 404, 408, 413, 415, 422, 500, 503, 504),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": READINGS_SCHEMA}},
                **_TEXT,
                PARQUET: _BYTES,
                ARROW: _BYTES,
            },
        }
    },
)
async def post_readings(
    machine_id: MachineId,
    request: Request,
    storage: StorageDep,
    dry_run: DryRun = False,
) -> Response:
    """Keep readings: JSON, or a table (CSV, Parquet, Arrow stream) with `ts` and a column a sensor.

    Repeating a request changes nothing; late and partial readings complete what is there. What no sensor of that range
    can have measured, or lies in the future, is refused by itself, with the reason. Once answered, they are on a disk.
    """
    kind = kind_of(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
    machine = await storage.machines.get(machine_id)
    body = await request.body()
    limit_s = storage.settings.monitoring.ingest.timeout_s

    async def work() -> tuple[Taken, Receipt | None]:
        with storage.door.place():
            taken = await on_thread(storage, lambda: take(body, kind, machine.machine, time.time()))
        if dry_run:
            return taken, None
        if not taken.readings:
            first = taken.refused[0]
            raise InvalidInputError(f"none of the readings can be kept: {first.reason}", where=first.sensor)
        return taken, await storage.pipeline.ingest.submit(_pieces(machine, taken))

    taken, receipt = await answer_of(request, work(), limit_s, grace_s=_GRACE_S)
    if receipt is not None and receipt.counts.refused:
        storage.machines.forget(machine_id)  # it was deleted, or put anew, by another process
        if not receipt.counts.stored + receipt.counts.merged + receipt.counts.unchanged:
            raise unknown_machine(machine_id)
    spooled = receipt is not None and receipt.kept is Kept.SPOOLED
    return json_answer(_answer(machine_id, taken, receipt), status=202 if spooled else 200)


@router.get(
    "/machines/{id}/readings",
    response_model=ReadingsAnswer | HistoryAnswer,
    responses={200: {"content": _TEXT}, **problem_responses(404, 406, 422, 500, 503, 504)},
)
async def get_readings(
    machine_id: MachineId,
    request: Request,
    storage: StorageDep,
    from_: Annotated[AwareDatetime | None, Query(alias="from", description="begin; an hour before the end")] = None,
    to: Annotated[AwareDatetime | None, Query(description="end, not included; now")] = None,
    sensors: Annotated[str | None, Query(max_length=8192, description="ids with commas between; all")] = None,
    every: Annotated[
        str | None, Query(max_length=16, description="buckets of this length, such as 60, 10s, 5m, 1h, 1d or auto")
    ] = None,
) -> Response:
    """Readings in [from, to), rising in time, as JSON or, by `Accept: text/csv`, as CSV.

    With `every` they come in buckets, each with count, minimum, mean and maximum: years of them in under a second.
    """
    as_csv = _wants_csv(request.headers.get("accept", "*/*"))
    machine = await storage.store.machines.get(machine_id)
    end = to or datetime.now(UTC)
    begin_us, end_us = microseconds(from_ or end - AN_HOUR), microseconds(end)
    if end_us <= begin_us:
        raise InvalidInputError("the end must be after the begin", where="query.to")
    wanted = _wanted(machine, sensors)
    if every is not None:
        if sensors is None and len(wanted) > SENSORS_MAX:
            raise InvalidInputError(f"name the sensors, {SENSORS_MAX} at most", where="query.sensors")
        found = await storage.store.history.history(
            machine, wanted, begin_us, end_us, every_us=None if every == "auto" else _every_us(every)
        )
        content = await on_thread(storage, lambda: plain.history(machine.machine, found, as_csv=as_csv))
        return Response(content, media_type=CSV if as_csv else "application/json")
    parts = _chosen(storage.store.readings.read(machine, begin_us, end_us), wanted)
    first = await anext(parts, None)  # what is wrong with the database is answered as a problem, not within an answer
    pieces = (
        _pieces_csv(storage, first, parts, wanted) if as_csv else _pieces_json(storage, machine, first, parts, wanted)
    )
    return StreamingResponse(pieces, media_type=CSV if as_csv else "application/json")


async def on_thread(storage: Storage, work: Callable[[], T]) -> T:
    """Work of the intake, on threads of its own: it must not keep diagnoses waiting."""
    return await asyncio.get_running_loop().run_in_executor(storage.threads, work)


def _pieces(machine: StoredMachine, taken: Taken) -> list[Piece]:
    pieces: list[Piece] = list(machine.blocks(taken.times, taken.sensors, taken.values))
    if taken.operation is not None:
        pieces.append(Doing(machine.machine_id, taken.operation))
    return pieces


def _answer(machine_id: str, taken: Taken, receipt: Receipt | None) -> ReadingsTaken:
    counts = None if receipt is None or receipt.kept is Kept.SPOOLED else receipt.counts
    there = len(taken.times) > 0 and taken.readings > 0
    return ReadingsTaken(
        machine=machine_id,
        kept="nothing" if receipt is None else receipt.kept.value,
        dry_run=receipt is None,
        readings=taken.readings,
        frames=None if counts is None else FrameCounts.model_validate(counts, from_attributes=True),
        start=instant(taken.times[0]) if there else None,
        end=instant(taken.times[-1]) if there else None,
        sensors=list(taken.sent),
        refused=list(taken.refused),
    )


def _wants_csv(accept: str) -> bool:
    """Whether CSV is to be answered, else JSON; the first of the two that is named."""
    for part in accept.lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind in {CSV, "text/*"}:
            return True
        if kind in {"", "*/*", "application/json", "application/*"}:
            return False
    raise HTTPException(406, f"readings come as application/json or {CSV}, not as {accept[:64]}")


def _wanted(machine: StoredMachine, sensors: str | None) -> tuple[str, ...]:
    if sensors is None:
        return machine.machine.sensor_ids
    wanted = tuple(dict.fromkeys(name.strip() for name in sensors.split(",")))
    for name in wanted:
        if name not in machine.sensor_ids:
            raise InvalidInputError(f"machine {machine.machine.id} has no sensor {name[:64]!r}", where="query.sensors")
    return wanted


def _every_us(every: str) -> int:
    found = _EVERY.fullmatch(every)
    if found is None:
        raise InvalidInputError("is no length such as 60, 10s, 5m, 1h, 1d or auto", where="query.every")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= EVERY_MAX_S:
        raise InvalidInputError(f"must be from a second to {EVERY_MAX_S // 86_400} days", where="query.every")
    return seconds * 1_000_000


async def _chosen(parts: AsyncIterator[Readings], wanted: tuple[str, ...]) -> AsyncIterator[Readings]:
    """Parts with the wanted sensors alone, without ticks at which they show nothing."""
    async for part in parts:
        chosen = plain.of_sensors(part, wanted)
        if len(chosen.times):
            yield chosen


async def _pieces_csv(
    storage: Storage, first: Readings | None, parts: AsyncIterator[Readings], wanted: tuple[str, ...]
) -> AsyncIterator[bytes]:
    yield plain.csv_head(wanted)
    async for part in _all(first, parts):
        yield await on_thread(storage, lambda part=part: plain.csv_part(part))  # type: ignore[misc]


async def _pieces_json(
    storage: Storage,
    machine: StoredMachine,
    first: Readings | None,
    parts: AsyncIterator[Readings],
    wanted: tuple[str, ...],
) -> AsyncIterator[bytes]:
    yield plain.json_head(machine.machine, wanted)
    comma = b""
    async for part in _all(first, parts):
        yield comma + await on_thread(storage, lambda part=part: plain.json_part(part))  # type: ignore[misc]
        comma = b","
    yield b"]}"


async def _all(first: Readings | None, parts: AsyncIterator[Readings]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
    async for part in parts:
        yield part
