"""`gnn-service import`: published data sets become recordings."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gnn_service.cli.console import out, print_json, progress

app = typer.Typer(no_args_is_help=True, help="Turn a published data set into a recording.")


@app.callback()
def _import() -> None:
    """Turn a published data set into a recording."""


@app.command("uci-hydraulic")
def uci_hydraulic(
    source: Annotated[Path, typer.Argument(help="The published folder, or cycles_1hz.npz.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The recording to write; must not exist or be empty.")],
    rate: Annotated[float, typer.Option(help="Rows a second; faster sensors are averaged.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands at --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Import the ZeMA hydraulic test rig (UCI data set 447, CC BY 4.0)."""
    from gnn_service.recordings.folder import write_recording
    from gnn_service.recordings.staging import require_free
    from gnn_service.training.importers.uci_hydraulic import import_uci_hydraulic

    require_free(out_dir, overwrite=overwrite)
    with progress() as shown:
        task = shown.add_task("reading", total=None)

        def step(name: str, done: int, total: int) -> None:
            shown.update(task, description=f"reading {name}", completed=done, total=total)

        recording = import_uci_hydraulic(source, rate_hz=rate, progress=step)
        shown.update(task, description="writing")
        write_recording(recording, out_dir, overwrite=overwrite)
    report = {
        "recording": str(out_dir),
        "machine": recording.machine.id,
        "cycles": recording.info["cycles"],
        "rows": len(recording.readings.times),
        "sensors": len(recording.readings.sensors),
        "groups": len(np.unique(recording.truth.group)) if recording.truth else 0,
        "rate_hz": recording.info["sampling"]["rate_hz"],
    }
    if as_json:
        print_json(report)
    else:
        out.print(
            f"{out_dir}: {report['cycles']} cycles of {report['machine']} in {report['groups']} blocks, "
            f"{report['rows']} rows of {report['sensors']} sensors at {report['rate_hz']:g} Hz",
            soft_wrap=True,
        )
