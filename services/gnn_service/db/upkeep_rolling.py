"""One transaction's worth of roll-ups: which stretches, their frames read, minutes and hours written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
_WHOLE: Final = timedelta(days=1)  # a longer stretch is searched for its readings before it is cut into slices


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
    for row in due:
        if slices and values <= 0:
            break
        from_ts, to_ts = row["from_ts"], await _end(con, row)
        if to_ts is None:
            done.append(row["due_id"])
            continue
        per_s = max(row["values_per_s"], 1e-6)
        reach = timedelta(seconds=min(max(values / per_s, 60.0), 3e9))
        begin = max(from_ts, limits.floor(to_ts), _slice_start(to_ts, reach))
        keep = limits.frames is not None and begin < limits.frames
        slices.append(Slice(row["tenant_id"], row["machine_id"], begin, to_ts, keep))
        values -= (to_ts - begin).total_seconds() * per_s
        if begin > from_ts:
            shortened.append((row["due_id"], begin))
        else:
            done.append(row["due_id"])
    return Batch(tuple(slices), tuple(done), tuple(shortened))


async def _end(con: Connection, row: asyncpg.Record) -> datetime | None:
    """Where the readings of a long stretch end; None where it has none."""
    from_ts, to_ts = row["from_ts"], row["to_ts"]
    if to_ts - from_ts <= _WHOLE:
        return to_ts  # type: ignore[no-any-return]
    newest = await con.fetchval(sql.NEWEST, row["tenant_id"], row["machine_id"], from_ts, to_ts)
    return None if newest is None else min(to_ts, _floor(newest, MINUTE) + MINUTE)


def _slice_start(to_ts: datetime, reach: timedelta) -> datetime:
    """About ``reach`` before the end, at a full hour where that is far enough, so that no hour is rolled up twice."""
    start = max(_EPOCH, to_ts - reach) if to_ts - _EPOCH > reach else _EPOCH
    hour = _floor(start + HOUR - timedelta(microseconds=1), HOUR)
    return hour if hour < to_ts else _floor(start, MINUTE)


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
    hours = [_whole_hours(one, minutes_from) for one in slices]
    await con.execute(sql.CLEAR_HOURS, *_stretches([one for one in hours if not one.keep]))
    buckets = []
    for row in await con.fetch(sql.MINUTES, *_stretches(_distinct(hours))):
        count = row["count"].astype("int64")
        buckets += _rows(row, by_hour(Rollup(row["times"], count, row["mean"], row["low"], row["high"])))
    await con.executemany(sql.INSERT_HOURS, buckets)
    return len(buckets)


def _whole_hours(one: Slice, minutes_from: datetime | None) -> Slice:
    begin, end = _floor(one.from_ts, HOUR), _floor(one.to_ts + HOUR - timedelta(microseconds=1), HOUR)
    return Slice(one.tenant_id, one.machine_id, begin, end, minutes_from is not None and begin < minutes_from)


def _distinct(hours: Iterable[Slice]) -> list[Slice]:
    """Two stretches of a machine in one hour make that hour once."""
    return list(dict.fromkeys(hours))


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
