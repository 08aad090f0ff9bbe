"""`gnn-service bundle`: look into a bundle, and check it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gnn_service.cli.console import out, print_json, print_table

app = typer.Typer(no_args_is_help=True, add_completion=False)

_BUNDLE = Annotated[Path, typer.Argument(help="The bundle's folder, or `shipped`.")]
TOLERANCE = 1e-5
"""Largest difference of answers as they are read, in 0..1, that another processor's rounding explains."""

_JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.callback()
def _bundle() -> None:
    """Show and verify model bundles."""


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
    """Check every file against the manifest, and the exported graph against the answer it must give."""
    import numpy as np

    from gnn_service.core.errors import BundleError
    from gnn_service.inference.runtimes.onnx import OnnxRuntime
    from gnn_service.model.bundle import Bundle
    from gnn_service.model.decode import in_unit

    loaded = Bundle.open(None if str(bundle) == "shipped" else bundle)
    item, expected = loaded.canary
    runtime = OnnxRuntime(loaded.onnx, "cpu", 1)
    differences = []
    for size in (1, 16):
        answers = in_unit(runtime.run({name: np.stack([value] * size) for name, value in item.items()}))
        for name, wanted in in_unit(expected).items():
            differences.append(float(np.abs(answers[name] - wanted).max()))
    runtime.close()
    worst = float(np.max(differences))  # unlike Python's, NumPy's maximum is NaN where one is
    if not worst <= TOLERANCE:
        raise BundleError(f"its graph answers its canary off by {worst:.2g}; train it again", where=str(bundle))
    if as_json:
        print_json({"version": loaded.version, "ok": True, "worst_difference": worst})
    else:
        out.print(
            f"bundle {loaded.version} is whole; graph and canary differ by {worst:.1e} at most, at batch 1 and 16",
            soft_wrap=True,
        )


def _scores(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A line a component, or one for each of its failure modes where several were scored."""
    return [
        (f"{component}.{mode}" if mode else component, score)
        for component, figures in metrics.items()
        for mode, score in (figures.get("modes") or {"": figures}).items()
    ]


def _words(facts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())
