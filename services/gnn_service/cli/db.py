"""`gnn-service db`: the schema brought up to date and described, the database saved to a file and put back."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gnn_service.cli import db_transfer
from gnn_service.cli.console import err, out, print_json
from gnn_service.observability.logs import configure_logs

if TYPE_CHECKING:
    from gnn_service.db.owner import Progress
    from gnn_service.db.schema import SchemaStatus

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("import")(db_transfer.import_readings)
app.command("export")(db_transfer.export_readings)

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_TIMEOUT = Annotated[float, typer.Option("--timeout", min=0.01, max=1000, help="Hours that it may take, at most.")]


@app.callback()
def _db() -> None:
    """Migrate, describe, fill, save and restore the database: that of GNN_DATABASE__URL, or the embedded one."""
    configure_logs("warning", "auto")


@app.command()
def migrate(
    convert_large: bool = typer.Option(
        False, "--convert-large", help="Make TimescaleDB's tables of those over 1 GB too; they are locked meanwhile."
    ),
    as_json: _JSON = False,
) -> None:
    """Bring the schema up to date, as the owner (GNN_DATABASE__OWNER_URL, else GNN_DATABASE__URL). Again: no harm."""
    from gnn_service.core.config import load_settings
    from gnn_service.db import schema
    from gnn_service.db.place import place

    settings = load_settings().database

    async def work(progress: "Progress") -> schema.Migrated:
        async with place(settings, make=True, progress=progress) as here:
            return await schema.migrate(
                here.owner, settings.migration, settings.upkeep, progress=progress, convert_large=convert_large
            )

    done = _run(work)
    if as_json:
        print_json({"migrated": list(done.run), **_status(done.status)})
        return
    before = f"ran {', '.join(done.run)}" if done.run else "nothing to do"
    _print_status(done.status, before)


@app.command()
def status(as_json: _JSON = False) -> None:
    """What the database is: server, schema, roles, and who keeps the roll-ups. Exit status 1: migrate it."""
    from gnn_service.core.config import load_settings
    from gnn_service.core.errors import DatabaseRefusedError
    from gnn_service.db import schema
    from gnn_service.db.place import place

    settings = load_settings().database

    async def work(progress: "Progress") -> schema.SchemaStatus:
        async with place(settings, progress=progress) as here:
            return await schema.status(here.owner)

    found = _run(work)
    if as_json:
        print_json(_status(found))
    else:
        _print_status(found, _needs(found) or "up to date")
    if needs := _needs(found):
        raise DatabaseRefusedError(needs)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write, in pg_dump's custom format.")],
    replace: bool = typer.Option(False, "--replace", help="Replace a file that is there already."),
    timeout_h: _TIMEOUT = 24.0,
    as_json: _JSON = False,
) -> None:
    """Write the whole database to a file, while the service goes on. The file appears when it is complete."""
    from gnn_service.core.config import load_settings
    from gnn_service.db import backup as saving
    from gnn_service.db.place import place

    settings = load_settings().database

    async def work(progress: "Progress") -> saving.Backup:
        async with place(settings, progress=progress) as here:
            return await saving.backup(here, file, replace=replace, timeout_s=3600 * timeout_h, progress=progress)

    made = _run(work)
    if as_json:
        print_json({"file": str(made.path), "bytes": made.size, "schema": made.revision, "postgresql": made.major})
        return
    out.print(f"saved {made.size / 1e6:,.1f} MB to {made.path} (schema {made.revision})", markup=False, soft_wrap=True)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `gnn-service db backup` wrote.")],
    disconnect: bool = typer.Option(False, "--disconnect", help="End the sessions of others instead of refusing."),
    keep: bool = typer.Option(False, "--keep", help="Leave the former database on the server, under another name."),
    timeout_h: _TIMEOUT = 24.0,
    as_json: _JSON = False,
) -> None:
    """Put a backup in the place of the database. What is there is replaced last, by what was restored and checked."""
    from gnn_service.core.config import load_settings
    from gnn_service.db import backup as saving
    from gnn_service.db.place import place

    settings = load_settings().database

    async def work(progress: "Progress") -> saving.Restored:
        async with place(settings, make=True, progress=progress) as here:
            return await saving.restore(
                here,
                file,
                upkeep=settings.upkeep,
                disconnect=disconnect,
                keep=keep,
                timeout_s=3600 * timeout_h,
                progress=progress,
            )

    done = _run(work)
    if as_json:
        print_json({"kept": done.kept, **_status(done.status)})
        return
    kept = f"; the former database is {done.kept}" if done.kept else ""
    _print_status(done.status, f"restored from {file}{kept}")


def _run(work: "Callable[[Progress], Coroutine[Any, Any, T]]") -> T:
    with _told() as progress:
        return asyncio.run(work(progress))


@contextmanager
def _told() -> Iterator["Progress"]:
    """A line that changes with every step, where a person watches."""
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("connecting") as shown:
        yield shown.update


def _needs(found: "SchemaStatus") -> str:
    """What is to be done about the schema; empty where nothing is."""
    if found.newer_than_code:
        return f"the schema is {found.revision}, newer than this version of gnn-service: update it"
    if found.pending:
        return f"{', '.join(found.pending)} to be run: gnn-service db migrate"
    return ""


def _status(found: "SchemaStatus") -> dict[str, Any]:
    return {
        "server": str(found.server),
        "kind": found.server.kind.value,
        "schema": found.revision,
        "pending": list(found.pending),
        "newer_than_code": found.newer_than_code,
        "role": {"name": found.role, "owner": found.is_owner, "superuser": found.is_superuser},
        "service_role": {
            "exists": found.service_role.exists,
            "can_login": found.service_role.can_login,
            "may_be_taken": found.service_role.may_be_taken,
        },
        "rollups_by": found.layer.rollups_by,
        "hypertables": list(found.layer.hypertables),
        "left": list(found.layer.left),
    }


def _print_status(found: "SchemaStatus", schema: str) -> None:
    rank = "superuser" if found.is_superuser else "owner" if found.is_owner else "neither owner nor superuser"
    service = found.service_role
    state = "there" if service.can_login else "there, without a login" if service.exists else "missing"
    lines = [
        ("server", str(found.server)),
        ("schema", f"{found.revision or 'none'}: {schema}"),
        ("asked as", f"{found.role}, {rank}"),
        ("gnn_app", state),
        ("roll-ups", f"by {'TimescaleDB' if found.layer.rollups_by == 'timescale' else 'the service'}"),
        *(("left", reason) for reason in found.layer.left),
    ]
    for name, value in lines:
        out.print(f"{name:<9} {value}", markup=False, soft_wrap=True)
