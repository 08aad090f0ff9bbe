-- One position of a layout out of the roll-ups, for histories. SQL functions that the planner inlines: where TimescaleDB
-- keeps the roll-ups, they are made anew over its rows, one a position, instead of arrays made of them.
create or replace function gnn.rolled_1m(
    tenant int, machine int, rates smallint, layout int, place int, from_ts timestamptz, to_ts timestamptz
) returns table (ts timestamptz, count bigint, mean float8, low real, high real)
language sql stable parallel safe as $$
    select r.ts, r.count[place]::bigint, r.mean[place]::float8, r.low[place], r.high[place]
    from gnn.rollup_1m r
    where r.tenant_id = tenant and r.machine_id = machine and r.rate_group = rates and r.layout_id = layout
      and r.ts >= from_ts and r.ts < to_ts
$$;
create or replace function gnn.rolled_1h(
    tenant int, machine int, rates smallint, layout int, place int, from_ts timestamptz, to_ts timestamptz
) returns table (ts timestamptz, count bigint, mean float8, low real, high real)
language sql stable parallel safe as $$
    select r.ts, r.count[place]::bigint, r.mean[place]::float8, r.low[place], r.high[place]
    from gnn.rollup_1h r
    where r.tenant_id = tenant and r.machine_id = machine and r.rate_group = rates and r.layout_id = layout
      and r.ts >= from_ts and r.ts < to_ts
$$;
