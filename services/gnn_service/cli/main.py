"""`gnn-service`: finds the command, runs it, and turns errors into one line on stderr."""

import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from gnn_service import __version__
from gnn_service.core.errors import GnnServiceError

_OF_TRAIN = frozenset({"aeon", "matplotlib", "onnx", "onnxscript", "scipy", "sklearn", "torch", "torch_geometric"})
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

# name -> (module that holds `app`, one line for --help)
COMMANDS = {
    "demo": (
        "gnn_service.cli.demo",
        "Replay real cycles of a hydraulic rig through the service and watch the diagnosis.",
    ),
    "serve": ("gnn_service.cli.serve", "Run the service."),
    "simulate": ("gnn_service.cli.simulate", "Simulate machines from their equations, and write recordings."),
    "machine": ("gnn_service.cli.machine", "Write, list, show and check machine descriptions."),
    "import": ("gnn_service.cli.importing", "Turn a published data set into a recording."),
    "train": ("gnn_service.cli.train", "Train a model on recordings and write a bundle."),
    "crossval": ("gnn_service.cli.crossval", "Cross-validate on recordings; groups stay whole."),
    "evaluate": ("gnn_service.cli.evaluate", "Score a bundle on recordings."),
    "diagnose": ("gnn_service.cli.diagnose", "Diagnose the windows of a recording."),
    "bundle": ("gnn_service.cli.bundle", "Show and verify model bundles."),
    "db": ("gnn_service.cli.db", "Migrate, describe, save and restore the database."),
    "config": ("gnn_service.cli.config", "Show and check the settings."),
    "bench": ("gnn_service.cli.bench", "Measure this product against its own bounds."),
}


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and summary, and imports a command's module when it is run."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, (_, summary) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments name, imported; called only when it is about to run."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and _load(name or ""), rest


def _load(name: str) -> Any:
    module, summary = COMMANDS[name]
    command = typer.main.get_command(importlib.import_module(module).app)
    command.name = name
    command.help = command.help or summary
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Diagnose machines with one graph neural network.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and stop."
    ),
) -> None:
    del version  # its callback has already acted


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the `gnn-service` script."""
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        result: Any = app(args=arguments, prog_name="gnn-service", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except GnnServiceError as error:
        return _complain(str(error), FAILED)
    except typer.TyperException as error:
        # a group called without a command has printed its help already and has no message
        message = error.format_message()
        return _complain(f"{message} (see --help)" if message else "", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "gnn_service"}:
            raise
        wanted = "the extra with pip install 'gnn-service[train]'" if package in _OF_TRAIN else "it with pip"
        return _complain(f"this command needs {package}: install {wanted}", FAILED)
    except OSError as error:
        return _complain(str(error), FAILED)
    return result if isinstance(result, int) else DONE


def _complain(message: str, status: int) -> int:
    if message:
        print(f"gnn-service: {' '.join(message.split())}", file=sys.stderr)
    return status


def _reader_left() -> int:
    """Whoever read our output has seen enough (`| head`): nothing failed, and nothing more can be said."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
