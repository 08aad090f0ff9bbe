"""How frames get into the table: new ones in one statement, ones that are there already merged position by position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from gnn_service.db.frame_copy import copy_frames
from gnn_service.db.frames import FrameBlock
from gnn_service.db.layouts import Layout, merge, remap, union
from gnn_service.db.machines import make_layout
from gnn_service.db.repository import Connection

COPY_FRAMES: Final = 500
"""From so many frames on, COPY costs less than an INSERT, its transaction included."""
Touched = tuple[int, NDArray[np.int64]]
"""A machine, and times of its frames that were written."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of frames, each counted once.

    ``stored`` are new; ``merged`` completed or changed the frame that had their tick; ``unchanged`` said nothing new;
    ``refused`` are of a machine that is not there, or not any more.
    """

    stored: int = 0
    merged: int = 0
    unchanged: int = 0
    refused: int = 0

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(
            self.stored + other.stored,
            self.merged + other.merged,
            self.unchanged + other.unchanged,
            self.refused + other.refused,
        )


async def write_frames(con: Connection, tenant_id: int, blocks: Sequence[FrameBlock]) -> list[Stored]:
    """Write blocks of frames; says what became of each. All blocks are of layouts that fit them.

    Where every tick is new, as nearly always, this is one statement, and for many frames a COPY. Two writers of the
    same ticks wait for each other in the order of the blocks' keys, so that sorted blocks never block for good.
    """
    if sum(map(len, blocks)) >= COPY_FRAMES and await _copy_all(con, tenant_id, blocks):
        return [Stored(stored=len(block)) for block in blocks]
    fresh = await con.fetch(_INSERT, *_insertion(tenant_id, blocks))
    if sum(row["frames"] for row in fresh) == sum(map(len, blocks)):
        return [Stored(stored=len(block)) for block in blocks]
    new = {(row["machine_id"], row["rate_group"]): np.sort(row["times"]) for row in fresh}
    async with con.transaction():
        return await _merge_blocks(con, tenant_id, blocks, new)


async def _copy_all(con: Connection, tenant_id: int, blocks: Sequence[FrameBlock]) -> bool:
    """COPY blocks where nothing lies in their stretches yet and all machines are there; whether that was so."""
    bounds = [(block.machine_id, block.rate_group, block.times[0], block.times[-1]) for block in blocks]
    machine_ids, groups, first, last = map(list, zip(*bounds, strict=True))
    stale = _stretches((block.machine_id, block.times) for block in blocks)
    try:
        async with con.transaction():
            free = await con.fetchval(_MARK_FREE, tenant_id, machine_ids, groups, first, last, *stale)
            if free:
                await copy_frames(con, tenant_id, blocks)
            return bool(free)
    except asyncpg.UniqueViolationError:  # another writer came in between, or two blocks share a tick
        return False


def _insertion(tenant_id: int, blocks: Sequence[FrameBlock]) -> tuple[Any, ...]:
    """Arguments of `_INSERT`: the values of all frames end to end, and where each frame's begin and end."""
    lengths = [len(block) for block in blocks]
    widths = np.repeat([block.values.shape[1] for block in blocks], lengths)
    ends = np.cumsum(widths)
    columns = (
        np.repeat([getattr(block, name) for block in blocks], lengths).tolist()
        for name in ("machine_id", "layout_id", "rate_group")
    )
    times = np.concatenate([block.times for block in blocks])
    values = np.concatenate([block.values.ravel() for block in blocks])
    stale = _stretches((block.machine_id, block.times) for block in blocks)
    return (tenant_id, times, *columns, (ends - widths + 1).tolist(), ends.tolist(), values, *stale)


def _stretches(touched: Iterable[Touched]) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64]]:
    """Each machine once, with its first and its last time."""
    spans: dict[int, tuple[int, int]] = {}
    for machine_id, times in touched:
        if len(times):
            low, high = spans.get(machine_id, (times[0], times[-1]))
            spans[machine_id] = (min(low, times[0]), max(high, times[-1]))
    bounds = np.array(list(spans.values()), np.int64).reshape(-1, 2)
    return list(spans), bounds[:, 0], bounds[:, 1]


async def _merge_blocks(
    con: Connection,
    tenant_id: int,
    blocks: Sequence[FrameBlock],
    new: dict[tuple[int, int], NDArray[np.int64]],
) -> list[Stored]:
    """Merge what `_INSERT` left out into what is there, and note which stretches of the roll-ups that makes stale."""
    machines = sorted({block.machine_id for block in blocks})
    alive = {row["machine_id"] for row in await con.fetch(_LOCK_MACHINES, tenant_id, machines)}
    touched: list[Touched] = []
    found = []
    for block in blocks:
        key = (block.machine_id, block.rate_group)
        fresh = np.isin(block.times, new.get(key, ()), assume_unique=True)
        # the next block with the same tick finds it taken
        new[key] = np.setdiff1d(new.get(key, ()), block.times[fresh], assume_unique=True)
        rest, stored = block.part(~fresh), Stored(stored=int(fresh.sum()))
        if len(rest) and block.machine_id not in alive:
            stored += Stored(refused=len(rest))
        elif len(rest):
            stored += await _merge_block(con, tenant_id, rest, touched)
        found.append(stored)
    if touched:
        await con.execute(_MARK_STALE, tenant_id, *_stretches(touched))
    return found


async def _merge_block(con: Connection, tenant_id: int, block: FrameBlock, touched: list[Touched]) -> Stored:
    key = (tenant_id, block.machine_id, block.rate_group)
    rows = await con.fetch(_PRESENT, *key, block.times)
    counts = Stored()
    for row in rows:
        counts += await _merge_present(con, key, block, row, touched)
    there = sum(len(row["times"]) for row in rows)
    if there < len(block):  # retention took them away since: they are new
        gone = ~np.isin(block.times, np.concatenate([np.empty(0, np.int64), *(row["times"] for row in rows)]))
        await con.fetch(_INSERT, *_insertion(tenant_id, [block.part(gone)]))
        counts += Stored(stored=int(gone.sum()))
    return counts


async def _merge_present(
    con: Connection, key: tuple[int, int, int], block: FrameBlock, row: asyncpg.Record, touched: list[Touched]
) -> Stored:
    """Merge the frames of a block whose ticks are there in one layout."""
    order = np.argsort(row["times"])
    times, old = row["times"][order], row["vals"][order]
    part = block.part(np.isin(block.times, times, assume_unique=True))
    layouts = await load_layouts(con, key[0], {row["layout_id"], block.layout_id})
    before, given = layouts[row["layout_id"]].sensor_ids, layouts[block.layout_id].sensor_ids
    if set(given) >= set(before):
        layout_id, sensors = block.layout_id, given
    elif set(before) >= set(given):
        layout_id, sensors = row["layout_id"], before
    else:
        sensors = union(before, given)
        layout_id = await make_layout(con, *key, sensors)
    merged, changed = merge(remap(old, before, sensors), remap(part.values, given, sensors))
    if changed.any():
        await con.execute(_UPDATE, *key, times[changed], layout_id, merged[changed].ravel(), len(sensors))
        touched.append((block.machine_id, times[changed]))
    return Stored(merged=int(changed.sum()), unchanged=int((~changed).sum()))


async def load_layouts(con: Connection, tenant_id: int, wanted: Iterable[int]) -> dict[int, Layout]:
    """Layouts by number; those that are not there are left out."""
    rows = await con.fetch(LAYOUTS, tenant_id, list(wanted))
    return layouts_by_number(rows)


def layouts_by_number(rows: Iterable[asyncpg.Record]) -> dict[int, Layout]:
    """Rows of `LAYOUTS` as layouts."""
    return {
        row["layout_id"]: Layout(row["layout_id"], row["machine_id"], row["rate_group"], tuple(row["sensor_ids"]))
        for row in rows
    }


LAYOUTS: Final = """
select layout_id, machine_id, rate_group, sensor_ids from layout where tenant_id = $1 and layout_id = any($2::int[])"""
_MARK_STALE: Final = """
insert into rollup_stale (tenant_id, machine_ids, from_ts, to_ts)
values ($1, $2::int[], $3::timestamptz[], $4::timestamptz[])"""
_MARK_FREE: Final = """
with free as (
    select (select count(*) from machine where tenant_id = $1 and machine_id = any($6::int[]) and deleted_at is null)
           = cardinality($6::int[])
       and not exists (
           select from unnest($2::int[], $3::smallint[], $4::timestamptz[], $5::timestamptz[]) b(machine_id, rate_group,
                                                                                                 first, last)
           where exists (
               select from frame f where f.tenant_id = $1 and f.machine_id = b.machine_id
                   and f.rate_group = b.rate_group and f.ts between b.first and b.last)) as all_free),
stale as (
    insert into rollup_stale (tenant_id, machine_ids, from_ts, to_ts)
    select $1, $6::int[], $7::timestamptz[], $8::timestamptz[] from free where all_free)
select all_free from free"""
# a slice of one long array costs the same wherever it lies: its elements have a fixed width
_INSERT: Final = """
with alive as materialized (
    select machine_id from machine where tenant_id = $1 and machine_id = any($9::int[]) and deleted_at is null),
fresh as (
    insert into frame (tenant_id, ts, machine_id, layout_id, rate_group, vals)
    select $1, f.ts, f.machine_id, f.layout_id, f.rate_group, ($8::real[])[f.first:f.last]
    from unnest($2::timestamptz[], $3::int[], $4::int[], $5::smallint[], $6::int[], $7::int[])
         f(ts, machine_id, layout_id, rate_group, first, last)
    where f.machine_id in (select machine_id from alive)
    on conflict (tenant_id, machine_id, rate_group, ts) do nothing
    returning machine_id, rate_group, ts),
stale as (
    insert into rollup_stale (tenant_id, machine_ids, from_ts, to_ts)
    select $1, $9::int[], $10::timestamptz[], $11::timestamptz[] where exists (select from fresh))
select machine_id, rate_group, count(*) as frames, array_agg(ts) as times from fresh group by 1, 2"""
_LOCK_MACHINES: Final = """
select machine_id from machine where tenant_id = $1 and machine_id = any($2::int[]) and deleted_at is null
order by machine_id for no key update"""
_PRESENT: Final = """
select layout_id, array_agg(ts) as times, array_agg(vals) as vals from frame
where tenant_id = $1 and machine_id = $2 and rate_group = $3 and ts = any($4::timestamptz[]) group by layout_id"""
_UPDATE: Final = """
update frame f set layout_id = $5, vals = ($6::real[])[(n.place - 1) * $7::int + 1 : n.place * $7::int]
from unnest($4::timestamptz[]) with ordinality n(ts, place)
where f.tenant_id = $1 and f.machine_id = $2 and f.rate_group = $3 and f.ts = n.ts"""
