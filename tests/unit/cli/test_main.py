"""The shell of the command line: finding commands, exit statuses, one line on errors."""

import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import typer

from gnn_service import __version__
from gnn_service.cli import main as shell
from gnn_service.core.errors import InvalidRecordingError

GNN_SERVICE = [sys.executable, "-c", "from gnn_service.cli.main import run; run()"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """A command `probe` whose one callback a test registers."""
    module = types.ModuleType("probe_command")
    app = typer.Typer()
    module.__dict__["app"] = app
    monkeypatch.setitem(sys.modules, "probe_command", module)
    monkeypatch.setitem(shell.COMMANDS, "probe", ("probe_command", "Probe."))
    return app


def test_help_lists_every_command_and_imports_none_of_them():
    script = (
        "import sys\n"
        "from gnn_service.cli.main import main\n"
        "status = main(['--help'])\n"
        "heavy = {'torch', 'onnxruntime', 'fastapi', 'numpy', 'pydantic', 'pyarrow'} & set(sys.modules)\n"
        "rooms = {m for m in sys.modules if m.startswith('gnn_service.')}\n"
        "print(sorted(heavy), sorted(rooms), status, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True)
    for name, (_, summary) in shell.COMMANDS.items():
        assert name in done.stdout
        assert summary.split()[0] in done.stdout
    rooms = ["gnn_service.cli", "gnn_service.cli.main", "gnn_service.core", "gnn_service.core.errors"]
    assert done.stderr.strip() == f"[] {rooms} 0"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]):
    assert shell.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_a_command_runs_with_its_arguments(command: typer.Typer, capsys: pytest.CaptureFixture[str]):
    command.command()(lambda word: typer.echo(word * 2))
    assert shell.main(["probe", "ab"]) == 0
    assert capsys.readouterr().out == "abab\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["trian"], "Did you mean 'train'?"),
        (["--bad"], "No such option"),
        (["probe"], "Missing argument"),
        (["probe", "x", "y"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_status_2(
    arguments: list[str], said: str, command: typer.Typer, capsys: pytest.CaptureFixture[str]
):
    command.command()(lambda word: None)
    assert shell.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_no_command_shows_the_help_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert shell.main([]) == 2
    captured = capsys.readouterr()
    assert "crossval" in captured.out + captured.err


def _raise(error: BaseException):
    raise error


@pytest.mark.parametrize(
    "error, status, said",
    [
        (
            InvalidRecordingError("no rows;\nexport it again", where="readings.parquet"),
            1,
            "readings.parquet: no rows; export",
        ),
        (PermissionError(13, "Permission denied", "/x"), 1, "Permission denied: '/x'"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "gnn-service[train]"),
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn.svm"), 1, "needs sklearn: install the extra"),
        (ModuleNotFoundError("No module named 'rich'", name="rich"), 1, "needs rich: install it with pip"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_status_1(
    error: Exception, status: int, said: str, command: typer.Typer, capsys: pytest.CaptureFixture[str]
):
    command.command()(lambda: _raise(error))
    assert shell.main(["probe"]) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gnn-service: ")
    assert said in captured.err


def test_the_extra_is_named_for_its_own_packages_alone(root: Path):
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["train"]
    imported = {"scikit-learn": "sklearn"}
    names = {line.partition(">")[0] for line in extra}
    assert {imported.get(name, name.replace("-", "_")) for name in names} == shell._OF_TRAIN


def test_ctrl_c_is_status_130(command: typer.Typer):
    command.command()(lambda: _raise(KeyboardInterrupt()))
    assert shell.main(["probe"]) == 130


def test_a_command_chooses_its_own_status(command: typer.Typer):
    command.command()(lambda: _raise(typer.Exit(3)))
    assert shell.main(["probe"]) == 3


def test_a_missing_module_of_our_own_is_a_defect_and_not_hidden(command: typer.Typer):
    command.command()(lambda: _raise(ModuleNotFoundError("gone", name="gnn_service.gone")))
    with pytest.raises(ModuleNotFoundError):
        shell.main(["probe"])


def test_a_reader_that_leaves_early_is_no_failure():
    script = (
        "import sys, types, typer\n"
        "from gnn_service.cli import main as shell\n"
        "from gnn_service.cli.console import out\n"
        "module = types.ModuleType('talker'); module.app = typer.Typer(); sys.modules['talker'] = module\n"
        "shell.COMMANDS['talk'] = ('talker', '')\n"
        "@module.app.command()\n"
        "def talk():\n"
        "    for line in range(200_000):\n"
        "        out.print('line', line)\n"
        "sys.exit(shell.main(['talk']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(50) == 0
    assert said == b""
