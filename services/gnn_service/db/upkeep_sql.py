"""The statements of the upkeep. Times are bound as timestamptz; stretches are half-open, [from_ts, to_ts)."""

from typing import Final

LOCK: Final = "select pg_try_advisory_xact_lock(x'676e6e75706b'::bigint)"  # "gnnupk": one process at a time
BY_TIMESCALE: Final = "select to_regclass('gnn.rollup_1m_timescale') is not null"

_TAKEN = """
with taken as (
    delete from rollup_stale where stale_id in (select stale_id from rollup_stale order by stale_id limit $1)
    returning tenant_id, machine_ids, from_ts, to_ts)"""

FORGET: Final = f"{_TAKEN} select count(*) as taken from taken"  # noqa: S608 - constants
"""Drop what TimescaleDB has noted itself."""

COLLECT: Final = f"""{_TAKEN},
touched as (
    select t.tenant_id, s.machine_id,
           tstzrange(date_bin('1 minute', s.from_ts, 'epoch'),
                     date_bin('1 minute', s.to_ts, 'epoch') + interval '1 minute') as stretch
    from taken t, unnest(t.machine_ids, t.from_ts, t.to_ts) s(machine_id, from_ts, to_ts)),
known as (
    delete from rollup_due d using (select distinct tenant_id, machine_id from touched) t
    where d.tenant_id = t.tenant_id and d.machine_id = t.machine_id
    returning d.tenant_id, d.machine_id, tstzrange(d.from_ts, d.to_ts) as stretch),
joined as (
    select tenant_id, machine_id, range_agg(stretch) as stretches
    from (select * from touched union all select * from known) a group by 1, 2),
added as (
    insert into rollup_due (tenant_id, machine_id, from_ts, to_ts)
    select j.tenant_id, j.machine_id, lower(s), upper(s) from joined j, unnest(j.stretches) s
    returning 1)
select count(*) as taken from taken
"""  # noqa: S608 - constants
"""Move what writers noted into the list of what is due, in whole minutes, overlapping stretches made one."""

DUE: Final = """
select d.due_id, d.tenant_id, d.machine_id, d.from_ts, d.to_ts,
       coalesce((select sum(g.rate_hz * w.width) from rate_group g,
                 lateral (select max(cardinality(l.sensor_ids)) as width from layout l
                          where l.tenant_id = g.tenant_id and l.machine_id = g.machine_id
                            and l.rate_group = g.rate_group) w
                 where g.tenant_id = d.tenant_id and g.machine_id = d.machine_id), 0)::float8 as values_per_s
from rollup_due d order by d.to_ts desc, d.due_id limit $1
"""
"""The newest stretches first, and how many values a second of each should have."""

REACH: Final = """
select max(f.ts) from rate_group g,
lateral (select max(cardinality(l.sensor_ids)) as width from layout l
         where l.tenant_id = g.tenant_id and l.machine_id = g.machine_id and l.rate_group = g.rate_group) w,
lateral (select ts from frame f where f.tenant_id = g.tenant_id and f.machine_id = g.machine_id
           and f.rate_group = g.rate_group and f.ts >= $3 and f.ts < $4
         order by f.ts desc offset least($5::float8 / w.width, $6)::bigint limit 1) f
where g.tenant_id = $1 and g.machine_id = $2
"""
"""Back to when the newest frames of a stretch are $5 values, or $6 frames; null: it has not so many."""

_SLICES = "unnest($1::int[], $2::int[], $3::timestamptz[], $4::timestamptz[]) s(tenant_id, machine_id, from_ts, to_ts)"
_GROUPS = "join rate_group g on g.tenant_id = s.tenant_id and g.machine_id = s.machine_id"
# "offset 0" keeps the planner from joining the other way round: each stretch is one descent of the primary key
FRAMES: Final = f"""
select f.tenant_id, f.machine_id, f.layout_id, f.rate_group,
       array_agg(f.ts order by f.ts) as times, array_agg(f.vals order by f.ts) as vals
from {_SLICES} {_GROUPS},
lateral (select * from frame f where f.tenant_id = s.tenant_id and f.machine_id = s.machine_id
           and f.rate_group = g.rate_group and f.ts >= s.from_ts and f.ts < s.to_ts offset 0) f
group by f.tenant_id, f.machine_id, f.layout_id, f.rate_group, s.from_ts
"""  # noqa: S608 - constants
MINUTES: Final = f"""
select r.tenant_id, r.machine_id, r.layout_id, r.rate_group, array_agg(r.ts order by r.ts) as times,
       array_agg(r.count::real[] order by r.ts) as count, array_agg(r.mean order by r.ts) as mean,
       array_agg(r.low order by r.ts) as low, array_agg(r.high order by r.ts) as high
from {_SLICES} {_GROUPS},
lateral (select * from rollup_1m r where r.tenant_id = s.tenant_id and r.machine_id = s.machine_id
           and r.rate_group = g.rate_group and r.ts >= s.from_ts and r.ts < s.to_ts offset 0) r
group by r.tenant_id, r.machine_id, r.layout_id, r.rate_group, s.from_ts
"""  # noqa: S608 - constants
"""Counts travel as real[], which is exact below 2**24 values a minute."""

_CLEAR = f"""
delete from {{table}} r using {_SLICES} {_GROUPS}
where r.tenant_id = s.tenant_id and r.machine_id = s.machine_id and r.rate_group = g.rate_group
  and r.ts >= s.from_ts and r.ts < s.to_ts
"""  # noqa: S608 - constants
CLEAR_MINUTES: Final = _CLEAR.format(table="rollup_1m")
CLEAR_HOURS: Final = _CLEAR.format(table="rollup_1h")

_INSERT = """
insert into {table} (ts, tenant_id, machine_id, layout_id, rate_group, count, mean, low, high)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing
"""
INSERT_MINUTES: Final = _INSERT.format(table="rollup_1m")
INSERT_HOURS: Final = _INSERT.format(table="rollup_1h")

DONE: Final = "delete from rollup_due where due_id = any($1::bigint[])"
SHORTEN: Final = """
update rollup_due d set to_ts = s.to_ts from unnest($1::bigint[], $2::timestamptz[]) s(due_id, to_ts)
where d.due_id = s.due_id
"""

# ---- retention ---------------------------------------------------------------------------------------------------

CUTOFF: Final = "select date_bin('1 day', now() - make_interval(days => $1), 'epoch')"
UNROLLED: Final = """
select exists (select from rollup_due where from_ts < $1)
    or exists (select from rollup_stale s, unnest(s.from_ts) f where f < $1)
"""
"""Whether readings of before are still to be rolled up."""
KEPT_FROM: Final = "select name, at from upkeep_state where name like 'kept_from:%'"
KEEP_FROM: Final = """
insert into upkeep_state (name, at) values ('kept_from:' || $1::text, $2)
on conflict (name) do update set at = greatest(upkeep_state.at, excluded.at), updated_at = now()
where upkeep_state.at is distinct from excluded.at
"""
HAS_CHUNKS: Final = """
select to_regproc('gnn.drop_before') is not null and to_regclass('timescaledb_information.hypertables') is not null
"""
IS_HYPERTABLE: Final = """
select exists (select from timescaledb_information.hypertables where hypertable_schema = 'gnn' and hypertable_name = $1)
"""
DROP: Final = "select gnn.drop_before($1, $2)"

_PREFIXES = {
    "frame": ("rate_group", "rate_group"),
    "rollup_1m": ("rate_group", "rate_group"),
    "rollup_1h": ("rate_group", "rate_group"),
    "sensor_event": ("sensor", "sensor_id"),
    "operation": ("machine", None),
    "diagnosis": ("machine", None),
}
AGED: Final = tuple(_PREFIXES)


def delete_aged(table: str) -> str:
    """Delete at most $2 rows of before $1, each machine's oldest first, by descents of the primary key."""
    source, column = _PREFIXES[table]
    same = "" if column is None else f" and r.{column} = p.{column}"
    return f"""
delete from only {table} where ctid = any(array(
    select r.ctid from {source} p,
    lateral (select r.ctid from {table} r where r.tenant_id = p.tenant_id and r.machine_id = p.machine_id{same}
               and r.ts < $1 order by r.ts limit $2) r
    limit $2))
"""  # noqa: S608 - names from the table above
