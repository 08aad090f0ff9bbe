-- How far files of readings have been brought in. Every statement may run again.

-- source is a digest of the file. rows of it are in the tables: a row here is written after them, so that an import
-- that was cut off goes on where it was, and one into another database begins anew.
create table if not exists transfer (
    tenant_id    int not null,
    machine_id   int not null,
    source       text not null,
    rows         bigint not null check (rows >= 0),
    updated_at   timestamptz not null default now(),
    primary key (tenant_id, machine_id, source),
    foreign key (tenant_id, machine_id) references machine on delete cascade
);
