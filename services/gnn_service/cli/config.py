"""`gnn-service config`: what the settings are, where each came from, and whether they hold on this machine."""

import functools
import operator
from typing import Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from gnn_service.cli.console import out, print_json, print_table
from gnn_service.core import devices
from gnn_service.core.config import ModelSettings, Settings, TrainingSettings, load_with_sources
from gnn_service.core.errors import ConfigurationError, GnnServiceError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show and check the settings.")

JSON = typer.Option(False, "--json", help="Print JSON instead of a table.")


@app.command()
def show(as_json: bool = JSON) -> None:
    """Print every setting with its value and where the value comes from. Secrets are never printed."""
    settings, origins = load_with_sources()
    tree = settings.model_dump(mode="json")
    values = {path: functools.reduce(operator.getitem, path.split("."), tree) for path in origins}
    if as_json:
        print_json({path: {"value": values[path], "source": origins[path]} for path in origins})
        return
    table = Table(Column("setting", no_wrap=True), *(Column(name, overflow="fold") for name in ("value", "source")))
    table.box = None
    for path, source in origins.items():
        style = None if source == "default" else "bold"
        table.add_row(path, escape(_text(values[path])), escape(source), style=style)
    print_table(table)


@app.command()
def check(as_json: bool = JSON) -> None:
    """Read the settings, look for the devices and try whether the folders can be written to.

    Exit status 1 when anything is wrong.
    """
    settings, _ = load_with_sources()
    checks = [_device("model.device", settings.model), _training_device(settings)]
    checks += [_folder(settings, name) for name in settings.directories()]
    problems = [f"{item['setting']}: {item['problem']}" for item in checks if item["problem"]]
    if as_json:
        print_json({"ok": not problems, "checks": checks})
    else:
        for item in checks:
            verdict = f"wrong {item['setting']}: {item['problem']}"
            line = verdict if item["problem"] else f"ok    {item['setting']}: {item['finding']}"
            out.print(line, markup=False, soft_wrap=True)
    if problems:
        raise ConfigurationError("; ".join(problems))


def _device(setting: str, chosen: ModelSettings | TrainingSettings) -> dict[str, str | None]:
    try:
        if isinstance(chosen, ModelSettings):
            found, runtime = chosen.resolve_device(where=setting)
        else:
            found, runtime = devices.resolve(chosen.device, "torch", where=setting), "torch"
    except GnnServiceError as error:
        return {"setting": setting, "finding": None, "problem": error.detail}
    return {"setting": setting, "finding": f"{chosen.device} is {found} ({runtime})", "problem": None}


def _training_device(settings: Settings) -> dict[str, str | None]:
    setting = "training.device"
    if settings.training.device in ("auto", "cpu") and not devices.is_installed("torch"):
        return {"setting": setting, "finding": "not looked for: torch is not installed", "problem": None}
    return _device(setting, settings.training)


def _folder(settings: Settings, name: str) -> dict[str, str | None]:
    path = settings.directories()[name]
    try:
        settings.check_directories(name)
    except ConfigurationError as error:
        return {"setting": name, "finding": None, "problem": error.detail}
    finding = "can be written to" if path.is_dir() else "is not there yet and can be created"
    return {"setting": name, "finding": f"{path} {finding}", "problem": None}


def _text(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
