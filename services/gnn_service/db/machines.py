"""Machines: descriptions with their revisions, the sensors' numbers, and the layouts that their frames have."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import ConflictError, InvalidMachineError, UnknownMachineError
from gnn_service.db.frames import FrameBlock
from gnn_service.db.layouts import Layout, digest, sensors_by_rate
from gnn_service.db.repository import Connection, Repository
from gnn_service.domain.machine import Machine

_NAMES_MAX: Final = 1000
PURGE_ROWS: Final = 20_000
"""Rows that one step of a purge removes from a table, at most: some 100 ms."""


class Outcome(StrEnum):
    """What a write changed."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class StoredMachine:
    """A machine as the store knows it.

    ``sensor_ids`` gives each tag of the description its number. ``groups`` holds the layout of new frames of each
    rate, ``rates_hz`` the rate of each; the fastest stands first.
    """

    machine_id: int
    revision: int
    machine: Machine
    sensor_ids: Mapping[str, int]
    groups: tuple[Layout, ...]
    rates_hz: tuple[float, ...]
    created_at: datetime
    updated_at: datetime

    @cached_property
    def columns(self) -> dict[int, int]:
        """The place of each sensor number in the description's order."""
        return {self.sensor_ids[tag]: place for place, tag in enumerate(self.machine.sensor_ids)}

    def blocks(
        self, times: NDArray[np.int64], sensors: Sequence[str], values: NDArray[np.float32]
    ) -> tuple[FrameBlock, ...]:
        """Readings on one grid cut into frames, one block a rate group; ticks of a group without a value are left out.

        Args:
            times: (T,) microseconds since 1970 UTC, rising.
            sensors: tags of the columns, each at most once.
            values: (T, len(sensors)), NaN = missing.

        Raises:
            InvalidMachineError: a tag is no sensor of the machine.
        """
        unknown = [tag for tag in sensors if tag not in self.sensor_ids]
        if unknown:
            raise InvalidMachineError(f"machine {self.machine.id} has no sensor {unknown[0]}", where="readings")
        given = {self.sensor_ids[tag]: column for column, tag in enumerate(sensors)}
        blocks = []
        for layout in self.groups:
            places = [(place, given[sensor]) for place, sensor in enumerate(layout.sensor_ids) if sensor in given]
            if not places:
                continue
            target, source = map(list, zip(*places, strict=True))
            whole = target == source == list(range(len(sensors))) and len(target) == len(layout.sensor_ids)
            mine = values if whole else values[:, source]
            present = ~np.isnan(mine).all(axis=1)
            if not present.any():
                continue
            mine = mine if present.all() else mine[present]
            frames = mine if whole else np.full((len(mine), len(layout.sensor_ids)), np.nan, np.float32)
            if not whole:
                frames[:, target] = mine
            blocks.append(FrameBlock(self.machine_id, layout.rate_group, layout.layout_id, times[present], frames))
        return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Line:
    """A machine in a list, without its description."""

    machine_id: int
    external_id: str
    name: str
    revision: int
    fingerprint: str
    updated_at: datetime
    sensors: int
    components: int


@dataclass(frozen=True, slots=True)
class Put:
    """A machine after it was put, and what that changed."""

    stored: StoredMachine
    outcome: Outcome


_FIND: Final = """
select machine_id, revision, fingerprint, description::text as description, created_at, updated_at
from machine where tenant_id = $1 and external_id = $2 and deleted_at is null"""
_LINES: Final = """
select machine_id, external_id, name, revision, fingerprint, updated_at,
       json_array_length(description -> 'sensors') as sensors,
       json_array_length(description -> 'components') as components
from machine where tenant_id = $1 and external_id > $2 and deleted_at is null order by external_id limit $3"""
_NUMBERS: Final = """
select machine_id, external_id, unit, sensor_id from sensor where tenant_id = $1 and machine_id = any($2::int[])"""
_GROUPS: Final = """
select g.machine_id, g.rate_group, g.rate_hz, l.layout_id, l.sensor_ids
from rate_group g join layout l on l.tenant_id = g.tenant_id and l.layout_id = g.layout_id
where g.tenant_id = $1 and g.machine_id = any($2::int[])
order by g.rate_hz desc"""


class MachineRepository(Repository):
    """Machines of one tenant by the id of their description."""

    async def put(self, machine: Machine, *, expected: str | None = None) -> Put:
        """Store a description under its id: a new machine, a new revision, or nothing new.

        Args:
            machine: checked by the caller.
            expected: fingerprint that the stored description must have, None where any will do.

        Raises:
            ConflictError: another description than the expected one is stored.
            InvalidMachineError: a text holds a NUL character.
        """
        text = machine.model_dump_json()
        if "\\u0000" in text:
            raise InvalidMachineError("a text holds a NUL character", where="machine")

        async def work(con: Connection) -> Put:
            async with con.transaction():
                return await self._put(con, machine, text, expected)

        return await self._database.run(work, name="machine.put", idempotent=True)

    async def get(self, external_id: str) -> StoredMachine:
        """The machine of this id. UnknownMachineError where there is none."""

        async def work(con: Connection) -> StoredMachine:
            # one snapshot: a description must not meet the layouts of another revision
            async with con.transaction(isolation="repeatable_read", readonly=True):
                row = await con.fetchrow(_FIND, self._tenant, external_id)
                if row is None:
                    raise unknown_machine(external_id)
                return (await self._stored(con, [row]))[0]

        return await self._database.run(work, name="machine.get", idempotent=True)

    async def page(self, *, after: str = "", limit: int = 100) -> tuple[StoredMachine, ...]:
        """Machines in the order of their ids, those after ``after``."""
        sql = _FIND.replace("external_id = $2", "external_id > $2") + " order by external_id limit $3"

        async def work(con: Connection) -> tuple[StoredMachine, ...]:
            async with con.transaction(isolation="repeatable_read", readonly=True):
                return await self._stored(con, await con.fetch(sql, self._tenant, after, limit))

        return await self._database.run(work, name="machine.page", idempotent=True)

    async def names(self) -> AsyncIterator[str]:
        """Ids of all machines in their order."""
        after = ""
        while rows := await self._fetch("machine.names", _NAMES, self._tenant, after, _NAMES_MAX):
            for row in rows:
                yield row["external_id"]
            after = rows[-1]["external_id"]

    async def lines(self, *, after: str = "", limit: int = 100) -> tuple[Line, ...]:
        """As `page`, without the descriptions, which take milliseconds each to read."""
        return tuple(Line(**row) for row in await self._fetch("machine.lines", _LINES, self._tenant, after, limit))

    async def revisions(self, external_id: str) -> tuple[tuple[int, str, datetime], ...]:
        """Number, fingerprint and time of every description that the machine has had, the newest first."""
        rows = await self._fetch(
            "machine.revisions",
            "select r.revision, r.fingerprint, r.created_at from machine_revision r join machine m"
            " using (tenant_id, machine_id) where tenant_id = $1 and external_id = $2 and deleted_at is null"
            " order by 1 desc",
            self._tenant,
            external_id,
        )
        return tuple((row[0], row[1], row[2]) for row in rows)

    async def delete(self, external_id: str) -> bool:
        """Take a machine away: its id is free at once, its rows go with `purge`. False where it was not there."""
        rows = await self._fetch(
            "machine.delete",
            "update machine set deleted_at = now()"
            " where tenant_id = $1 and external_id = $2 and deleted_at is null returning machine_id",
            self._tenant,
            external_id,
        )
        return bool(rows)

    async def purge(self) -> int:
        """One bounded step of removing what deleted machines have left; the number of rows removed, 0 at the end."""

        async def work(con: Connection) -> int:
            row = await con.fetchrow(
                "select machine_id from machine where tenant_id = $1 and deleted_at is not null"
                " order by deleted_at limit 1",
                self._tenant,
            )
            return 0 if row is None else await self._purge(con, row["machine_id"])

        return await self._database.run(work, name="machine.purge", idempotent=True)

    async def _purge(self, con: Connection, machine_id: int) -> int:
        for table, part in _PURGED.items():
            statement = _PURGE.format(table=table, part=part)
            removed = await con.execute(statement, self._tenant, machine_id, PURGE_ROWS)
            if (count := int(removed.split()[1])) > 0:
                return count
        await con.execute("delete from machine where tenant_id = $1 and machine_id = $2", self._tenant, machine_id)
        return 1

    async def _put(self, con: Connection, machine: Machine, text: str, expected: str | None) -> Put:
        tenant, fingerprint = self._tenant, machine.fingerprint
        made = await con.fetchrow(_INSERT, tenant, machine.id, machine.name, fingerprint, text)
        found = await con.fetchrow(_FIND + " for update", tenant, machine.id)
        if found is None:  # deleted between the two statements
            raise ConflictError(f"machine {machine.id} was deleted at the same time; put it again", where="machine")
        machine_id, outcome = found["machine_id"], Outcome.CREATED if made else Outcome.UNCHANGED
        # the same description again is no conflict: it may be the repetition of a write whose answer was lost
        if not made and found["fingerprint"] != fingerprint:
            if expected is not None and found["fingerprint"] != expected:
                raise ConflictError(f"machine {machine.id} was changed meanwhile; read it again", where="machine")
            await con.execute(_UPDATE, tenant, machine_id, machine.name, fingerprint, text)
            outcome = Outcome.CHANGED
        elif made and expected is not None:
            raise ConflictError(f"machine {machine.id} is not there any more", where="machine")
        if outcome is not Outcome.UNCHANGED:
            await con.execute(_KEEP_REVISION, tenant, machine_id)
            await self._put_sensors(con, machine_id, machine)
        row = await con.fetchrow(_FIND, tenant, machine.id)
        return Put((await self._stored(con, [row] if row else []))[0], outcome)

    async def _put_sensors(self, con: Connection, machine_id: int, machine: Machine) -> None:
        """Give every sensor its number and every rate its layout."""
        sensors = machine.sensors
        rows = await con.fetch(
            _PUT_SENSORS,
            self._tenant,
            machine_id,
            [sensor.id for sensor in sensors],
            [sensor.unit for sensor in sensors],
            [sensor.component for sensor in sensors],
            [sensor.quantity for sensor in sensors],
            [sensor.role.value for sensor in sensors],
            [sensor.name for sensor in sensors],
        )
        numbers = {row["external_id"]: row["sensor_id"] for row in rows}
        rates = sensors_by_rate(machine)
        groups = {
            row["rate_hz"]: row["rate_group"]
            for row in await con.fetch(
                "select rate_group, rate_hz from rate_group where tenant_id = $1 and machine_id = $2",
                self._tenant,
                machine_id,
            )
        }
        for rate in rates:
            groups.setdefault(rate, max(groups.values(), default=-1) + 1)
        for rate, group in groups.items():
            ids = [numbers[tag] for tag in rates.get(rate, ())]
            layout_id = await make_layout(con, self._tenant, machine_id, group, ids) if ids else None
            await con.execute(_PUT_GROUP, self._tenant, machine_id, group, rate, layout_id)

    async def _stored(self, con: Connection, rows: Sequence[asyncpg.Record]) -> tuple[StoredMachine, ...]:
        found = [row["machine_id"] for row in rows]
        numbers: dict[int, dict[tuple[str, str], int]] = {machine_id: {} for machine_id in found}
        for row in await con.fetch(_NUMBERS, self._tenant, found):
            numbers[row["machine_id"]][row["external_id"], row["unit"]] = row["sensor_id"]
        groups: dict[int, list[asyncpg.Record]] = {machine_id: [] for machine_id in found}
        for row in await con.fetch(_GROUPS, self._tenant, found):
            groups[row["machine_id"]].append(row)
        return tuple(_stored(row, numbers[row["machine_id"]], groups[row["machine_id"]]) for row in rows)


def _stored(
    row: asyncpg.Record, numbers: Mapping[tuple[str, str], int], groups: Sequence[asyncpg.Record]
) -> StoredMachine:
    machine = Machine.model_validate_json(row["description"])
    return StoredMachine(
        machine_id=row["machine_id"],
        revision=row["revision"],
        machine=machine,
        sensor_ids={sensor.id: numbers[sensor.id, sensor.unit] for sensor in machine.sensors},
        groups=tuple(
            Layout(group["layout_id"], row["machine_id"], group["rate_group"], tuple(group["sensor_ids"]))
            for group in groups
        ),
        rates_hz=tuple(group["rate_hz"] for group in groups),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def unknown_machine(external_id: str) -> UnknownMachineError:
    """The error for an id that no machine has."""
    return UnknownMachineError(f"there is no machine {external_id}; describe it with PUT /v1/machines/{external_id}")


async def make_layout(
    con: Connection, tenant_id: int, machine_id: int, rate_group: int, sensor_ids: Sequence[int]
) -> int:
    """The number of a layout of these sensors in this order, made where it is not there yet.

    Whoever calls holds what keeps others from making a layout of the same machine at the same time.
    """
    key = (tenant_id, machine_id, rate_group, digest(sensor_ids))
    found = await con.fetchval(
        "select layout_id from layout where tenant_id = $1 and machine_id = $2 and rate_group = $3 and digest = $4",
        *key,
    )
    if found is None:
        found = await con.fetchval(_MAKE_LAYOUT, *key, list(sensor_ids))
    return int(found)


_NAMES: Final = """
select external_id from machine where tenant_id = $1 and external_id > $2 and deleted_at is null
order by external_id limit $3"""
_INSERT: Final = """
insert into machine (tenant_id, external_id, name, fingerprint, description) values ($1, $2, $3, $4, $5)
on conflict (tenant_id, external_id) where deleted_at is null do nothing returning machine_id"""
_UPDATE: Final = """
update machine set name = $3, fingerprint = $4, description = $5, revision = revision + 1, updated_at = now()
where tenant_id = $1 and machine_id = $2"""
_KEEP_REVISION: Final = """
insert into machine_revision (tenant_id, machine_id, revision, fingerprint, description)
select tenant_id, machine_id, revision, fingerprint, description from machine where tenant_id = $1 and machine_id = $2
on conflict do nothing"""
_PUT_SENSORS: Final = """
insert into sensor (tenant_id, machine_id, external_id, unit, component, quantity, role, name)
select $1, $2, s.* from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) s
on conflict (tenant_id, machine_id, external_id, unit) do update
set component = excluded.component, quantity = excluded.quantity, role = excluded.role, name = excluded.name
returning external_id, sensor_id"""
_PUT_GROUP: Final = """
insert into rate_group (tenant_id, machine_id, rate_group, rate_hz, layout_id) values ($1, $2, $3, $4, $5)
on conflict (tenant_id, machine_id, rate_group) do update set layout_id = excluded.layout_id"""
_MAKE_LAYOUT: Final = """
insert into layout (tenant_id, machine_id, rate_group, digest, sensor_ids, version)
select $1, $2, $3, $4, $5,
       coalesce((select max(version) from layout where tenant_id = $1 and machine_id = $2 and rate_group = $3), 0) + 1
returning layout_id"""
_PURGED: Final = {
    "frame": "rate_group",
    "rollup_1m": "rate_group",
    "rollup_1h": "rate_group",
    "sensor_event": "sensor_id",
    "operation": "machine_id",
    "diagnosis": "machine_id",
}
"""Tables of a machine without a foreign key, and what follows the machine in their keys."""
_PURGE: Final = """
with one as (select {part} as part from {table} where tenant_id = $1 and machine_id = $2 limit 1),
     oldest as (select t.ts from {table} t, one
                where tenant_id = $1 and machine_id = $2 and t.{part} = one.part order by t.ts limit $3)
delete from {table} t using one
where tenant_id = $1 and machine_id = $2 and t.{part} = one.part and t.ts <= (select max(ts) from oldest)"""
