"""Diagnoses as they were given, whole, with the columns that are asked for beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frame_writing import Stored
from gnn_service.db.repository import Repository
from gnn_service.domain.diagnosis import Diagnosis, State

DIAGNOSES_MAX: Final = 1000
"""Diagnoses in one write or one page, at most."""


class Origin(StrEnum):
    """Who asked for a diagnosis: the stream of readings itself, a caller, or a computation of the past."""

    STREAM = "stream"
    REQUEST = "request"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Given:
    """A diagnosis of a machine. Its natural key: machine, end of the window, bundle, origin and request."""

    machine_id: int
    diagnosis: Diagnosis
    origin: Origin = Origin.STREAM
    request_id: str = ""

    @property
    def key(self) -> tuple[int, datetime, str, str, str]:
        """What makes two of them the same."""
        return (self.machine_id, self.diagnosis.end, self.diagnosis.bundle, self.origin.value, self.request_id)


Place = tuple[datetime, str, str, str]
"""Where a diagnosis stands among a machine's: end of the window, bundle, origin, request."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The newest word on a machine."""

    at: datetime
    state: State
    health: float | None


class DiagnosisRepository(Repository):
    """Diagnoses of one tenant's machines."""

    async def store(self, given: Sequence[Given]) -> Stored:
        """Write diagnoses; one that is there already under its key is replaced where it says something else.

        Raises:
            InvalidInputError: more than `DIAGNOSES_MAX`, or a window whose times have no zone.
        """
        if len(given) > DIAGNOSES_MAX:
            raise InvalidInputError(f"{len(given)} diagnoses at once; {DIAGNOSES_MAX} at most", where="diagnoses")
        for one in given:
            if one.diagnosis.end.tzinfo is None or one.diagnosis.start.tzinfo is None:
                raise InvalidInputError("the times of a window need a zone", where="diagnoses")
        if not given:
            return Stored()
        # of two with one key the later counts; in the order of keys, so that no two writers block each other for good
        single = sorted({one.key: one for one in given}.values(), key=lambda one: one.key)
        columns: list[list[Any]] = list(map(list, zip(*map(_columns, single), strict=True)))
        rows = await self._fetch("diagnosis.store", _STORE, self._tenant, *columns)
        stored, merged, known = rows[0]["stored"], rows[0]["merged"], rows[0]["known"]
        again = len(given) - len(single)
        return Stored(stored, merged, known - stored - merged + again, len(single) - known)

    async def newest(self, machine_id: int, *, origin: Origin | None = None) -> Diagnosis | None:
        """The diagnosis of the newest window; None where there is none."""
        row = await self._row("diagnosis.newest", _NEWEST, self._tenant, machine_id, origin)
        return None if row is None else Diagnosis.model_validate_json(row["document"])

    async def page(
        self,
        machine_id: int,
        start: datetime,
        end: datetime,
        *,
        limit: int = 100,
        before: Given | Place | None = None,
        origin: Origin | None = None,
    ) -> tuple[Given, ...]:
        """Diagnoses of windows that end in [start, end), the newest first; those before ``before``, for paging."""
        key: Place = (end, "", "", "")
        if before is not None:
            key = before.key[1:] if isinstance(before, Given) else before
        rows = await self._fetch(
            "diagnosis.page", _PAGE, self._tenant, machine_id, start, end, *key, origin, min(limit, DIAGNOSES_MAX)
        )
        return tuple(_given(machine_id, row) for row in rows)

    async def conditions(self, machine_ids: Sequence[int] | None = None) -> dict[int, Condition]:
        """The newest word on each machine that has one; None asks for all machines."""
        rows = await self._fetch("diagnosis.conditions", _CONDITIONS, self._tenant, machine_ids)
        return {row["machine_id"]: Condition(row["ts"], State(row["state"]), row["health"]) for row in rows}


def _columns(one: Given) -> tuple[Any, ...]:
    said = one.diagnosis
    return (
        one.machine_id,
        said.end,
        said.bundle,
        one.origin.value,
        one.request_id,
        said.start,
        said.health,
        said.anomaly,
        said.state.value,
        said.recalibrate,
        said.model_dump_json(),
    )


def _given(machine_id: int, row: asyncpg.Record) -> Given:
    diagnosis = Diagnosis.model_validate_json(row["document"])
    return Given(machine_id, diagnosis, Origin(row["origin"]), row["request_id"])


_STORE: Final = """
with alive as materialized (
    select machine_id from machine where tenant_id = $1 and machine_id = any($2::int[]) and deleted_at is null),
given as materialized (
    select d.* from unnest($2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                           $8::real[], $9::real[], $10::text[], $11::bool[], $12::text[])
           d(machine_id, ts, model_version, origin, request_id, window_start, health, anomaly, state, recalibrate,
             document)
    where d.machine_id in (select machine_id from alive)),
written as (
    insert into diagnosis as d (tenant_id, machine_id, ts, model_version, origin, request_id, window_start, health,
                                anomaly, state, recalibrate, document)
    select $1, machine_id, ts, model_version, origin, request_id, window_start, nullif(health, 'NaN'),
           nullif(anomaly, 'NaN'), state, recalibrate, document::jsonb from given
    on conflict (tenant_id, machine_id, ts, model_version, origin, request_id) do update
    set window_start = excluded.window_start, health = excluded.health, anomaly = excluded.anomaly,
        state = excluded.state, recalibrate = excluded.recalibrate, document = excluded.document
    where d.document is distinct from excluded.document
    returning (xmax = 0) as fresh)
select count(*) filter (where fresh) as stored, count(*) filter (where not fresh) as merged,
       (select count(*) from given) as known
from written"""
_NEWEST: Final = """
select document from diagnosis
where tenant_id = $1 and machine_id = $2 and ($3::text is null or origin = $3) order by ts desc limit 1"""
_PAGE: Final = """
select document, origin, request_id from diagnosis
where tenant_id = $1 and machine_id = $2 and ts >= $3 and ts < $4
      and (ts, model_version, origin, request_id) < ($5, $6, $7, $8) and ($9::text is null or origin = $9)
order by ts desc, model_version desc, origin desc, request_id desc limit $10"""
_CONDITIONS: Final = """
select m.machine_id, d.ts, d.state, d.health
from machine m
cross join lateral (
    select ts, state, health from diagnosis
    where tenant_id = m.tenant_id and machine_id = m.machine_id order by ts desc limit 1) d
where m.tenant_id = $1 and m.deleted_at is null and ($2::int[] is null or m.machine_id = any($2::int[]))"""
