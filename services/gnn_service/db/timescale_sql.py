"""The statements of the TimescaleDB layer (docs.tigerdata.com, API reference; TimescaleDB 2.13 and newer)."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from gnn_service.core.config_upkeep import UpkeepSettings
from gnn_service.db.capability import Capability

_BATCHES_SINCE: Final = (2, 19)
INTERVALS: Final = {
    "frame": "1 day",
    "sensor_event": "7 days",
    "operation": "7 days",
    "diagnosis": "7 days",
}
"""Hypertables and their chunks: a day of frames, 10 M at 10 machines of 10 Hz, is a quarter of a small memory."""

DROP_BEFORE: Final = """
create or replace function gnn.drop_before(wanted text, before timestamptz) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    place text := (select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
                   where e.extname = 'timescaledb');
    dropped bigint;
begin
    if wanted not in ('frame', 'sensor_event', 'operation', 'diagnosis') then
        raise exception '% is not kept by age', wanted using errcode = 'insufficient_privilege';
    end if;
    execute format('select count(*) from %I.drop_chunks(%L::regclass, older_than => $1)', place, 'gnn.' || wanted)
        into dropped using before;
    return dropped;
end $$;
revoke execute on function gnn.drop_before from public;
do $$ begin
    if exists (select from pg_roles where rolname = 'gnn_app') then
        grant execute on function gnn.drop_before to gnn_app;
    end if;
end $$;
"""
"""Chunks may be dropped by the table's owner alone; the service gets just this of it."""

# materialized only: with what is not refreshed yet, a question first plans over every chunk of frames, for seconds
ROLLUP_1M: Final = """
create materialized view if not exists gnn.rollup_1m_timescale
    with (timescaledb.continuous, timescaledb.materialized_only = true) as
select time_bucket('1 minute', f.ts) as ts, f.tenant_id, f.machine_id, f.layout_id, f.rate_group, p.pos::int as pos,
       count(*) filter (where p.v <> 'NaN') as count, avg(p.v) filter (where p.v <> 'NaN') as mean,
       min(p.v) filter (where p.v <> 'NaN') as low, max(p.v) filter (where p.v <> 'NaN') as high
from gnn.frame f, unnest(f.vals) with ordinality p(v, pos)
group by 1, 2, 3, 4, 5, 6 with no data
"""
ROLLUP_1H: Final = """
create materialized view if not exists gnn.rollup_1h_timescale
    with (timescaledb.continuous, timescaledb.materialized_only = true) as
select time_bucket('1 hour', m.ts) as ts, m.tenant_id, m.machine_id, m.layout_id, m.rate_group, m.pos,
       sum(m.count)::bigint as count, sum(m.mean * m.count) / nullif(sum(m.count), 0) as mean,
       min(m.low) as low, max(m.high) as high
from gnn.rollup_1m_timescale m
group by 1, 2, 3, 4, 5, 6 with no data
"""
_READ = """
create or replace view gnn.reading_{bucket} with (security_invoker = true) as
select ts, tenant_id, machine_id, layout_id, rate_group, array_agg(count::int order by pos) as count,
       array_agg(coalesce(mean, 'NaN')::real order by pos) as mean,
       array_agg(coalesce(low, 'NaN')::real order by pos) as low,
       array_agg(coalesce(high, 'NaN')::real order by pos) as high
from gnn.rollup_{bucket}_timescale
group by ts, tenant_id, machine_id, layout_id, rate_group;
create or replace function gnn.rolled_{bucket}(
    tenant int, machine int, rates smallint, layout int, place int, from_ts timestamptz, to_ts timestamptz
) returns table (ts timestamptz, count bigint, mean float8, low real, high real)
language sql stable parallel safe as $$
    select r.ts, r.count::bigint, r.mean::float8, r.low::real, r.high::real
    from gnn.rollup_{bucket}_timescale r
    where r.tenant_id = tenant and r.machine_id = machine and r.rate_group = rates and r.layout_id = layout
      and r.pos = place and r.ts >= from_ts and r.ts < to_ts
$$;
"""
READ_TIMESCALE: Final = _READ.format(bucket="1m") + _READ.format(bucket="1h")
"""The readers' views over the continuous aggregates, in the shape of the service's own roll-ups."""

REMEMBER_POLICIES: Final = """
insert into gnn.upkeep_state (name, document) values ('timescale_policies', $1::text::jsonb)
on conflict (name) do update set document = excluded.document, updated_at = now()
"""


@dataclass(frozen=True, slots=True)
class Policies:
    """Statements that take policies away, and those that set them, each with what it is called."""

    removals: tuple[str, ...]
    additions: tuple[tuple[str, str], ...]


def hypertable(table: str, interval: str) -> str:
    """The statement that cuts a table by time. Its primary key is all the index it needs."""
    return (
        f"select create_hypertable('gnn.{table}', by_range('ts', interval '{interval}'),"
        " create_default_indexes => false, if_not_exists => true, migrate_data => true)"
    )


def compression(table: str, after_days: int, *, columnstore: bool) -> tuple[str, str]:
    """The statements that allow compression and that set its policy, under the names of the version."""
    allow, prefix = ("enable_columnstore", "") if columnstore else ("compress", "compress_")
    options = (f"{allow}", f"{prefix}segmentby = 'tenant_id, machine_id, rate_group'", f"{prefix}orderby = 'ts'")
    enable = f"alter table gnn.{table} set ({', '.join('timescaledb.' + option for option in options)})"
    if columnstore:
        after = f"after => interval '{after_days} days'"
        return enable, f"call add_columnstore_policy('gnn.{table}', {after}, if_not_exists => true)"
    return enable, f"select add_compression_policy('gnn.{table}', {_days(after_days)}, if_not_exists => true)"


def policies(upkeep: UpkeepSettings, hypertables: Collection[str], server: Capability) -> Policies:
    """Refreshing of the roll-ups and retention of everything, as the settings say.

    The roll-ups are refreshed for as long as their frames are surely there: what retention has dropped would be
    rolled up as nothing.
    """
    kept = {
        "frame": upkeep.frames_days,
        "sensor_event": upkeep.frames_days,
        "operation": upkeep.frames_days,
        "diagnosis": upkeep.diagnoses_days,
        "rollup_1m_timescale": upkeep.minutes_days,
        "rollup_1h_timescale": upkeep.hours_days,
    }
    kept = {table: days for table, days in kept.items() if table in hypertables or table not in INTERVALS}
    removals = [f"select remove_retention_policy('gnn.{table}', if_exists => true)" for table in kept]
    removals += [
        f"select remove_continuous_aggregate_policy('gnn.rollup_{bucket}_timescale', if_exists => true)"
        for bucket in ("1h", "1m")
    ]
    remove_compression = (
        "call remove_columnstore_policy('gnn.frame', if_exists => true)"
        if server.has_columnstore
        else "select remove_compression_policy('gnn.frame', if_exists => true)"
    )
    minutes = _Refresh("1m", upkeep.frames_days, "1 minute", "1 minute", 24 * 60)
    hours = _Refresh("1h", upkeep.minutes_days, "1 minute", "10 minutes", 24 * 30)
    additions = [(f"refresh of roll-ups of {one.bucket}", one.statement(server)) for one in (minutes, hours)]
    additions += [
        (f"retention of {table}", f"select add_retention_policy('gnn.{table}', {_days(days)}, if_not_exists => true)")
        for table, days in kept.items()
        if days is not None
    ]
    return Policies((*removals, remove_compression), tuple(additions))


def fingerprint(upkeep: UpkeepSettings) -> str:
    """What the policies were made from, as PostgreSQL writes jsonb."""
    names = ("frames_days", "minutes_days", "hours_days", "diagnoses_days", "compress_days")
    ordered = sorted(names, key=lambda name: (len(name), name))
    return json.dumps({name: getattr(upkeep, name) for name in ordered})


@dataclass(frozen=True, slots=True)
class _Refresh:
    """How a roll-up is refreshed: ``kept_days`` of what it is made of, up to ``end`` ago, ``every`` so often.

    At most ``batch`` buckets in one transaction; the default of one (2.19 to 2.23) is slow, and in 2.23 left out
    buckets that were invalidated together with older ones.
    """

    bucket: str
    kept_days: int | None
    end: str
    every: str
    batch: int

    def statement(self, server: Capability) -> str:
        """The policy, as the version takes it."""
        start = "null" if self.kept_days is None else _days(max(self.kept_days - 1, 1))
        batched = server.timescale is not None and server.timescale[:2] >= _BATCHES_SINCE
        return (
            f"select add_continuous_aggregate_policy('gnn.rollup_{self.bucket}_timescale', start_offset => {start},"
            f" end_offset => interval '{self.end}', schedule_interval => interval '{self.every}',"
            f"{f' buckets_per_batch => {self.batch},' if batched else ''} if_not_exists => true)"
        )


def _days(days: int) -> str:
    return f"interval '{days} days'"
