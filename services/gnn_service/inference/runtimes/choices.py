"""What was measured when a runtime was chosen, kept in a cache so that the next start need not measure again."""

import contextlib
import hashlib
import importlib.metadata
import logging
import math
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gnn_service.core.config import Settings
from gnn_service.core.devices import Runtime as Name
from gnn_service.inference.runtimes.timing import Cost

_FORMAT: Final = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """One runtime: what it costs, or ``flaw``, why it cannot be used."""

    runtime: Name
    device: str | None
    costs: tuple[Cost, ...]
    flaw: str | None

    def score(self, by: Callable[[Cost], float]) -> float:
        """Geometric mean over the batch sizes: a caller alone and a busy service count alike."""
        return math.exp(sum(math.log(max(by(cost), 1e-3)) for cost in self.costs) / len(self.costs))

    def told(self) -> str:
        """In words."""
        if self.flaw is not None:
            return f"{self.runtime} cannot be used: {self.flaw}"
        each = ", ".join(
            f"{cost.cpu_us:.0f} us CPU ({cost.wall_us:.0f} us) at batch {cost.batch}" for cost in self.costs
        )
        return f"{self.runtime} on {self.device} {each}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that was taken, ``reason``, and what was measured of each, in the order of preference."""

    runtime: Name
    reason: str
    figures: tuple[Measured, ...] = ()

    def told(self) -> str:
        """In one line."""
        figures = "; ".join(figure.told() for figure in self.figures)
        return f"the model runs on {self.runtime}, {self.reason}" + (f": {figures}" if figures else "")


def key_of(version: str, settings: Settings, names: tuple[Name, ...]) -> str:
    """What the figures hold for: the model, the CPU, the libraries, and the settings that change them."""
    facts = {
        "format": _FORMAT,
        "model": version,
        "cpu": cpu_model(),
        "libraries": {name: _version(name) for name in names},
        "device": settings.model.device,
        "cuda_graphs": settings.model.cuda_graphs,
        "threads": settings.inference.threads,
        "batch_max": settings.inference.batch_max,
    }
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def find(folder: Path | None, key: str) -> Choice | None:
    """The choice that was kept under this key; None where there is none that can be read."""
    if folder is None:
        return None
    try:
        stored = orjson.loads(_path(folder, key).read_bytes())
        figures = tuple(_measured(figure) for figure in stored["figures"])
        return Choice(stored["runtime"], "measured before", figures)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def keep(folder: Path | None, key: str, choice: Choice) -> None:
    """Keep a choice; a folder that cannot be written to costs the next start its measuring, and a line in the log."""
    if folder is None:
        return
    path = _path(folder, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as fresh:
            file = Path(fresh, path.name)
            file.write_bytes(orjson.dumps(asdict(choice)))
            file.replace(path)  # at once: another process may be reading
    except OSError as error:
        _log.warning("what was measured is not kept: %s: %s; set model.cache_dir", folder, error.strerror)


def cpu_model() -> str:
    """What the processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _path(folder: Path, key: str) -> Path:
    return folder / "runtimes" / f"{key}.json"


def _measured(stored: dict[str, Any]) -> Measured:
    costs = tuple(Cost(**cost) for cost in stored["costs"])
    return Measured(stored["runtime"], stored["device"], costs, stored["flaw"])


def _version(name: Name) -> str:
    for package in (name, f"{name}-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "unknown"
