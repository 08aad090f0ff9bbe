"""`gnn-service diagnose`: what is wrong in a recording, cycle by cycle or at one time."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from gnn_service.cli.console import out, print_json, print_table
from gnn_service.cli.selection import COMMISSION_HELP, parse_commission, shown_progress

if TYPE_CHECKING:
    from gnn_service.domain.diagnosis import ComponentDiagnosis, Diagnosis, State

app = typer.Typer(add_completion=False)
_SHOWN_FROM = 0.5
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
        raise typer.BadParameter(f"{engine!r} is no engine of this version; use local", param_hint="--engine")
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
        out.print(f"{target}: {len(answers)} diagnoses, one a line", markup=False, soft_wrap=True)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time", param_hint="--at") from error
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _table(answers: list["Diagnosis"]) -> Table:
    shown = Table("start", "cycle", "component", "state", "health", "fault", box=None)
    for answer in answers:
        place = (f"{answer.start:%Y-%m-%d %H:%M:%S}", "" if answer.cycle is None else str(answer.cycle))
        for row in _rows(answer, whole=len(answers) == 1):
            shown.add_row(*place, *row)
            place = ("", "")
    return shown


def _rows(answer: "Diagnosis", *, whole: bool) -> list[tuple[str, str, str, str]]:
    """A row a component, unless ``whole`` without those of which nothing is known; a row a reason where all are."""
    known = [one for one in answer.components if one.faults or one.health is not None]
    if not known:
        silent: dict[str, list[str]] = {}
        for one in answer.components:
            silent.setdefault(one.reason, []).append(one.component)
        names = ["all"] if len(silent) == 1 else [", ".join(ids) for ids in silent.values()]
        return [(ids, _state(answer.state), "", escape(reason)) for ids, reason in zip(names, silent, strict=True)]
    return [
        (
            one.component,
            _state(one.state),
            "" if one.health is None else f"{100 * one.health:.0f}",
            escape(_fault(one) or one.reason),
        )
        for one in (answer.components if whole else known)
    ]


def _fault(component: "ComponentDiagnosis") -> str:
    """The most likely fault with its level or severity; empty where none is more likely than not."""
    fault = max(component.faults, key=lambda found: (found.probability, found.severity), default=None)
    if fault is None or fault.probability < _SHOWN_FROM:
        return ""
    return f"{fault.name}: {fault.level or f'{fault.severity:.2f}'} ({fault.probability:.0%})"


def _state(state: "State") -> str:
    return f"[{_STYLES[state]}]{state}[/]"
