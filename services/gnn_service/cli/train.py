"""`gnn-service train`: recordings in, a bundle out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gnn_service.cli.console import out, print_json, print_table
from gnn_service.cli.selection import ONLY_HELP, filtered, load_sets, parse_only, shown_progress

if TYPE_CHECKING:
    from gnn_service.training.run import Trained

app = typer.Typer(add_completion=False)


@app.command()
def train(
    recordings: Annotated[list[Path], typer.Argument(help="Recordings, or folders of recordings, with truth.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    start: Annotated[Path | None, typer.Option("--from", help="A bundle whose weights to start from.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help=ONLY_HELP)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training windows, at most.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random draw.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the same run was killed.")] = False,
    sample: Annotated[Path | None, typer.Option(help="Also write a small recording of held-out cycles here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out and --sample.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Train a model on recordings and write a bundle.

    Groups (blocks, runs) are split whole into training, validation and held-out parts; the held-out part is scored
    once, in the end. The run folder keeps splits, a row of metrics an epoch, and the checkpoint while it runs.
    """
    from gnn_service.core import devices
    from gnn_service.core.config import load_settings
    from gnn_service.model.bundle import Bundle
    from gnn_service.recordings.folder import write_recording
    from gnn_service.recordings.staging import staged_folder
    from gnn_service.training import run

    given = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    settings = load_settings(training=given)
    settings.create_directories("training.runs_dir")
    recipe = run.recipe_from(
        settings.training, devices.resolve(settings.training.device, "torch", where="training.device")
    )
    run.use_one_thread()
    initial = None if start is None else Bundle.load(start)
    sources, sets = load_sets(recordings)
    chosen = [filtered(windows, parse_only(only or ())) for windows in sets]
    infos = [next(r.info for r in sources if r.machine.id == w.machine.id) for w in chosen]
    with staged_folder(out_dir, overwrite=overwrite) as folder:
        with shown_progress() as say:
            trained = run.train(
                chosen,
                infos,
                settings.training,
                recipe,
                resume=resume,
                initial=initial,
                progress=lambda done, total, row: say(f"training, validation {row['validation']:.4f}", done, total),
            )
        trained.bundle.write(folder)
    if sample is not None:
        source = next(r for r in sources if r.machine.id == chosen[0].machine.id)
        held_out = run.sample_of(source, trained.parts[0], trained.splits[0].commissioning)
        write_recording(held_out, sample, overwrite=overwrite)
    _report(trained, out_dir, as_json=as_json)


def _report(trained: "Trained", out_dir: Path, *, as_json: bool) -> None:
    from gnn_service.training.report import table

    version, folder = trained.bundle.version, str(trained.folder)
    if as_json:
        metrics = trained.bundle.manifest["metrics"]
        print_json({"bundle": str(out_dir), "version": version, "run": folder, "held_out": metrics})
        return
    print_table(table(trained.report))
    out.print(f"bundle {version} in {out_dir}; run folder {folder}")
