-- What the upkeep keeps in mind between its rounds (db/upkeep.py). Every statement may run again.

-- Stretches [from_ts, to_ts) of a machine whose roll-ups are to be computed anew: what was collected from
-- rollup_stale, in whole minutes, overlapping ones joined. One process at a time works it off, bit by bit.
create table if not exists rollup_due (
    due_id       bigint generated always as identity primary key,
    tenant_id    int not null,
    machine_id   int not null,
    from_ts      timestamptz not null,
    to_ts        timestamptz not null check (to_ts > from_ts)
);
create index if not exists rollup_due_newest on rollup_due (from_ts desc);

-- Facts about the whole database. kept_from:<table> = everything before `at` was or may be deleted by age.
create table if not exists upkeep_state (
    name         text primary key,
    at           timestamptz,
    document     jsonb not null default '{}',
    updated_at   timestamptz not null default now()
);

-- Queues: a page of dead rows is more than they ever hold, so they are cleaned by number, not by share.
alter table rollup_stale set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table rollup_due set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The newest minutes and hours are written again and again: half-full pages keep that off the index.
alter table rollup_1h set (fillfactor = 80);
