"""`gnn-service diagnose`: what is wrong in a recording, cycle by cycle or at one time."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from gnn_service.cli.console import out, print_json, print_table
from gnn_service.cli.selection import COMMISSION_HELP, parse_commission, shown_progress

if TYPE_CHECKING:
    from gnn_service.domain.diagnosis import Diagnosis

app = typer.Typer(add_completion=False)
_STYLES = {"good": "green", "watch": "yellow", "warning": "dark_orange", "critical": "red", "unknown": "dim"}


@app.command()
def diagnose(
    bundle: Annotated[Path, typer.Argument(help="The bundle to ask, or `shipped`.")],
    recording: Annotated[Path, typer.Argument(help="The recording to diagnose; it needs no truth.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Only the cycle that runs at this time (ISO 8601, UTC).")
    ] = None,
    commission: Annotated[str | None, typer.Option(help=COMMISSION_HELP)] = None,
    engine: Annotated[str, typer.Option(help="Where it runs: local.")] = "local",
    target: Annotated[Path | None, typer.Option("--out", help="Write one JSON diagnosis a line here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Diagnose the windows of a recording."""
    if engine != "local":
        raise typer.BadParameter(f"{engine!r} is not built yet; use local", param_hint="--engine")
    from gnn_service.core.config import load_settings
    from gnn_service.inference.diagnoser import Diagnoser
    from gnn_service.model.bundle import Bundle
    from gnn_service.recordings.folder import read_recording
    from gnn_service.recordings.staging import write_text_whole
    from gnn_service.training.diagnosing import choose, diagnose_all

    settings = load_settings()
    loaded = Bundle.open(None if str(bundle) == "shipped" else bundle)
    cycles, seconds = parse_commission(commission)
    chosen = choose(read_recording(recording), _time(at), cycles, seconds)

    async def ask() -> list["Diagnosis"]:
        with shown_progress() as say:
            async with Diagnoser.open(settings, loaded) as diagnoser:
                return await diagnose_all(diagnoser, chosen, lambda done, total: say("diagnosing", done, total))

    answers = asyncio.run(ask())
    if target is not None:
        lines = [orjson.dumps(a.model_dump(mode="json")).decode() for a in answers]
        write_text_whole("\n".join(lines) + "\n", target, overwrite=True)
    if as_json:
        print_json([a.model_dump(mode="json") for a in answers])
    elif target is None:
        print_table(_table(answers))
    else:
        out.print(f"{len(answers)} diagnoses in {target}")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time", param_hint="--at") from error
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _table(answers: list["Diagnosis"]) -> Table:
    shown = Table("start", "cycle", "component", "state", "health", "most likely fault", box=None)
    for answer in answers:
        first = True
        for component in answer.components:
            if not component.faults and component.health is None and len(answers) > 1:
                continue
            fault = max(component.faults, key=lambda f: f.severity, default=None)
            found = (
                ""
                if fault is None
                else f"{fault.name}: {fault.level or f'{fault.severity:.2f}'} ({fault.probability:.0%})"
            )
            shown.add_row(
                f"{answer.start:%Y-%m-%d %H:%M:%S}" if first else "",
                str(answer.cycle if answer.cycle is not None else "") if first else "",
                component.component,
                f"[{_STYLES[component.state]}]{component.state}[/]",
                "" if component.health is None else f"{100 * component.health:.0f}",
                found or component.reason,
            )
            first = False
    return shown
