"""Who may import whom: the contracts of pyproject.toml, and what a serving process may load."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
PACKAGE = SERVICES / "gnn_service"

# Where the extras `train` and `openvino` may be imported; everything else must work with what runs alone.
TRAINING_ONLY = (
    "gnn_service.inference.runtimes.openvino", "gnn_service.inference.runtimes.torch_cuda",
    "gnn_service.inference.runtimes.torch_runtime", "gnn_service.model.heads", "gnn_service.model.network",
    "gnn_service.training",
)  # fmt: skip
NEVER_AT_RUN_TIME = (
    "aeon", "hypothesis", "matplotlib", "networkx", "numba", "onnx", "onnxscript", "openvino", "pandas", "pytest",
    "scipy", "sklearn", "torch", "torch_geometric",
)  # fmt: skip

SQL = re.compile(
    r"(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from|(create|alter|drop)\s+(table|index))\s",
    re.DOTALL | re.IGNORECASE,
)

# Runs in a fresh interpreter: imports the modules named, while what only training has cannot be imported.
IMPORT_WITHOUT = """
import importlib, sys
absent, modules = set(sys.argv[1].split(",")), sys.argv[2].split(",")

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
broken = []
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        broken.append(f"{module}: {error!r}")
sys.exit("\\n".join(broken) or 0)
"""


def all_modules() -> list[str]:
    paths = (path.relative_to(SERVICES).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def needs_training(module: str) -> bool:
    if module.startswith("gnn_service.training.importers") or module == "gnn_service.training":
        return False
    return any(module == name or module.startswith(name + ".") for name in TRAINING_ONLY)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.timeout(120)
def test_imports_keep_the_contracts():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_built_room_is_held_by_the_layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    listed = {room.strip() for layer in layers for room in layer.split("|")}
    built = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for room in listed if not room.startswith("(")} == built


def test_a_serving_process_loads_neither_torch_nor_training_nor_demo():
    done = python(
        "import sys, gnn_service.api.app, gnn_service.inference.diagnoser\n"
        "loaded = {'torch', 'torch_geometric', 'gnn_service.training', 'gnn_service.demo'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(loaded)}' if loaded else 0)"
    )
    assert done.returncode == 0, done.stderr


def test_everything_but_training_imports_with_what_runs_alone():
    modules = [module for module in all_modules() if not needs_training(module)]
    done = python(IMPORT_WITHOUT, ",".join(NEVER_AT_RUN_TIME), ",".join(modules))
    assert done.returncode == 0, done.stderr


def test_importing_the_command_line_imports_no_framework():
    done = python(
        "import sys, gnn_service.cli.main\n"
        "loaded = {'fastapi', 'numpy', 'onnxruntime', 'pyarrow', 'pydantic', 'torch', 'uvicorn'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(loaded)}' if loaded else 0)"
    )
    assert done.returncode == 0, done.stderr


def test_sql_is_written_in_the_store_alone():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "db"):
            continue
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        texts = [node.value.strip() for node in nodes if isinstance(node.value, str)]
        found += [f"{path.relative_to(PACKAGE)}: {text[:60]}" for text in texts if SQL.match(text)]
    assert not found
