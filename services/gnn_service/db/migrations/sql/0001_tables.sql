-- The portable core: the same text on embedded PostgreSQL, PostgreSQL 15 or newer, and PostgreSQL with TimescaleDB.
-- Every statement may run again. Tables stand in the schema that comes first in search_path (gnn).
--
-- Times are timestamptz in UTC. A natural key always begins with the tenant; unique keys of the tables that
-- TimescaleDB may cut by time contain ts. Tables of readings carry no foreign keys: a key that points at millions of
-- rows would be checked row by row, and a machine is removed from them in bounded steps.

create table if not exists tenant (
    tenant_id    int generated always as identity primary key,
    name         text not null unique check (name <> ''),
    created_at   timestamptz not null default now()
);
insert into tenant (name) values ('default') on conflict (name) do nothing;

-- ---- machines: what they are -----------------------------------------------------------------------------------

-- A machine that was deleted keeps its row until its readings are gone; its external_id is free at once.
create table if not exists machine (
    tenant_id    int not null references tenant,
    machine_id   int generated always as identity,
    external_id  text not null check (external_id <> ''),   -- id of the description
    name         text not null default '',
    revision     int not null default 1,                    -- counts changes of the description
    fingerprint  text not null,                             -- SHA-256 of the description
    description  json not null,                             -- domain.machine.Machine; json keeps the order of names
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    deleted_at   timestamptz,
    primary key (tenant_id, machine_id)
);
create unique index if not exists machine_external_id on machine (tenant_id, external_id) where deleted_at is null;

-- Every description that a machine has had.
create table if not exists machine_revision (
    tenant_id    int not null,
    machine_id   int not null,
    revision     int not null,
    fingerprint  text not null,
    description  json not null,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, machine_id, revision),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- A sensor in another unit is another sensor: its values do not mix with those before.
create table if not exists sensor (
    tenant_id    int not null,
    machine_id   int not null,
    sensor_id    int generated always as identity,
    external_id  text not null,                             -- the plant's tag
    unit         text not null,                             -- UCUM code
    component    text not null,
    quantity     text not null,
    role         text not null,
    name         text not null default '',
    primary key (tenant_id, sensor_id),
    unique (tenant_id, machine_id, external_id, unit),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- Which sensor stands where in a frame. Never changed: another set of sensors is another layout. Position 1 is
-- vals[1]. version counts the layouts of a rate group.
create table if not exists layout (
    tenant_id    int not null,
    machine_id   int not null,
    layout_id    int generated always as identity,
    rate_group   smallint not null,
    version      int not null,
    digest       text not null,                             -- SHA-256 of the sensor ids: int[] may outgrow an index
    sensor_ids   int[] not null,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, layout_id),
    unique (tenant_id, machine_id, rate_group, version),
    unique (tenant_id, machine_id, rate_group, digest),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- Sensors of one rate share their ticks. layout_id is the layout that new frames have; null where the description
-- has no sensor of this rate any more.
create table if not exists rate_group (
    tenant_id    int not null,
    machine_id   int not null,
    rate_group   smallint not null,
    rate_hz      float8 not null check (rate_hz > 0),
    layout_id    int,
    primary key (tenant_id, machine_id, rate_group),
    unique (tenant_id, machine_id, rate_hz),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- ---- readings --------------------------------------------------------------------------------------------------

-- The hot table: one row a machine, rate group and tick. A missing value is 'NaN', never a null element, so that the
-- binary form of vals has a fixed width. The primary key serves the window and makes writes repeatable.
create table if not exists frame (
    ts           timestamptz not null,
    tenant_id    int not null,
    machine_id   int not null,
    layout_id    int not null,
    rate_group   smallint not null,
    vals         real[] not null,
    primary key (tenant_id, machine_id, rate_group, ts)
);

-- Single values of sensors that follow no tick.
create table if not exists sensor_event (
    ts           timestamptz not null,
    tenant_id    int not null,
    machine_id   int not null,
    sensor_id    int not null,
    value        float8 not null,
    primary key (tenant_id, machine_id, sensor_id, ts)
);

-- What the machine was doing from ts on, written where it changes: cycle, phase of the duty cycle, operating state.
create table if not exists operation (
    ts               timestamptz not null,
    tenant_id        int not null,
    machine_id       int not null,
    cycle            bigint,
    phase            text,
    operating_state  text,
    primary key (tenant_id, machine_id, ts)
);

-- Roll-ups of frames, by minute and hour: position n of each array is position n of the layout. count is the number
-- of present values; mean, low and high are 'NaN' where it is 0. ts is the start of the bucket, in UTC. Readers use
-- the views reading_1m and reading_1h: where TimescaleDB keeps the roll-ups, these read its continuous aggregates.
create table if not exists rollup_1m (
    ts           timestamptz not null,
    tenant_id    int not null,
    machine_id   int not null,
    layout_id    int not null,
    rate_group   smallint not null,
    count        int[] not null,
    mean         real[] not null,
    low          real[] not null,
    high         real[] not null,
    primary key (tenant_id, machine_id, rate_group, ts, layout_id)
);
create table if not exists rollup_1h (
    ts           timestamptz not null,
    tenant_id    int not null,
    machine_id   int not null,
    layout_id    int not null,
    rate_group   smallint not null,
    count        int[] not null,
    mean         real[] not null,
    low          real[] not null,
    high         real[] not null,
    primary key (tenant_id, machine_id, rate_group, ts, layout_id)
);
create or replace view reading_1m with (security_invoker = true) as
    select ts, tenant_id, machine_id, layout_id, rate_group, count, mean, low, high from rollup_1m;
create or replace view reading_1h with (security_invoker = true) as
    select ts, tenant_id, machine_id, layout_id, rate_group, count, mean, low, high from rollup_1h;

-- What the roll-ups do not know yet. Whoever writes frames adds, in the same transaction, one row: for each machine
-- that was touched, from its first to its last time (machine n's stretch is [from_ts[n], to_ts[n]], so that one wrong
-- clock concerns its own machine alone). The upkeep deletes rows and, in a later statement of the same transaction,
-- computes those minutes and then their hours anew: a row that is seen is a write that is seen, so no write is
-- missed, however late, and nobody waits for anybody.
create table if not exists rollup_stale (
    stale_id     bigint generated always as identity primary key,
    tenant_id    int not null,
    machine_ids  int[] not null,
    from_ts      timestamptz[] not null,
    to_ts        timestamptz[] not null,
    check (cardinality(machine_ids) = cardinality(from_ts) and cardinality(from_ts) = cardinality(to_ts))
);

-- ---- what was made of the readings -----------------------------------------------------------------------------

-- origin: stream (the service's own), request, backfill. request_id is '' where nobody asked.
create table if not exists diagnosis (
    ts             timestamptz not null,                    -- end of the window
    tenant_id      int not null,
    machine_id     int not null,
    model_version  text not null,
    origin         text not null default 'stream' check (origin in ('stream', 'request', 'backfill')),
    request_id     text not null default '',
    window_start   timestamptz not null,
    health         real,
    anomaly        real,
    state          text not null,
    recalibrate    boolean not null default false,
    document       jsonb not null,                          -- domain.diagnosis.Diagnosis
    created_at     timestamptz not null default now(),
    primary key (tenant_id, machine_id, ts, model_version, origin, request_id)
);

-- Episodes (ISA-18.2). Nobody opens the same episode twice: what is wrong and since when is its natural key.
create table if not exists alarm (
    tenant_id      int not null,
    alarm_id       bigint generated always as identity,
    machine_id     int not null,
    component      text not null,                           -- '' is the machine
    fault          text not null default '',                -- failure mode, '' where none is named
    opened_at      timestamptz not null,                    -- data time
    state          text not null check (state in ('active_unack', 'active_ack', 'rtn_unack', 'normal', 'shelved',
                                                  'suppressed', 'out_of_service')),
    version        int not null default 0,                  -- number of transitions
    priority       text not null default 'low' check (priority in ('low', 'medium', 'high', 'critical')),
    changed_at     timestamptz not null,                    -- data time of the last transition
    closed_at      timestamptz,                             -- data time; null while the episode lasts
    document       jsonb not null default '{}',
    created_at     timestamptz not null default now(),
    primary key (tenant_id, alarm_id),
    unique (tenant_id, machine_id, component, fault, opened_at),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);
create index if not exists alarm_open on alarm (tenant_id, machine_id) where closed_at is null;
create index if not exists alarm_by_time on alarm (tenant_id, opened_at desc);

create table if not exists alarm_transition (
    tenant_id      int not null,
    alarm_id       bigint not null,
    version        int not null,                            -- 1 is the first after the opening
    from_state     text not null,
    to_state       text not null,
    at             timestamptz not null,
    actor          text not null default '',
    reason         text not null default '',
    created_at     timestamptz not null default now(),
    primary key (tenant_id, alarm_id, version),
    foreign key (tenant_id, alarm_id) references alarm on delete cascade
);

-- What healthy running of a machine looks like to a bundle; the newest counts. fitted_from and fitted_to are the
-- commissioning range, from which another bundle learns its own.
create table if not exists baseline (
    tenant_id      int not null,
    machine_id     int not null,
    bundle         text not null,
    fitted_at      timestamptz not null,
    fitted_from    timestamptz,
    fitted_to      timestamptz,
    document       jsonb not null,                          -- model.baseline.Baseline
    created_at     timestamptz not null default now(),
    primary key (tenant_id, machine_id, bundle, fitted_at),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- What the service carries from window to window: slow path and drift. until is the data time it has seen.
create table if not exists machine_state (
    tenant_id      int not null,
    machine_id     int not null,
    bundle         text not null,
    until          timestamptz not null,
    document       jsonb not null,
    updated_at     timestamptz not null default now(),
    primary key (tenant_id, machine_id, bundle),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);

-- ---- the service itself ----------------------------------------------------------------------------------------

-- Which model answered from when on. The newest of a role counts; model_version '' ends a shadow.
create table if not exists model_activation (
    tenant_id      int not null references tenant,
    role           text not null check (role in ('active', 'shadow')),
    activated_at   timestamptz not null,
    model_version  text not null,
    fingerprint    text not null default '',
    actor          text not null default '',
    note           text not null default '',
    created_at     timestamptz not null default now(),
    primary key (tenant_id, role, activated_at)
);

-- A key itself is shown once and never stored: key_hash is its SHA-256, enough for 256 random bits.
create table if not exists api_key (
    tenant_id      int not null references tenant,
    key_id         int generated always as identity,
    key_hash       bytea not null unique check (length(key_hash) = 32),
    prefix         text not null,                           -- the beginning, to tell keys apart
    name           text not null check (name <> ''),
    scopes         text[] not null default '{}',
    created_by     text not null default '',
    created_at     timestamptz not null default now(),
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz,
    primary key (tenant_id, key_id)
);

-- Who did what. Rows are added and never changed; event_id makes a repeated write harmless.
create table if not exists audit (
    tenant_id      int not null references tenant,
    audit_id       bigint generated always as identity,
    event_id       uuid not null,
    at             timestamptz not null,
    actor          text not null,
    action         text not null,
    subject        text not null default '',
    detail         jsonb not null default '{}',
    request_id     text not null default '',
    created_at     timestamptz not null default now(),
    primary key (tenant_id, audit_id),
    unique (tenant_id, event_id)
);
create index if not exists audit_by_time on audit (tenant_id, at desc);

create or replace function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'audit is append-only' using errcode = 'insufficient_privilege';
end $$;
create or replace trigger audit_append_only before update or delete or truncate on audit
    for each statement execute function audit_is_append_only();

-- ---- views for people and Grafana ------------------------------------------------------------------------------

-- One row a value. Name a machine, a sensor and a time: then one index descent finds the frames.
create or replace view sensor_reading with (security_invoker = true) as
    select f.ts, m.tenant_id, m.external_id as machine, s.component, s.external_id as sensor, s.unit,
           f.vals[p.pos]::float8 as value
    from machine m
    join sensor s on s.tenant_id = m.tenant_id and s.machine_id = m.machine_id
    join layout l on l.tenant_id = m.tenant_id and l.machine_id = m.machine_id
    cross join lateral (select array_position(l.sensor_ids, s.sensor_id) as pos) p
    join frame f on f.tenant_id = m.tenant_id and f.machine_id = m.machine_id
                and f.rate_group = l.rate_group and f.layout_id = l.layout_id
    where m.deleted_at is null and p.pos is not null and f.vals[p.pos] <> 'NaN'
    union all
    select e.ts, m.tenant_id, m.external_id, s.component, s.external_id, s.unit, e.value
    from machine m
    join sensor s on s.tenant_id = m.tenant_id and s.machine_id = m.machine_id
    join sensor_event e on e.tenant_id = m.tenant_id and e.machine_id = m.machine_id and e.sensor_id = s.sensor_id
    where m.deleted_at is null;

create or replace view sensor_reading_1m with (security_invoker = true) as
    select r.ts, m.tenant_id, m.external_id as machine, s.component, s.external_id as sensor, s.unit,
           r.count[p.pos] as count, r.mean[p.pos]::float8 as mean, r.low[p.pos]::float8 as low,
           r.high[p.pos]::float8 as high
    from machine m
    join sensor s on s.tenant_id = m.tenant_id and s.machine_id = m.machine_id
    join layout l on l.tenant_id = m.tenant_id and l.machine_id = m.machine_id
    cross join lateral (select array_position(l.sensor_ids, s.sensor_id) as pos) p
    join reading_1m r on r.tenant_id = m.tenant_id and r.machine_id = m.machine_id
                     and r.rate_group = l.rate_group and r.layout_id = l.layout_id
    where m.deleted_at is null and p.pos is not null and r.count[p.pos] > 0;

create or replace view sensor_reading_1h with (security_invoker = true) as
    select r.ts, m.tenant_id, m.external_id as machine, s.component, s.external_id as sensor, s.unit,
           r.count[p.pos] as count, r.mean[p.pos]::float8 as mean, r.low[p.pos]::float8 as low,
           r.high[p.pos]::float8 as high
    from machine m
    join sensor s on s.tenant_id = m.tenant_id and s.machine_id = m.machine_id
    join layout l on l.tenant_id = m.tenant_id and l.machine_id = m.machine_id
    cross join lateral (select array_position(l.sensor_ids, s.sensor_id) as pos) p
    join reading_1h r on r.tenant_id = m.tenant_id and r.machine_id = m.machine_id
                     and r.rate_group = l.rate_group and r.layout_id = l.layout_id
    where m.deleted_at is null and p.pos is not null and r.count[p.pos] > 0;

-- Health of every component, one row a diagnosis and component.
create or replace view component_health with (security_invoker = true) as
    select d.ts, d.tenant_id, m.external_id as machine, d.model_version, d.origin,
           c ->> 'component' as component, (c ->> 'health')::real as health, c ->> 'state' as state
    from diagnosis d
    join machine m on m.tenant_id = d.tenant_id and m.machine_id = d.machine_id
    cross join lateral jsonb_array_elements(d.document -> 'components') c
    where m.deleted_at is null;
