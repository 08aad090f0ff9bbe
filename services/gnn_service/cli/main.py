"""`gnn-service`: finds the command, runs it, and turns errors into one line on stderr (architecture.md 4.2)."""

import importlib
import sys
from typing import Any

import click
import typer
from typer.core import TyperGroup

from gnn_service import __version__
from gnn_service.core.errors import GnnServiceError

# name -> (module that holds `app`, one line for --help)
COMMANDS = {
    "demo": ("gnn_service.cli.demo", "Replay real cycles of a hydraulic rig through the service and watch the diagnosis."),
    "serve": ("gnn_service.cli.serve", "Run the service."),
    "machine": ("gnn_service.cli.machine", "Write, list, show and check machine descriptions."),
    "import": ("gnn_service.cli.importing", "Turn a published data set into a recording."),
    "train": ("gnn_service.cli.train", "Train a model on recordings and write a bundle."),
    "crossval": ("gnn_service.cli.crossval", "Cross-validate on recordings; groups stay whole."),
    "evaluate": ("gnn_service.cli.evaluate", "Score a bundle on recordings."),
    "diagnose": ("gnn_service.cli.diagnose", "Diagnose the windows of a recording."),
    "bundle": ("gnn_service.cli.bundle", "Show and verify model bundles."),
    "config": ("gnn_service.cli.config", "Show and check the settings."),
    "bench": ("gnn_service.cli.bench", "Measure this product against its own bounds."),
}


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, summary = COMMANDS[cmd_name]
        if _only_listing(ctx):
            return click.Command(cmd_name, short_help=summary, help=summary)
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        command.short_help = command.short_help or summary
        return command


def _only_listing(ctx: click.Context) -> bool:
    """Whether the help page is being written, for which no module need be imported."""
    return not ctx.protected_args and not ctx.args and ctx.invoked_subcommand is None and "--help" in sys.argv[1:2]


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, help="Diagnose machines with one graph neural network.")


@app.callback()
def _root(version: bool = typer.Option(False, "--version", is_eager=True, help="Print the version and stop.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def run(arguments: list[str] | None = None) -> None:
    """Entry point of the `gnn-service` script."""
    sys.exit(main(arguments))


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        result: Any = app(args=arguments, prog_name="gnn-service", standalone_mode=False)
    except GnnServiceError as error:
        print(f"gnn-service: {error}", file=sys.stderr)
        return 1
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        print(f"gnn-service: {error.format_message()} (see --help)", file=sys.stderr)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    return result if isinstance(result, int) else 0
