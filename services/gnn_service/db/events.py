"""What follows no tick: single values of irregular sensors, and what the machine was doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frame_writing import Stored
from gnn_service.db.repository import Repository, instant, microseconds

T = TypeVar("T")
EVENTS_MAX: Final = 100_000
"""Values in one write or one answer, at most."""


@dataclass(frozen=True, slots=True)
class Events:
    """Single values of one sensor.

    Shapes: ``times`` (N,) int64 microseconds since 1970 UTC, strictly rising; ``values`` (N,) float64, none NaN.

    Raises:
        InvalidInputError: shapes that differ, times that do not rise, or a missing value.
    """

    machine_id: int
    sensor_id: int
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        times, values = np.asarray(self.times, np.int64), np.asarray(self.values, np.float64)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        if times.ndim != 1 or times.shape != values.shape:
            raise InvalidInputError(f"{times.shape} times do not fit {values.shape} values", where="events")
        if not (np.diff(times) > 0).all():
            raise InvalidInputError("times must rise from value to value", where="events")
        if np.isnan(values).any():
            raise InvalidInputError("a missing value is no event", where="events")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a machine does from each of these times on.

    Shapes: ``times`` (N,) int64 microseconds since 1970 UTC, strictly rising; the columns that are known have one entry
    a time, None where it is not known.
    """

    times: NDArray[np.int64]
    cycle: Sequence[int | None] | None = None
    phase: Sequence[str | None] | None = None
    operating_state: Sequence[str | None] | None = None

    def changes(self) -> "Operation":
        """The same, without the times at which nothing changes; the first one always stays."""
        columns = (self.cycle, self.phase, self.operating_state)
        rows = list(zip(*(column for column in columns if column is not None), strict=True))
        keep = [place for place in range(len(self.times)) if not place or (rows and rows[place] != rows[place - 1])]
        return Operation(
            self.times[keep], _chosen(self.cycle, keep), _chosen(self.phase, keep), _chosen(self.operating_state, keep)
        )


def _chosen(column: Sequence[T] | None, keep: Sequence[int]) -> list[T] | None:
    return None if column is None else [column[place] for place in keep]


class EventRepository(Repository):
    """Events and operation of one tenant's machines."""

    async def store(self, events: Events) -> Stored:
        """Write single values; a value that is there at the same time is replaced.

        Raises:
            InvalidInputError: more than `EVENTS_MAX`.
        """
        if len(events.times) > EVENTS_MAX:
            raise InvalidInputError(f"{len(events.times)} values at once; {EVENTS_MAX} at most", where="events")
        rows = await self._fetch(
            "event.store",
            _STORE,
            self._tenant,
            events.machine_id,
            events.sensor_id,
            events.times,
            events.values.tolist(),
        )
        stored, merged, known = rows[0]["stored"], rows[0]["merged"], rows[0]["known"]
        return Stored(stored, merged, known - stored - merged, len(events.times) - known)

    async def read(
        self, machine_id: int, sensor_id: int, from_us: int, to_us: int, *, limit: int = EVENTS_MAX
    ) -> Events:
        """Values in [from_us, to_us), the first ``limit`` of them."""
        rows = await self._fetch(
            "event.read",
            _READ,
            self._tenant,
            machine_id,
            sensor_id,
            instant(from_us),
            instant(to_us),
            min(limit, EVENTS_MAX),
        )
        if rows[0]["times"] is None:
            return Events(machine_id, sensor_id, np.empty(0, np.int64), np.empty(0))
        return Events(machine_id, sensor_id, rows[0]["times"], np.asarray(rows[0]["values"]))

    async def store_operation(self, machine_id: int, operation: Operation) -> int:
        """Note what a machine did, where it changed; the number of new or different notes.

        Raises:
            InvalidInputError: more changes than `EVENTS_MAX`.
        """
        changes = operation.changes()
        if len(changes.times) > EVENTS_MAX:
            raise InvalidInputError(f"{len(changes.times)} changes at once; {EVENTS_MAX} at most", where="operation")
        nothing = [None] * len(changes.times)
        columns = (list(column or nothing) for column in (changes.cycle, changes.phase, changes.operating_state))
        rows = await self._fetch("operation.store", _STORE_OPERATION, self._tenant, machine_id, changes.times, *columns)
        return int(rows[0]["written"])

    async def known(self, machine_id: int, from_us: int, to_us: int) -> frozenset[str]:
        """What is known of the operation in [from_us, to_us): phase or operating_state at times, cycle all the time."""
        row = await self._row("operation.known", _KNOWN, self._tenant, machine_id, instant(from_us), instant(to_us))
        if row is None or not row["notes"]:
            return frozenset()
        found = {name for name in ("phase", "operating_state") if row[name]}
        return frozenset(found | {"cycle"} if row["from_begin"] and row["cycle"] == row["notes"] else found)

    async def operation(self, machine_id: int, from_us: int, to_us: int) -> Operation:
        """What a machine did in [from_us, to_us): what it was doing at the begin, then every change in between."""
        before = await self._row("operation.before", _BEFORE, self._tenant, machine_id, instant(from_us))
        rows = [] if before is None else [before]
        while found := await self._fetch(
            "operation.read", _OPERATION, self._tenant, machine_id, instant(from_us), instant(to_us), EVENTS_MAX
        ):
            rows += found
            from_us = microseconds(found[-1]["ts"]) + 1
        times = np.array([microseconds(row["ts"]) for row in rows], np.int64)
        cycle, phase, state = ([row[name] for row in rows] for name in ("cycle", "phase", "operating_state"))
        return Operation(times, cycle, phase, state)


_STORE: Final = """
with given as materialized (
    select e.ts, e.value from unnest($4::timestamptz[], $5::float8[]) e(ts, value)
    where exists (select from machine where tenant_id = $1 and machine_id = $2 and deleted_at is null)),
written as (
    insert into sensor_event as e (tenant_id, machine_id, sensor_id, ts, value)
    select $1, $2, $3, ts, value from given
    on conflict (tenant_id, machine_id, sensor_id, ts) do update set value = excluded.value
    where e.value is distinct from excluded.value
    returning (xmax = 0) as fresh)
select count(*) filter (where fresh) as stored, count(*) filter (where not fresh) as merged,
       (select count(*) from given) as known
from written"""
_READ: Final = """
select array_agg(ts order by ts) as times, array_agg(value order by ts) as values
from (select ts, value from sensor_event
      where tenant_id = $1 and machine_id = $2 and sensor_id = $3 and ts >= $4 and ts < $5 order by ts limit $6) e"""
_STORE_OPERATION: Final = """
with written as (
    insert into operation as o (tenant_id, machine_id, ts, cycle, phase, operating_state)
    select $1, $2, n.ts, n.cycle, n.phase, n.operating_state
    from unnest($3::timestamptz[], $4::bigint[], $5::text[], $6::text[]) n(ts, cycle, phase, operating_state)
    where exists (select from machine where tenant_id = $1 and machine_id = $2 and deleted_at is null)
    on conflict (tenant_id, machine_id, ts) do update
    set cycle = coalesce(excluded.cycle, o.cycle), phase = coalesce(excluded.phase, o.phase),
        operating_state = coalesce(excluded.operating_state, o.operating_state)
    where (o.cycle, o.phase, o.operating_state) is distinct from
          (coalesce(excluded.cycle, o.cycle), coalesce(excluded.phase, o.phase),
           coalesce(excluded.operating_state, o.operating_state))
    returning 1)
select count(*) as written from written"""
_BEFORE: Final = """
select ts, cycle, phase, operating_state from operation
where tenant_id = $1 and machine_id = $2 and ts < $3 order by ts desc limit 1"""
_OPERATION: Final = """
select ts, cycle, phase, operating_state from operation
where tenant_id = $1 and machine_id = $2 and ts >= $3 and ts < $4 order by ts limit $5"""
_KNOWN: Final = """
select min(ts) <= $3 as from_begin, count(*) as notes, count(cycle) as cycle, count(phase) as phase,
       count(operating_state) as operating_state
from operation where tenant_id = $1 and machine_id = $2 and ts < $4
    and ts >= coalesce((select max(ts) from operation where tenant_id = $1 and machine_id = $2 and ts <= $3), $3)"""
