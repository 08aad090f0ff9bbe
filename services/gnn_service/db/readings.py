"""Readings: frames written whole and repeatably, windows and stretches read straight into NumPy."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final

import asyncpg
import numpy as np

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.frame_writing import LAYOUTS, Stored, layouts_by_number, write_frames
from gnn_service.db.frames import EARLIEST_US, LATEST_US, FrameBlock
from gnn_service.db.layouts import Layout, on_one_grid
from gnn_service.db.machines import StoredMachine
from gnn_service.db.repository import DEFAULT_TENANT, Connection, Repository, Runner, instant
from gnn_service.domain.recording import Readings

__all__ = ["CHUNK_VALUES", "ReadingRepository", "Stored"]

CHUNK_VALUES: Final = 1_000_000
"""Values in a chunk of a stretch, at most: 8 MB on the wire."""
STORE_VALUES: Final = 2_000_000
"""Values in one statement, at most: longer blocks are stored in several, each whole."""
_LAYOUTS_KEPT: Final = 10_000


class ReadingRepository(Repository):
    """Frames of one tenant's machines."""

    def __init__(self, database: Runner, *, tenant_id: int = DEFAULT_TENANT) -> None:
        super().__init__(database, tenant_id=tenant_id)
        self._layouts: dict[int, Layout] = {}

    async def store(self, blocks: Sequence[FrameBlock]) -> tuple[Stored, ...]:
        """Write frames; when this returns, they are on the server's disk. Says what became of each block.

        A tick that is there already takes the new values that are present, position by position, and keeps the rest,
        also where the machine's sensors have changed in between. Writing the same again changes nothing. Where this
        fails, some frames may have been written: write all of them again.

        Raises:
            InvalidInputError: a block has not as many values as its layout, or stands under a wrong one.
        """
        found = [Stored()] * len(blocks)
        for part in self._statements(await self._accepted(blocks, found)):
            places, pieces = zip(*part, strict=True)

            async def work(con: Connection, pieces: Sequence[FrameBlock] = pieces) -> list[Stored]:
                return await write_frames(con, self._tenant, pieces)

            counts = await self._database.run(work, name="reading.store", idempotent=True)
            for place, count in zip(places, counts, strict=True):
                found[place] += count
        return tuple(found)

    async def newest(self, machine_ids: Sequence[int] | None = None) -> dict[int, int]:
        """Time of the newest frame of each machine that has one, microseconds UTC; None asks for all machines."""
        rows = await self._fetch("reading.newest", _NEWEST, self._tenant, machine_ids)
        return {row["machine_id"]: int(row["newest"][0]) for row in rows}

    async def span(self, machine: StoredMachine) -> tuple[int, int] | None:
        """Times of the oldest and the newest frame, microseconds UTC; None where there is none."""
        row = await self._row("reading.span", _SPAN, self._tenant, machine.machine_id)
        return None if row is None or not len(row["ends"]) else (int(row["ends"].min()), int(row["ends"].max()))

    async def window(self, machine: StoredMachine, *, ticks: int = 128, until_us: int = LATEST_US) -> Readings:
        """The newest ``ticks`` ticks of the fastest rate group up to ``until_us``, and of the others the same time.

        Columns stand in the description's order. Where nothing is stored, the readings have no rows.
        """
        if not machine.groups:
            return self._readings(machine, [])
        fastest = machine.rates_hz[0]
        wanted = [math.ceil(ticks * rate / fastest) for rate in machine.rates_hz]
        groups = [layout.rate_group for layout in machine.groups]
        key, until = (self._tenant, machine.machine_id), instant(until_us)
        if len(groups) == 1:
            rows = await self._fetch("reading.window", _WINDOW_OF_ONE, *key, groups[0], wanted[0], until)
        else:
            rows = await self._fetch("reading.window", _WINDOW, *key, groups, wanted, until)
        blocks = [_block(machine.machine_id, row) for row in rows]
        if len(groups) > 1:
            times = [block.times[0] for block in blocks if block.rate_group == groups[0]]
            begin = min(times, default=EARLIEST_US)
            blocks = [block.part(block.times >= begin) for block in blocks]
        return self._readings(machine, await self._with_sensors(blocks))

    async def read(self, machine: StoredMachine, from_us: int, to_us: int) -> AsyncIterator[Readings]:
        """What was read in [from_us, to_us), rising, in chunks of at most `CHUNK_VALUES`; none is empty.

        Each chunk is a query of its own: nothing is held open between them, and frames that are written meanwhile
        may or may not be seen.
        """
        groups = await self._groups(machine)
        width = sum(width for _, width in groups)
        limit = max(1, CHUNK_VALUES // max(width, 1))
        while groups and from_us < to_us:
            rows = await self._fetch(
                "reading.read",
                _STRETCH,
                self._tenant,
                machine.machine_id,
                [group for group, _ in groups],
                instant(from_us),
                instant(to_us),
                limit,
            )
            blocks = [_block(machine.machine_id, row) for row in rows]
            # a group that gave all it may ends the chunk for all, so that no tick is cut in two
            full = [group for group, _ in groups if sum(len(b) for b in blocks if b.rate_group == group) >= limit]
            ends = (max(int(b.times[-1]) for b in blocks if b.rate_group == group) for group in full)
            end = min(ends, default=to_us - 1)
            blocks = [part for block in blocks if len(part := block.part(block.times <= end))]
            if blocks:
                yield self._readings(machine, await self._with_sensors(blocks))
            from_us = end + 1

    async def _groups(self, machine: StoredMachine) -> list[tuple[int, int]]:
        """Every rate group that the machine ever had, and the most values of its frames."""
        rows = await self._fetch("reading.groups", _ALL_GROUPS, self._tenant, machine.machine_id)
        return [(row["rate_group"], row["width"]) for row in rows]

    def _readings(self, machine: StoredMachine, parts: Sequence[tuple[FrameBlock, Layout]]) -> Readings:
        pieces = [(block.times, block.values, layout.sensor_ids) for block, layout in parts]
        times, values = on_one_grid(pieces, machine.columns)
        return Readings(times, machine.machine.sensor_ids, values)

    async def _with_sensors(self, blocks: Sequence[FrameBlock]) -> list[tuple[FrameBlock, Layout]]:
        layouts = await self._known({block.layout_id for block in blocks})
        return [(block, layouts[block.layout_id]) for block in blocks if len(block)]

    async def _accepted(self, blocks: Sequence[FrameBlock], found: list[Stored]) -> Iterable[tuple[int, FrameBlock]]:
        """Blocks whose layout is there; what is wrong raises, what is gone is counted as refused."""
        layouts = await self._known({block.layout_id for block in blocks})
        accepted = []
        for place, block in enumerate(blocks):
            layout = layouts.get(block.layout_id)
            if layout is None:
                found[place] = Stored(refused=len(block))
                continue
            shape = (layout.machine_id, layout.rate_group, len(layout.sensor_ids))
            if (block.machine_id, block.rate_group, block.values.shape[1]) != shape:
                detail = f"layout {block.layout_id} is of machine {shape[0]}, rate group {shape[1]}, {shape[2]} sensors"
                raise InvalidInputError(detail, where=f"frames[{place}]")
            if len(block):
                accepted.append((place, block))
        # every writer takes the same way through the keys
        return sorted(accepted, key=lambda one: (one[1].machine_id, one[1].rate_group, one[1].times[0]))

    def _statements(self, blocks: Iterable[tuple[int, FrameBlock]]) -> Iterator[list[tuple[int, FrameBlock]]]:
        """Blocks, long ones in pieces, in lots of at most `STORE_VALUES`."""
        lot: list[tuple[int, FrameBlock]] = []
        room = STORE_VALUES
        for place, block in blocks:
            step = max(1, STORE_VALUES // block.values.shape[1])
            for start in range(0, len(block), step):
                piece = block if len(block) <= step else block.part(slice(start, start + step))
                if lot and piece.values.size > room:
                    yield lot
                    lot, room = [], STORE_VALUES
                lot.append((place, piece))
                room -= piece.values.size
        if lot:
            yield lot

    async def _known(self, wanted: set[int]) -> dict[int, Layout]:
        """Layouts by number. They never change, so that what was read once is kept."""
        known = {number: self._layouts[number] for number in wanted if number in self._layouts}
        if missing := wanted - known.keys():
            found = layouts_by_number(await self._fetch("reading.layouts", LAYOUTS, self._tenant, list(missing)))
            if len(self._layouts) + len(found) > _LAYOUTS_KEPT:
                self._layouts.clear()
            self._layouts |= found
            known |= found
        return known


def _block(machine_id: int, row: asyncpg.Record) -> FrameBlock:
    times, values = row["times"], row["vals"]
    if len(times) > 1 and times[0] > times[-1]:
        times, values = times[::-1], values[::-1]
    if not (np.diff(times) > 0).all():
        order = np.argsort(times)
        times, values = times[order], values[order]
    return FrameBlock(machine_id, row["rate_group"], row["layout_id"], times, values)


# array_agg over arrays of one layout makes a matrix; arrays of two layouts it would refuse
_WINDOW: Final = """
select g.rate_group, f.layout_id, array_agg(f.ts) as times, array_agg(f.vals) as vals
from unnest($3::smallint[], $4::int[]) g(rate_group, ticks)
cross join lateral (
    select ts, layout_id, vals from frame
    where tenant_id = $1 and machine_id = $2 and rate_group = g.rate_group and ts <= $5
    order by ts desc limit g.ticks) f
group by 1, 2"""
# the same for one rate group: a fifth quicker, for the planner keeps one plan for all of them
_WINDOW_OF_ONE: Final = """
select $3::smallint as rate_group, layout_id, array_agg(ts) as times, array_agg(vals) as vals
from (select ts, layout_id, vals from frame
      where tenant_id = $1 and machine_id = $2 and rate_group = $3 and ts <= $5 order by ts desc limit $4) f
group by layout_id"""
_STRETCH: Final = """
select g.rate_group, f.layout_id, array_agg(f.ts) as times, array_agg(f.vals) as vals
from unnest($3::smallint[]) g(rate_group)
cross join lateral (
    select ts, layout_id, vals from frame
    where tenant_id = $1 and machine_id = $2 and rate_group = g.rate_group and ts >= $4 and ts < $5
    order by ts limit $6) f
group by 1, 2"""
_ALL_GROUPS: Final = """
select rate_group, max(cardinality(sensor_ids)) as width from layout
where tenant_id = $1 and machine_id = $2 group by rate_group order by rate_group"""
_SPAN: Final = """
select coalesce(array_agg(f.ts), '{}') as ends
from rate_group g
cross join lateral (
    (select ts from frame where tenant_id = $1 and machine_id = $2 and rate_group = g.rate_group order by ts limit 1)
    union all
    (select ts from frame where tenant_id = $1 and machine_id = $2 and rate_group = g.rate_group
     order by ts desc limit 1)) f
where g.tenant_id = $1 and g.machine_id = $2"""
_NEWEST: Final = """
select g.machine_id, array[max(f.ts)] as newest
from rate_group g
cross join lateral (
    select ts from frame
    where tenant_id = g.tenant_id and machine_id = g.machine_id and rate_group = g.rate_group
    order by ts desc limit 1) f
where g.tenant_id = $1 and ($2::int[] is null or g.machine_id = any($2::int[]))
group by g.machine_id"""
