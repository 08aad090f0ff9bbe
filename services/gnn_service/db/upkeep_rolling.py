"""One transaction's worth of roll-ups: which stretches, their frames read, minutes and hours written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from gnn_service.db import upkeep_sql as sql
from gnn_service.db.repository import Connection, instant
from gnn_service.db.rollups import Rollup, by_hour, by_minute

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BATCH_VALUES: Final = 1_500_000
"""Values that a batch should read, about: 10 MB."""
_STRETCHES: Final = 256
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRUSTED: Final = timedelta(minutes=10)  # of longer stretches the frames are counted: a machine may send otherwise
_BATCH_FRAMES: Final = 20_000  # of slow sensors every frame may be a minute to write


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch [from_ts, to_ts) of a machine to roll up now. ``keep``: its frames may be gone, what is there stays."""

    tenant_id: int
    machine_id: int
    from_ts: datetime
    to_ts: datetime
    keep: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Slices, the due stretches that they finish, and where they leave the others."""

    slices: tuple[Slice, ...]
    done: tuple[int, ...]
    shortened: tuple[tuple[int, datetime], ...]


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a batch did: ``minutes`` and ``hours`` written, ``values`` read, and whether ``more`` may be due."""

    minutes: int = 0
    hours: int = 0
    values: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class Horizons:
    """From when on frames and minutes are all there; None: they were never deleted."""

    frames: datetime | None = None
    minutes: datetime | None = None

    def floor(self, to_ts: datetime) -> datetime:
        """The newest horizon below ``to_ts``: a slice must not reach over it."""
        return max((h for h in (self.frames, self.minutes) if h is not None and h < to_ts), default=_EPOCH)


async def horizons(con: Connection) -> Horizons:
    """What retention has noted."""
    kept = {row["name"].partition(":")[2]: row["at"] for row in await con.fetch(sql.KEPT_FROM)}
    return Horizons(kept.get("frame"), kept.get("rollup_1m"))


async def roll(con: Connection, values: float) -> Rolled:
    """Work off the newest of what is due, about ``values`` values of it; in the caller's transaction."""
    due = await con.fetch(sql.DUE, _STRETCHES)
    if not due:
        return Rolled()
    limits = await horizons(con)
    batch = await plan(con, due, limits, values)
    minutes, read = await _roll_minutes(con, batch.slices)
    hours = await _roll_hours(con, batch.slices, limits.minutes)
    await con.execute(sql.DONE, batch.done)
    await con.execute(sql.SHORTEN, *_columns(batch.shortened, 2))
    more = bool(batch.shortened) or len(batch.done) < len(due) or len(due) == _STRETCHES
    return Rolled(minutes, hours, read, more)


async def plan(con: Connection, due: Sequence[asyncpg.Record], limits: Horizons, values: float) -> Batch:
    """Slices of about ``values`` values in all, from the end of each stretch backwards, at least one."""
    slices: list[Slice] = []
    done: list[int] = []
    shortened: list[tuple[int, datetime]] = []
    left = values
    for row in due:
        if slices and left <= 0:
            break
        begin, cost = await _reach(con, row, max(left, values / 8), values)
        begin = max(begin, limits.floor(row["to_ts"]))
        keep = limits.frames is not None and begin < limits.frames
        slices.append(Slice(row["tenant_id"], row["machine_id"], begin, row["to_ts"], keep))
        left -= cost
        if begin > row["from_ts"]:
            shortened.append((row["due_id"], begin))
        else:
            done.append(row["due_id"])
    return Batch(tuple(slices), tuple(done), tuple(shortened))


async def _reach(con: Connection, row: asyncpg.Record, room: float, batch: float) -> tuple[datetime, float]:
    """How far back from its end a stretch can be rolled up with ``room`` values, and about how many these are.

    By the rates of the description where that is enough; else the frames are counted along their index, so that
    years with few readings are one step and no step is larger than it should be.
    """
    from_ts, to_ts = row["from_ts"], row["to_ts"]
    nominal = (to_ts - from_ts).total_seconds() * row["values_per_s"]
    if to_ts - from_ts <= _TRUSTED and nominal <= room:
        return from_ts, nominal
    frames = max(1, int(_BATCH_FRAMES * room / BATCH_VALUES))
    back = await con.fetchval(sql.REACH, row["tenant_id"], row["machine_id"], from_ts, to_ts, room, frames)
    if back is None:
        return from_ts, batch / 8
    return max(from_ts, _full(back, to_ts)), room


def _full(start: datetime, end: datetime) -> datetime:
    """The next full hour, so that no hour is rolled up twice; where the end is before that, the full minute before."""
    hour = _floor(start + HOUR - timedelta(microseconds=1), HOUR)
    return hour if hour < end else _floor(start, MINUTE)


def _floor(time: datetime, width: timedelta) -> datetime:
    return time - (time - _EPOCH) % width


async def _roll_minutes(con: Connection, slices: Sequence[Slice]) -> tuple[int, int]:
    await con.execute(sql.CLEAR_MINUTES, *_stretches([one for one in slices if not one.keep]))
    buckets, values = [], 0
    for row in await con.fetch(sql.FRAMES, *_stretches(slices)):
        values += row["vals"].size
        buckets += _rows(row, by_minute(row["times"], row["vals"]))
    await con.executemany(sql.INSERT_MINUTES, buckets)
    return len(buckets), values


async def _roll_hours(con: Connection, slices: Sequence[Slice], minutes_from: datetime | None) -> int:
    hours = whole_hours(slices, minutes_from)
    await con.execute(sql.CLEAR_HOURS, *_stretches([one for one in hours if not one.keep]))
    buckets = []
    for row in await con.fetch(sql.MINUTES, *_stretches(hours)):
        count = row["count"].astype("int64")
        buckets += _rows(row, by_hour(Rollup(row["times"], count, row["mean"], row["low"], row["high"])))
    await con.executemany(sql.INSERT_HOURS, buckets)
    return len(buckets)


def whole_hours(slices: Iterable[Slice], minutes_from: datetime | None) -> list[Slice]:
    """The hours that slices touch, each once; ``keep`` where their minutes may be gone."""
    found: list[Slice] = []
    for one in sorted(slices, key=lambda one: (one.tenant_id, one.machine_id, one.from_ts)):
        begin, end = _floor(one.from_ts, HOUR), _floor(one.to_ts + HOUR - timedelta(microseconds=1), HOUR)
        hours = Slice(one.tenant_id, one.machine_id, begin, end, minutes_from is not None and begin < minutes_from)
        before = found[-1] if found else None
        if before is not None and hours == replace(before, from_ts=begin, to_ts=end) and begin <= before.to_ts:
            found[-1] = replace(before, to_ts=max(before.to_ts, end))
        else:
            found.append(hours)
    return found


def _stretches(slices: Sequence[Slice]) -> tuple[Any, ...]:
    return _columns([(one.tenant_id, one.machine_id, one.from_ts, one.to_ts) for one in slices], 4)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> tuple[list[Any], ...]:
    return tuple([row[index] for row in rows] for index in range(width))


def _rows(key: asyncpg.Record, made: Rollup) -> list[tuple[Any, ...]]:
    """Rows of a roll-up, as the insert takes them."""
    tenant_id, machine_id, layout_id, rate_group = (
        key[name] for name in ("tenant_id", "machine_id", "layout_id", "rate_group")
    )
    counts = made.count.tolist()
    return [
        (
            instant(time),
            tenant_id,
            machine_id,
            layout_id,
            rate_group,
            counts[n],
            made.mean[n],
            made.low[n],
            made.high[n],
        )
        for n, time in enumerate(made.times.tolist())
    ]
