"""`gnn-service crossval`: how good is it on groups it has never seen, beside chance, baselines and ablations?"""

from pathlib import Path
from typing import Annotated

import typer

from gnn_service.cli.console import out
from gnn_service.cli.selection import (
    COMMISSION_HELP,
    ONLY_HELP,
    filtered,
    load_sets,
    parse_commission,
    parse_only,
    print_scores,
    shown_progress,
    threads,
)

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
        bool, typer.Option("--ablations", help="Also without virtual sensors, edges; shuffled edges.")
    ] = False,
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
    from gnn_service.core import devices
    from gnn_service.core.config import load_settings
    from gnn_service.core.errors import InvalidInputError
    from gnn_service.recordings.staging import staged_folder
    from gnn_service.training import crossval as cv
    from gnn_service.training import splits as cut
    from gnn_service.training.report import write_report
    from gnn_service.training.run import recipe_from
    from gnn_service.training.scoring import anomaly_scores

    settings = load_settings(training={} if epochs is None else {"epochs": epochs})
    recipe = recipe_from(settings.training, devices.resolve(settings.training.device, "torch", where="training.device"))
    cycles, seconds = parse_commission(commission)
    threads()
    _, sets = load_sets(recordings)
    if len(sets) != 1:
        raise InvalidInputError(f"these recordings are of {len(sets)} machines; cross-validate one machine at a time")
    windows = filtered(sets[0], parse_only(only or ()))
    if hold_out is not None:
        column = windows.column(hold_out)
        splits = cut.hold_out(column, windows.group, labels=windows.level_table(), key=hold_out, seed=recipe.seed)
    else:
        splits = cut.group_folds(windows.group, windows.level_table(), folds or 0, recipe.seed)
    options = cv.Options(recipe, seeds, cycles, seconds, hold_out is not None, baselines, ablations)
    with shown_progress() as say:
        found = cv.crossval(windows, splits, options, say)
    protocol = f"each {hold_out} held out" if hold_out else f"{folds} folds"
    report = found.report(
        windows, f"{protocol}, whole groups" + (f", commissioned with {commission}" if commission else "")
    )
    print_scores(
        report, {"anomaly": anomaly_scores(found.asked), "rul": None, "split_sha256": report.split_hash}, as_json
    )
    if report_dir is not None:
        with staged_folder(report_dir, overwrite=True) as folder:
            cut.write_splits(folder / "splits.json", found.splits)
            write_report(folder, report)
        if not as_json:
            out.print(f"report in {report_dir}")
