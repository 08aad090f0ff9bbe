"""What every test shares: an environment free of the caller's settings, and resources asked for by name.

A test that needs something which not every machine has says so with ``@pytest.mark.requires("data")`` or, where
only one branch needs it, with the ``require`` fixture. Without the resource the test skips and says why; where
``GNN_TEST_REQUIRE`` lists it (names with commas, or ``all``) the test fails instead, so that a machine which is
meant to provide it cannot quietly stop doing so.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from gnn_service.core import devices

pytest_plugins = ["tests.support.postgres", "tests.support.migrated", "tests.support.stored"]
ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "tests" / "unit" / "training"
TRAINING_ONLY = ("aeon", "matplotlib", "onnx", "onnxscript", "scipy", "sklearn", "torch", "torch_geometric")
DEMANDED = frozenset(filter(None, os.environ.get("GNN_TEST_REQUIRE", "").replace(" ", "").split(",")))
DATA = Path(os.environ.get("GNN_TEST_DATA", ROOT.parent / "shared" / "data"))

# Nothing that the caller has set for a service of their own reaches a test.
for _name in [name for name in os.environ if re.match("GNN_(?!TEST_)|OTEL_", name)]:
    del os.environ[_name]
# Tests run in as many processes as there are cores: libraries that compute in parallel get one core in each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What tests show must not hang on which runtime is the fastest here, nor leave what was measured in a user's home.
os.environ["GNN_MODEL__RUNTIME"] = "onnxruntime"
# Nor does each application that a test makes start a database; a test of what is stored asks for one.
os.environ["GNN_DATABASE__ENABLED"] = "false"
# Nor on how many cores there are: one model thread, where a test does not say otherwise.
devices.auto_instances = lambda: 1

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "default")


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _has_tritonclient() -> bool:
    return all(find_spec(name) for name in ("tritonclient", "geventhttpclient"))


def _has_network_namespaces() -> bool:
    if not all(shutil.which(name) for name in ("ip", "nsenter", "unshare")):
        return False
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "name", "one", "type", "veth", "peer", "name", "two"],
        capture_output=True,
        timeout=10,
    )
    return tried.returncode == 0


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


# name -> (is it here?, what to do where it is not)
RESOURCES: dict[str, tuple[Callable[[], bool], str]] = {
    "broker": (_program("mosquitto"), "no MQTT broker: install mosquitto"),
    "chromium": (_program("chromium", "chromium-browser", "google-chrome"), "no browser: install chromium"),
    "data": (
        (DATA / "uci_hydraulic").is_dir,
        "no published recordings in ../shared/data: put them there or name their folder in GNN_TEST_DATA",
    ),
    "gpu": (_has_gpu, "no CUDA device"),
    "network_namespaces": (_has_network_namespaces, "no network namespaces: needs root and iproute2"),
    "node": (_program("node"), "no Node.js: install nodejs"),
    "openvino": (lambda: find_spec("openvino") is not None, "no OpenVINO: install the extra openvino"),
    "tritonclient": (_has_tritonclient, "no tritonclient: pip install 'tritonclient[http]'"),
    "root": (lambda: hasattr(os, "geteuid") and os.geteuid() == 0, "not root"),
}


def _require(*names: str) -> None:
    for name in names:
        if name not in RESOURCES:
            pytest.fail(f"tests know no resource {name!r}; there are {', '.join(sorted(RESOURCES))}", pytrace=False)
        is_here, missing = RESOURCES[name]
        if is_here():
            continue
        if DEMANDED & {name, "all"}:
            pytest.fail(f"GNN_TEST_REQUIRE demands {name!r}: {missing}", pytrace=False)
        pytest.skip(missing)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make floor` tests what serves, where nothing that trains is installed."""
    parser.addoption("--serving", action="store_true", help="skip the tests that need what only training installs")


def _lacks_training(config: pytest.Config, missing: object) -> bool:
    """Whether it is by choice that this module, of whose absence the text tells, is not there."""
    found = re.search(rf"No module named '({'|'.join(TRAINING_ONLY)})\b", str(missing))
    return bool(config.getoption("--serving")) and found is not None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file of tests that imports what only training installs, with `--serving`."""
    report = yield
    if report.failed and _lacks_training(collector.config, report.longrepr):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, "Skipped: needs what only training installs")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Skip a test that imports what only training installs, with `--serving`."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        if _lacks_training(item.config, error):
            pytest.skip(f"needs {error.name}")
        raise


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A process of tests for each core that may be used, at most four: each holds torch, a gigabyte."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


def pytest_configure() -> None:
    """Refuse a misspelt demand: it would demand nothing."""
    if unknown := DEMANDED - RESOURCES.keys() - {"all"}:
        raise pytest.UsageError(
            f"GNN_TEST_REQUIRE: unknown {', '.join(sorted(unknown))}; there are {', '.join(sorted(RESOURCES))}, all"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give training its time: in a new environment numba first compiles MiniRocket, half a minute on a free core."""
    for item in items:
        if item.path.is_relative_to(TRAINING) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check the resources that a test's markers name before any of its fixtures is made."""
    for marker in item.iter_markers("requires"):
        _require(*marker.args)


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """``require("chromium")``: skip here, or fail where it is demanded, unless the resource is there."""
    return _require


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def uci_hydraulic() -> Path:
    """The development part of the hydraulic rig's recording (Helwig et al. 2015, UCI 447, CC BY 4.0)."""
    _require("data")
    return DATA / "uci_hydraulic"
