"""`gnn-service evaluate`: the score of a bundle on recordings."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gnn_service.cli.console import out
from gnn_service.cli.selection import (
    COMMISSION_HELP,
    ONLY_HELP,
    claimed_folder,
    load_one,
    note,
    parse_commission,
    parse_only,
    print_scores,
    shown_progress,
)

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle to score.")],
    recordings: Annotated[list[Path], typer.Argument(help="Recordings of one machine, with truth.")],
    only: Annotated[list[str] | None, typer.Option("--only", help=ONLY_HELP)] = None,
    commission: Annotated[str | None, typer.Option(help=COMMISSION_HELP)] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also majority, random forest, MiniRocket.")] = False,
    report_dir: Annotated[Path | None, typer.Option("--out", help="The report folder to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score a bundle on recordings.

    On a recording that the bundle was trained on, only the groups that it held out are scored. Every window takes the
    same path as in the service.
    """
    from gnn_service.core.config import load_settings
    from gnn_service.inference.diagnoser import Diagnoser
    from gnn_service.model.bundle import Bundle
    from gnn_service.training import evaluate as scoring
    from gnn_service.training.report import write_report
    from gnn_service.training.results import Report
    from gnn_service.training.scoring import anomaly_scores

    settings, loaded = load_settings(), Bundle.load(bundle)
    cycles, seconds = parse_commission(commission)
    selection = scoring.select(loaded, load_one(recordings), parse_only(only or ()), cycles, seconds)
    note(selection.note)

    async def score() -> scoring.Scored:
        with shown_progress() as say:
            async with Diagnoser.open(settings, loaded) as diagnoser:
                return await scoring.evaluate(diagnoser, selection, lambda done, total: say("diagnosing", done, total))

    with claimed_folder(report_dir) as folder:
        asked, rows = asyncio.run(score())
        if baselines:
            with shown_progress() as say:
                rows = [*rows, *scoring.rival_rows_of(selection, lambda name: say(name, 0, 0))]
        title = f"bundle {loaded.version} on {selection.scored.machine.id}"
        protocol = "groups the bundle has not seen" + (f", commissioned with {commission}" if commission else "")
        facts = scoring.facts_of(asked, rows)
        report = Report(title, protocol, loaded.manifest["split_sha256"], tuple(rows), facts=facts)
        extra = {
            "anomaly": anomaly_scores([asked]),
            "rul": None,
            "bundle": loaded.version,
            "note": selection.note,
            "too_short": selection.scored.too_short,
        }
        print_scores(report, extra, as_json)
        if folder is not None:
            write_report(folder, report)
    if report_dir is not None and not as_json:
        out.print(f"report in {report_dir}")
