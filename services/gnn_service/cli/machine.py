"""`gnn-service machine`: write, check, show and list machine descriptions."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from gnn_service.cli.console import out, print_json, print_table
from gnn_service.core.errors import InvalidInputError, UnknownMachineError
from gnn_service.domain.check import check_machine, parse_machine
from gnn_service.domain.drawing import PLAIN, Ink, lanes, legend, mermaid
from gnn_service.domain.machine import Machine
from gnn_service.domain.machine_reference import schema_text
from gnn_service.domain.shipped import shipped_machine, shipped_machines
from gnn_service.domain.template import DEFAULT, describe_catalogue, describe_columns
from gnn_service.recordings.machine_file import read_document, read_machine
from gnn_service.recordings.staging import write_text_whole
from gnn_service.recordings.tables import csv_columns

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Write, list, show and check machine descriptions.")

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red", "bright_cyan", "bright_yellow")
JSON = typer.Option(False, "--json", help="Print JSON instead of text.")


@app.command()
def new(
    machine_id: Annotated[str, typer.Option("--id", help="The machine's id.")] = "my-machine",
    component: Annotated[
        list[str] | None,
        typer.Option("--component", metavar="TYPE[:ID]", help="A component of the catalogue; again for more."),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Guess the sensors from this file's header.")] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="The file to write, .toml or .json; else it is printed.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")] = False,
    as_json: bool = JSON,
) -> None:
    """Write a starting description, with comments that say what to fill in."""
    if component and csv_file:
        raise typer.BadParameter("give --component or --csv, not both")
    if out_file is not None and out_file.suffix not in (".toml", ".json"):
        raise typer.BadParameter("--out must end in .toml (with comments) or .json (without)")
    name = out_file.name if out_file else "machine.toml"
    if csv_file:
        text = describe_columns(machine_id, csv_columns(csv_file), file=name)
    else:
        text = describe_catalogue(machine_id, component or DEFAULT, file=name)
    if as_json or (out_file is not None and out_file.suffix == ".json"):
        text = _as_json(parse_machine(read_document(text, name="machine.toml"), check=False))
    if out_file is None:
        typer.echo(text, nl=False)
        return
    write_text_whole(text, out_file, overwrite=overwrite)
    out.print(f"{out_file}: complete it, then run  gnn-service machine check {out_file}", markup=False, soft_wrap=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="machine.toml, machine.json or the folder of a recording.")],
    as_json: bool = JSON,
) -> None:
    """Find what is wrong with a description and where. Exit status 1 when there is anything."""
    path = file / "machine.json" if file.is_dir() else file
    findings = check_machine(read_document(path))
    if as_json:
        print_json({"ok": not findings, "findings": [finding.model_dump() for finding in findings]})
    else:
        for finding in findings:
            out.print(str(finding), markup=False, soft_wrap=True)
        if not findings:
            out.print(f"{path}: nothing wrong", markup=False, soft_wrap=True)
    if findings:
        count = f"{len(findings)} finding{'s' if len(findings) > 1 else ''}"
        raise InvalidInputError(f"{count}; correct the description", where=str(path))


@app.command()
def schema(
    out_file: Annotated[Path | None, typer.Option("--out", help="The file to write; else it is printed.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")] = False,
) -> None:
    """Print the JSON Schema of machine descriptions."""
    text = schema_text()
    if out_file is None:
        typer.echo(text, nl=False)
    else:
        write_text_whole(text, out_file, overwrite=overwrite)


@app.command("list")
def list_machines(as_json: bool = JSON) -> None:
    """List the machines that come with the package."""
    machines = shipped_machines()
    if as_json:
        print_json([_summary(machine) for machine in machines])
        return
    table = Table("machine", "name", "components", "sensors", "failure modes", box=None)
    for machine in machines:
        summary = _summary(machine)
        table.add_row(*(str(summary[key]) for key in ("id", "name", "components", "sensors", "failure_modes")))
    print_table(table)


@app.command()
def show(
    machine: Annotated[str, typer.Argument(help="An id of `machine list`, or a file.")],
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as a Mermaid flow chart.")] = False,
    as_json: bool = JSON,
) -> None:
    """Show one machine: its graph, components, connections, sensors and failure modes."""
    if as_json and as_mermaid:
        raise typer.BadParameter("give --json or --mermaid, not both")
    described = _find(machine)
    if as_mermaid:
        typer.echo(mermaid(described), nl=False)
        return
    if as_json:
        typer.echo(_as_json(described), nl=False)
        return
    out.print(f"[bold]{escape(described.name or described.id)}[/bold]  {escape(described.id)}")
    if described.description:
        out.print(escape(described.description))
    if described.connections:
        out.print()
        for line in _drawing(described):
            out.print(line, soft_wrap=True)
    for table in _tables(described):
        out.print()
        print_table(table)


def _find(machine: str) -> Machine:
    path = Path(machine)
    if path.is_dir():
        return read_machine(path / "machine.json")
    if path.is_file():
        return read_machine(path)
    try:
        return shipped_machine(machine)
    except UnknownMachineError as error:
        raise UnknownMachineError(f"{error.detail}; and there is no such file") from error


def _drawing(machine: Machine) -> list[Text]:
    """The graph in lanes, a line a component, and what its letters mean."""
    ink = Ink() if out.encoding.lower().startswith("utf") else PLAIN
    kinds = dict.fromkeys(line.type for line in machine.connections)
    style = {kind: COLOURS[index % len(COLOURS)] for index, kind in enumerate(kinds)} | {"": ""}
    drawn = [Text.assemble(*((mark.text, style[mark.connection]) for mark in row)) for row in lanes(machine, ink)]
    words = (Text(mark.text, style[mark.connection]) for mark in legend(machine, ink))
    return [*drawn, Text("  ").join(words)]


def _summary(machine: Machine) -> dict[str, Any]:
    return {
        "id": machine.id,
        "name": machine.name,
        "components": len(machine.components),
        "sensors": len(machine.sensors),
        "failure_modes": len(machine.failure_modes),
    }


def _as_json(machine: Machine) -> str:
    return machine.model_dump_json(indent=2, exclude_none=True) + "\n"


def _tables(machine: Machine) -> list[Table]:
    parts = Table("component", "type", "function", "sensors", box=None)
    for component in machine.components:
        ids = ", ".join(sensor.id for sensor in machine.sensors_on(component.id))
        parts.add_row(*map(escape, (component.id, component.type, component.function, ids)))
    lines = Table("from", "to", "connection", box=None)
    for connection in machine.connections:
        lines.add_row(*map(escape, (connection.source, connection.target, connection.type)))
    sensors = Table("sensor", "component", "quantity", "unit", "role", Column("normal", justify="right"), box=None)
    for one in machine.sensors:
        normal = f"{one.normal.low:g} to {one.normal.high:g}" if one.normal else ""
        sensors.add_row(*map(escape, (one.id, one.component, one.quantity, one.unit, one.role.value, normal)))
    modes = Table("failure mode", "component", "of the catalogue", "levels", box=None)
    for mode in machine.failure_modes:
        levels = ", ".join(level.name for level in mode.levels) or "continuous"
        modes.add_row(*map(escape, (mode.id, mode.component, mode.mode, levels)))
    return [table for table in (parts, lines, sensors, modes) if table.row_count]
