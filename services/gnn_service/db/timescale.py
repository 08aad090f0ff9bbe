"""TimescaleDB where the server has it: hypertables, compression, continuous aggregates and retention.

A layer over the portable tables, put on after the migrations and again at every later one, because a server may gain
the extension, or another licence, at any time. Every statement may run again and stands for itself: what the server
does not offer (SQLSTATE 0A000, the Apache licence) is left out, and `db.upkeep` does it instead.

Who keeps the roll-ups is decided once, when the layer first meets the Timescale licence: TimescaleDB, unless the
service has already rolled something up, which then stays its task.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db import timescale_sql as sql
from gnn_service.db.capability import Capability
from gnn_service.db.owner import Progress, RawConnection, capability, no_progress
from gnn_service.observability import logs

_log = logs.logger("gnn_service.db.timescale")
LARGE_BYTES: Final = 2**30
_AVAILABLE: Final = """
select exists (select from pg_extension where extname = 'timescaledb') as installed,
       exists (select from pg_available_extensions where name = 'timescaledb') as available,
       current_setting('timescaledb.disable_load', true) is not null as preloaded
"""
_KEPT_BY_TIMESCALE: Final = "select to_regclass('gnn.rollup_1m_timescale') is not null"
_FIND_ITS_FUNCTIONS: Final = """
select set_config('search_path', current_setting('search_path') || ', ' || quote_ident(n.nspname), false)
from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'timescaledb'
"""
_ROLLED_UP: Final = "select exists (select from gnn.rollup_1m) or exists (select from gnn.rollup_1h)"
_IS_HYPERTABLE: Final = """
select exists (select from timescaledb_information.hypertables
               where hypertable_schema = 'gnn' and hypertable_name = $1)
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """What TimescaleDB does here. ``rollups_by``: ``service`` or ``timescale``, which then also does retention.

    ``absent`` names what the licence or version does not offer, ``left`` what was not done and why.
    """

    rollups_by: str = "service"
    hypertables: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


async def state(con: RawConnection) -> Layer:
    """The layer as it is; asks only."""
    found = await con.fetchrow(_AVAILABLE)
    if found is None or not found["installed"]:
        return Layer()
    tables = [name for name in sql.INTERVALS if await con.fetchval(_IS_HYPERTABLE, name)]
    by = "timescale" if await con.fetchval(_KEPT_BY_TIMESCALE) else "service"
    return Layer(by, tuple(tables))


async def apply(
    con: RawConnection, upkeep: UpkeepSettings, *, progress: Progress = no_progress, convert_large: bool = False
) -> Layer:
    """Put the layer on; again: what has changed since. A server without TimescaleDB runs plain."""
    if not await _extension(con):
        return Layer()
    await con.execute(_FIND_ITS_FUNCTIONS)
    return await _Application(con, await capability(con), upkeep, progress).run(convert_large=convert_large)


async def _extension(con: RawConnection) -> bool:
    """Whether the extension is in this database, or could be put there."""
    found = await con.fetchrow(_AVAILABLE)
    if found is None or not found["available"]:
        return False
    if found["installed"]:
        return True
    if not found["preloaded"]:  # creating it would end the connection
        _log.warning(
            "timescaledb_not_preloaded", advice="add timescaledb to shared_preload_libraries and restart the server"
        )
        return False
    try:
        await con.execute("create extension if not exists timescaledb with schema public")
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError) as error:
        _log.warning("timescaledb_not_created", error=str(error), advice="an administrator may create the extension")
        return False
    return True


class _Application:
    """One putting-on of the layer."""

    def __init__(self, con: RawConnection, server: Capability, upkeep: UpkeepSettings, progress: Progress) -> None:
        self._con = con
        self._server = server
        self._upkeep = upkeep
        self._progress = progress
        self._absent: list[str] = []
        self._left: list[str] = []

    async def run(self, *, convert_large: bool) -> Layer:
        """Everything that this server can do."""
        for table, interval in sql.INTERVALS.items():
            await self._hypertable(table, interval, convert_large=convert_large)
        await self._con.execute(sql.DROP_BEFORE)
        by_timescale = await self._rolls_up()
        found = await state(self._con)
        if by_timescale:
            await self._policies(found.hypertables)
        elif self._server.has_policies and "frame" in found.hypertables:
            await self._compress("frame")
        layer = Layer(found.rollups_by, found.hypertables, tuple(self._absent), tuple(self._left))
        _log.info("timescaledb_layer", rollups_by=layer.rollups_by, absent=layer.absent, left=layer.left)
        return layer

    async def _try(self, what: str, statement: str) -> bool:
        """Run one statement; whether the server offers it."""
        try:
            await self._con.execute(statement)
        except asyncpg.FeatureNotSupportedError as error:
            _log.info("timescaledb_feature_absent", feature=what, reason=str(error))
            self._absent.append(what)
            return False
        return True

    async def _hypertable(self, table: str, interval: str, *, convert_large: bool) -> None:
        if await self._con.fetchval(_IS_HYPERTABLE, table):
            return
        size = await self._con.fetchval("select pg_total_relation_size($1::text::regclass)", f"gnn.{table}")
        if size > LARGE_BYTES and not convert_large:
            reason = f"{table} has {size / 2**30:.1f} GB and would be locked while it becomes a hypertable"
            _log.warning("timescaledb_table_left_plain", table=table, reason=reason)
            self._left.append(f"{reason}: gnn-service db migrate --convert-large, in a quiet hour")
            return
        self._progress(f"making {table} a hypertable")
        await self._try(f"hypertable {table}", sql.hypertable(table, interval))

    async def _rolls_up(self) -> bool:
        """Whether TimescaleDB keeps the roll-ups, after making its continuous aggregates where it may."""
        if await self._con.fetchval(_KEPT_BY_TIMESCALE):
            made = True
        elif not self._server.has_policies or not await self._con.fetchval(_IS_HYPERTABLE, "frame"):
            made = False
        elif await self._con.fetchval(_ROLLED_UP):
            self._left.append("the service goes on keeping the roll-ups that it began")
            made = False
        else:
            self._progress("making continuous aggregates")
            made = await self._try("continuous aggregates", sql.ROLLUP_1M) and await self._try(
                "continuous aggregates over continuous aggregates", sql.ROLLUP_1H
            )
        if made:  # also again: a later migration may have made the views anew
            async with self._con.transaction():
                await self._con.execute(sql.READ_TIMESCALE)
        return made

    async def _policies(self, hypertables: tuple[str, ...]) -> None:
        """Compression, refreshing and retention, as the settings say now; the service deletes from plain tables."""
        self._progress("setting policies")
        wanted = sql.policies(self._upkeep, hypertables, self._server)
        stored = await self._con.fetchval("select document::text from upkeep_state where name = 'timescale_policies'")
        if stored != (document := sql.fingerprint(self._upkeep)):
            for removal in wanted.removals:
                await self._try("policies", removal)
        await self._compress("frame")
        for what, statement in wanted.additions:
            await self._try(what, statement)
        await self._con.execute(sql.REMEMBER_POLICIES, document)

    async def _compress(self, table: str) -> None:
        enable, policy = sql.compression(table, self._upkeep.compress_days, columnstore=self._server.has_columnstore)
        if await self._try("compression", enable):
            await self._try("compression policy", policy)
