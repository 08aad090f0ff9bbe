-- The role that serves: it reads and writes rows, and can neither change the schema nor what is append-only.
-- Run after every migration, by the owner of the schema. Every statement may run again.
do $$
begin
    if not exists (select from pg_roles where rolname = 'gnn_app') then
        create role gnn_app nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;    -- another database's migration was faster
    when insufficient_privilege then
        raise warning 'role gnn_app is missing and % may not create it', current_user;
end $$;

do $$
begin
    if not exists (select from pg_roles where rolname = 'gnn_app') then
        return;
    end if;
    grant gnn_app to current_user;                          -- the owner may serve as gnn_app
exception
    when insufficient_privilege then null;                  -- not this owner's to give
end $$;

do $$
begin
    if exists (select from pg_roles where rolname = 'gnn_app')
            and not (has_database_privilege('gnn_app', current_database(), 'connect')
                     and has_database_privilege('gnn_app', current_database(), 'temporary')) then
        execute format('grant connect, temporary on database %I to gnn_app', current_database());
    end if;
end $$;

do $$
begin
    if not exists (select from pg_roles where rolname = 'gnn_app') then
        return;
    end if;
    grant usage on schema gnn to gnn_app;
    grant select, insert, update, delete on all tables in schema gnn to gnn_app;
    grant usage, select on all sequences in schema gnn to gnn_app;
    revoke insert, update, delete on alembic_version from gnn_app;
    revoke update, delete on audit from gnn_app;
    alter default privileges in schema gnn grant select, insert, update, delete on tables to gnn_app;
    alter default privileges in schema gnn grant usage, select on sequences to gnn_app;
    alter default privileges in schema gnn grant execute on functions to gnn_app;
end $$;
