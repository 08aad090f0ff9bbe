"""Deleting what is older than the settings keep, in bounded steps, and no reading before it has been rolled up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db import upkeep_sql as sql
from gnn_service.db.repository import Connection

STEP_ROWS: Final = 20_000


class ReadingsWaitError(Exception):
    """Readings that are to be deleted are not rolled up yet; rolls the step back, and the next round tries again."""


@dataclass(frozen=True, slots=True)
class Aged:
    """A table and how many days its rows are kept. ``rolled_up``: only what the roll-ups hold may go."""

    table: str
    days: int
    rolled_up: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a step deleted: rows, or chunks of TimescaleDB's; and whether ``more`` is there."""

    count: int
    more: bool


def aged(settings: UpkeepSettings) -> tuple[Aged, ...]:
    """What is kept by age, coarsest last: minutes outlive frames, hours minutes."""
    kept = (
        ("frame", settings.frames_days, True),
        ("sensor_event", settings.frames_days, False),
        ("operation", settings.frames_days, False),
        ("rollup_1m", settings.minutes_days, True),
        ("rollup_1h", settings.hours_days, False),
        ("diagnosis", settings.diagnoses_days, False),
    )
    return tuple(Aged(table, days, rolled) for table, days, rolled in kept if days is not None)


async def delete_step(con: Connection, what: Aged) -> Deleted:
    """Delete a bounded part of what is too old, in the caller's transaction.

    A frame and the note that it is to be rolled up are written together, so whoever sees no note after the deletion
    has deleted no frame that was still to be read.

    Raises:
        ReadingsWaitError: the transaction is to be rolled back.
    """
    cutoff: datetime = await con.fetchval(sql.CUTOFF, what.days)
    if what.rolled_up:  # first, so that roll-ups of before are no longer replaced by what is left of their frames
        await con.execute(sql.KEEP_FROM, what.table, cutoff)
    deleted = await _delete(con, what.table, cutoff)
    if what.rolled_up and await con.fetchval(sql.UNROLLED, cutoff):
        raise ReadingsWaitError(what.table)
    return deleted


async def _delete(con: Connection, table: str, cutoff: datetime) -> Deleted:
    if await con.fetchval(sql.HAS_CHUNKS) and await con.fetchval(sql.IS_HYPERTABLE, table):
        return Deleted(await con.fetchval(sql.DROP, table, cutoff), more=False)
    tag = await con.execute(sql.delete_aged(table), cutoff, STEP_ROWS)
    count = int(tag.rpartition(" ")[2])
    return Deleted(count, more=count == STEP_ROWS)
