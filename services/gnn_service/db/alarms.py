"""Alarms: episodes and the way that each took through the states of ISA-18.2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from gnn_service.core.errors import ConflictError, NotFoundError, UnknownMachineError
from gnn_service.db.repository import Connection, Repository
from gnn_service.domain.alarm import AlarmState, Priority


@dataclass(frozen=True, slots=True)
class Opening:
    """The begin of an episode. What is wrong with which machine since when is its natural key; times are data time."""

    machine_id: int
    component: str
    opened_at: datetime
    fault: str = ""
    priority: Priority = Priority.LOW
    state: AlarmState = AlarmState.ACTIVE_UNACK
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """A step of an episode into another state. ``at`` is data time."""

    to_state: AlarmState
    at: datetime
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An episode as it stands. ``version`` counts its transitions."""

    alarm_id: int
    machine_id: int
    component: str
    fault: str
    opened_at: datetime
    state: AlarmState
    version: int
    priority: Priority
    changed_at: datetime
    closed_at: datetime | None
    document: Mapping[str, Any]


class AlarmRepository(Repository):
    """Alarms of one tenant's machines."""

    async def open(self, opening: Opening) -> StoredAlarm:
        """Begin an episode; where it has begun already, the episode as it stands.

        Raises:
            UnknownMachineError: the machine is not there.
        """
        key = (opening.machine_id, opening.component, opening.fault, opening.opened_at)
        body = orjson.dumps(opening.document).decode()

        async def work(con: Connection) -> asyncpg.Record | None:
            await con.execute(_OPEN, self._tenant, *key, opening.state.value, opening.priority.value, body)
            return await con.fetchrow(_COLUMNS + _BY_KEY, self._tenant, *key)

        row = await self._database.run(work, name="alarm.open", idempotent=True)
        if row is None:
            raise UnknownMachineError(f"there is no machine {opening.machine_id}", where="alarm")
        return _alarm(row)

    async def change(
        self,
        alarm_id: int,
        transition: Transition,
        *,
        expected: int,
        document: Mapping[str, Any] | None = None,
    ) -> StoredAlarm:
        """Take an episode into another state; into `normal` closes it.

        Args:
            alarm_id: the episode.
            transition: where to, when, by whom and why.
            expected: the version that the caller has seen. The same transition again, on the version that it made, is
                the repetition of a write whose answer was lost and changes nothing.
            document: what else is known from now on; None leaves it.

        Raises:
            NotFoundError: there is no such alarm.
            ConflictError: somebody else was faster; read it again.
        """
        body = None if document is None else orjson.dumps(document).decode()

        async def work(con: Connection) -> StoredAlarm:
            async with con.transaction():
                row = await con.fetchrow(_COLUMNS + _BY_ID + " for update", self._tenant, alarm_id)
                if row is None:
                    raise NotFoundError(f"there is no alarm {alarm_id}")
                alarm = _alarm(row)
                if alarm.version != expected:
                    await self._require_same(con, alarm, transition, expected)
                    return alarm
                step = (transition.to_state.value, transition.at, transition.actor, transition.reason)
                await con.execute(_ADD_STEP, self._tenant, alarm_id, expected + 1, alarm.state.value, *step)
                changed = await con.fetchrow(_CHANGE, self._tenant, alarm_id, step[0], step[1], body)
                return _alarm(changed) if changed else alarm

        return await self._database.run(work, name="alarm.change", idempotent=True)

    async def get(self, alarm_id: int) -> StoredAlarm:
        """One episode. NotFoundError where it is not there."""
        row = await self._row("alarm.get", _COLUMNS + _BY_ID, self._tenant, alarm_id)
        if row is None:
            raise NotFoundError(f"there is no alarm {alarm_id}")
        return _alarm(row)

    async def page(
        self,
        *,
        machine_id: int | None = None,
        state: AlarmState | None = None,
        only_open: bool = False,
        before: StoredAlarm | None = None,
        limit: int = 100,
    ) -> tuple[StoredAlarm, ...]:
        """Episodes, the latest first; those that began before ``before``, for paging."""
        key = (None, None) if before is None else (before.opened_at, before.alarm_id)
        rows = await self._fetch(
            "alarm.page", _COLUMNS + _PAGE, self._tenant, machine_id, state, only_open, *key, limit
        )
        return tuple(map(_alarm, rows))

    async def transitions(self, alarm_id: int) -> tuple[Transition, ...]:
        """The steps of an episode in their order."""
        rows = await self._fetch("alarm.transitions", _STEPS, self._tenant, alarm_id)
        return tuple(Transition(AlarmState(row[0]), row[1], row[2], row[3]) for row in rows)

    async def _require_same(self, con: Connection, alarm: StoredAlarm, transition: Transition, expected: int) -> None:
        rows = await con.fetch(_STEPS, self._tenant, alarm.alarm_id)
        wanted = (transition.to_state.value, transition.at, transition.actor, transition.reason)
        if len(rows) <= expected or tuple(rows[expected]) != wanted:
            raise ConflictError(f"alarm {alarm.alarm_id} was changed meanwhile; read it again", where="alarm")


def _alarm(row: asyncpg.Record) -> StoredAlarm:
    known = {name: row[name] for name in StoredAlarm.__dataclass_fields__}
    fields = known | {
        "state": AlarmState(row["state"]),
        "priority": Priority(row["priority"]),
        "document": orjson.loads(row["document"]),
    }
    return StoredAlarm(**fields)


_COLUMNS: Final = "select * from alarm "
_BY_ID: Final = "where tenant_id = $1 and alarm_id = $2"
_BY_KEY: Final = "where tenant_id = $1 and machine_id = $2 and component = $3 and fault = $4 and opened_at = $5"
_OPEN: Final = """
insert into alarm (tenant_id, machine_id, component, fault, opened_at, changed_at, state, priority, document)
select $1, $2, $3, $4, $5::timestamptz, $5::timestamptz, $6, $7, $8::jsonb
from machine where tenant_id = $1 and machine_id = $2 and deleted_at is null
on conflict (tenant_id, machine_id, component, fault, opened_at) do nothing"""
_ADD_STEP: Final = """
insert into alarm_transition (tenant_id, alarm_id, version, from_state, to_state, at, actor, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""
_CHANGE: Final = """
update alarm set state = $3::text, changed_at = $4::timestamptz, version = version + 1,
    closed_at = case when $3::text = 'normal' then $4::timestamptz end, document = coalesce($5::jsonb, document)
where tenant_id = $1 and alarm_id = $2 returning *"""
_PAGE: Final = """
where tenant_id = $1 and ($2::int is null or machine_id = $2) and ($3::text is null or state = $3)
      and (not $4::bool or closed_at is null)
      and ($5::timestamptz is null or (opened_at, alarm_id) < ($5, $6::bigint))
order by opened_at desc, alarm_id desc limit $7"""
_STEPS: Final = """
select to_state, at, actor, reason from alarm_transition where tenant_id = $1 and alarm_id = $2 order by version"""
