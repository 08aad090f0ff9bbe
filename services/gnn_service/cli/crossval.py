"""`gnn-service crossval`: how good is it on groups it has never seen, beside chance, baselines and ablations?"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_service.cli.console import out
from gnn_service.cli.selection import (
    COMMISSION_HELP,
    ONLY_HELP,
    claimed_folder,
    filtered,
    load_one,
    parse_commission,
    parse_only,
    print_scores,
    shown_progress,
)

if TYPE_CHECKING:
    from gnn_service.training.crossval import Found
    from gnn_service.training.dataset import WindowSet
    from gnn_service.training.loop import Recipe
    from gnn_service.training.results import Report
    from gnn_service.training.splits import Split

app = typer.Typer(add_completion=False)


@app.command()
def crossval(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings of one machine, with truth.")],
    folds: Annotated[int | None, typer.Option("--folds", min=2, help="Folds of whole groups.")] = None,
    hold_out: Annotated[
        str | None, typer.Option("--hold-out", help="A truth column, e.g. cooler: each value once.")
    ] = None,
    commission: Annotated[str | None, typer.Option(help=COMMISSION_HELP)] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also majority, random forest, MiniRocket.")] = False,
    ablations: Annotated[
        bool | None,
        typer.Option(
            help="Also without virtual sensors, edges, both; shuffled edges. By itself with both of "
            "--hold-out and --baselines.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings with different seeds.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training windows, at most.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help=ONLY_HELP)] = None,
    report_dir: Annotated[Path | None, typer.Option("--out", help="The report folder to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cross-validate on recordings; groups stay whole.

    Give either --folds, or --hold-out with a column of the truth whose values are held out one by one.
    """
    if (folds is None) == (hold_out is None):
        raise typer.BadParameter("give one of them", param_hint="--folds, --hold-out")
    from gnn_service.training import crossval as cv

    cycles, seconds = parse_commission(commission)
    recipe = _recipe(epochs)
    windows = filtered(load_one(recordings), parse_only(only or ()))
    workers = os.cpu_count() or 1
    if ablations is None:
        ablations = baselines and hold_out is not None
    options = cv.Options(recipe, seeds, cycles, seconds, hold_out is not None, baselines, ablations, workers)
    protocol = f"each {hold_out} held out" if hold_out else f"{folds} folds"
    protocol += ", whole groups" + (f", commissioned with {commission}" if commission else "")
    with claimed_folder(report_dir) as folder:
        with shown_progress() as say:
            found = cv.crossval(windows, _splits(windows, folds, hold_out, recipe.seed), options, say)
        report = found.report(windows, protocol)
        print_scores(report, _beside(found, report, windows), as_json)
        if folder is not None:
            _write(folder, report, found.splits)
    if report_dir is not None and not as_json:
        out.print(f"report in {report_dir}")


def _recipe(epochs: int | None) -> "Recipe":
    from gnn_service.core import devices
    from gnn_service.core.config import load_settings
    from gnn_service.training.run import recipe_from, use_one_thread

    settings = load_settings(training={} if epochs is None else {"epochs": epochs}).training
    use_one_thread()
    return recipe_from(settings, devices.resolve(settings.device, "torch", where="training.device"))


def _splits(windows: "WindowSet", folds: int | None, hold_out: str | None, seed: int) -> "list[Split]":
    from gnn_service.training import splits as cut

    labels = windows.level_table()
    if hold_out is None:
        return cut.group_folds(windows.group, labels, folds or 0, seed)
    return cut.hold_out(windows.column(hold_out), windows.group, labels=labels, key=hold_out, seed=seed)


def _beside(found: "Found", report: "Report", windows: "WindowSet") -> dict[str, Any]:
    """What JSON holds beside the scores."""
    from gnn_service.training.scoring import anomaly_scores

    return {
        "anomaly": anomaly_scores(found.asked),
        "rul": None,
        "split_sha256": report.split_hash,
        "too_short": windows.too_short,
        "support": found.support,
        "unknown": found.unknown,
    }


def _write(folder: Path, report: "Report", splits: "list[Split]") -> None:
    from gnn_service.training.report import write_report
    from gnn_service.training.splits import write_splits

    write_splits(folder / "splits.json", splits)
    write_report(folder, report)
