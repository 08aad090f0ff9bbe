"""`gnn-service bundle`: look into a bundle, check it, and export its network."""

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gnn_service.cli.console import out, print_json, print_table, progress

if TYPE_CHECKING:
    from gnn_service.model.bundle import Bundle

app = typer.Typer(no_args_is_help=True, add_completion=False)

_BUNDLE = Annotated[Path, typer.Argument(help="The bundle's folder, or `shipped`.")]
TOLERANCE = 1e-5
"""Largest difference of answers as they are read, in 0..1, that another processor's rounding explains."""

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class ExportFormat(Enum):
    """What a network can be exported as."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch-export"


@app.callback()
def _bundle() -> None:
    """Show, verify and export model bundles."""


@app.command()
def show(bundle: _BUNDLE, as_json: _JSON = False) -> None:
    """What the bundle is, what it was trained on, and how it scored on held-out groups."""
    from gnn_service.model.bundle import FIGURES, Bundle

    manifest = Bundle.open(None if str(bundle) == "shipped" else bundle).manifest
    if as_json:
        print_json(manifest)
        return
    out.print(
        f"bundle {manifest['version']}: {manifest['parameters']} parameters, made with {_words(manifest['made_with'])}",
        soft_wrap=True,
    )
    out.print(f"speaks of {', '.join(manifest['vocabulary']['modes'])}", soft_wrap=True)
    for machine, facts in manifest.get("data", {}).items():
        out.print(
            f"trained on {machine}: {_words(facts['windows'])} windows; {facts.get('licence', 'licence not stated')}",
            soft_wrap=True,
        )
    shown = Table("held out", "accuracy", "macro-F1", "ordinal error", "AUROC", "ECE", box=None)
    for component, score in _scores(manifest.get("metrics", {})):
        figures = [score[name] for name in FIGURES]
        shown.add_row(component, *("-" if value is None else f"{value:.3f}" for value in figures))
    print_table(shown)


@app.command()
def verify(bundle: _BUNDLE, as_json: _JSON = False) -> None:
    """Check every file against the manifest, and the exported graph against the answer it must give.

    Tells too what each runtime that is installed answers and costs here, and which of them `auto` takes. One that
    answers wrongly is named; only ONNX Runtime, which every installation has, decides whether the bundle is whole.
    """
    from gnn_service.core.config import load_settings
    from gnn_service.core.errors import BundleError
    from gnn_service.inference.runtimes.choose import compare, fastest
    from gnn_service.inference.runtimes.source import Source, candidates
    from gnn_service.model.bundle import Bundle

    loaded = Bundle.open(None if str(bundle) == "shipped" else bundle)
    worst = _worst_difference(loaded)
    if not worst <= TOLERANCE:
        raise BundleError(f"its graph answers its canary off by {worst:.2g}; train it again", where=str(bundle))
    settings = load_settings()
    figures, runtimes = compare(Source.of_bundle(loaded), settings, candidates(settings))
    for runtime in runtimes.values():
        runtime.close()
    sound = [figure for figure in figures if figure.flaw is None]
    chosen = fastest(sound) if sound else None
    if as_json:
        told = {"version": loaded.version, "ok": True, "worst_difference": worst}
        print_json({**told, "auto": chosen, "runtimes": [asdict(figure) for figure in figures]})
        return
    out.print(
        f"bundle {loaded.version} is whole; graph and canary differ by {worst:.1e} at most, at batch 1 and 16",
        soft_wrap=True,
    )
    for figure in figures:
        out.print(figure.told() + (" <- auto" if figure.runtime == chosen else ""), soft_wrap=True)


@app.command()
def export(
    bundle: _BUNDLE,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to; made where it is not there.")] = Path(),
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.ONNX,
    as_json: _JSON = False,
) -> None:
    """Write the bundle's network for other programs, checked against torch on batches and machines of several sizes."""
    from gnn_service.model.bundle import Bundle
    from gnn_service.training.formats import export_as

    loaded = Bundle.open(None if str(bundle) == "shipped" else bundle)
    with progress() as shown:
        shown.add_task(f"exporting as {form.value}", total=None)
        done = export_as(loaded, form.value, folder)
    if as_json:
        print_json({"version": loaded.version, **asdict(done), "files": [str(file) for file in done.files]})
        return
    sizes = " and ".join(f"{nodes} components with {sensors} sensors" for nodes, sensors in done.machines)
    out.print(
        f"wrote {', '.join(map(str, done.files))}; differs from torch by {done.worst_difference:.1e} at most, at batch "
        f"{', '.join(map(str, done.batches))} of {sizes}",
        soft_wrap=True,
    )


def _worst_difference(loaded: "Bundle") -> float:
    """Largest difference of the graph's answers to the canary's, as they are read, in 0..1; NaN where one is."""
    import numpy as np

    from gnn_service.inference.runtimes.onnx import OnnxRuntime
    from gnn_service.model.decode import in_unit

    item, expected = loaded.canary
    runtime = OnnxRuntime(loaded.onnx, "cpu", 1)
    differences = []
    for size in (1, 16):
        answers = in_unit(runtime.run({name: np.stack([value] * size) for name, value in item.items()}))
        for name, wanted in in_unit(expected).items():
            differences.append(float(np.abs(answers[name] - wanted).max()))
    runtime.close()
    return float(np.max(differences))  # unlike Python's, NumPy's maximum is NaN where one is


def _scores(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A line a component, or one for each of its failure modes where several were scored."""
    return [
        (f"{component}.{mode}" if mode else component, score)
        for component, figures in metrics.items()
        for mode, score in (figures.get("modes") or {"": figures}).items()
    ]


def _words(facts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
