"""Which runtime serves a model: the one that was asked for, or the fastest of those that answer rightly, measured."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from gnn_service.core import devices
from gnn_service.core.config import Settings
from gnn_service.core.errors import BundleError, GnnServiceError
from gnn_service.inference.runtimes.base import Runtime
from gnn_service.inference.runtimes.choices import Choice, Measured, find, keep, key_of
from gnn_service.inference.runtimes.failures import first_line
from gnn_service.inference.runtimes.source import NAMES, Source, candidates, open_runtime
from gnn_service.inference.runtimes.timing import Cost, interleaved

CLEARLY_FASTER = 0.95
"""Cost, relative to an earlier candidate's, from which a later one is taken instead."""
MEASURE_S = 0.6
"""Seconds that timing may take, all candidates together; loading them comes on top."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loaded:
    runtime: Runtime | None
    flaw: str | None


class RuntimeFactory:
    """Builds the runtimes of one model. The first call chooses, the others build what was chosen; any thread.

    Attributes:
        choice: what was chosen and why; None before the first call.
    """

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source = source
        self._settings = settings
        self._lock = Lock()
        self.choice: Choice | None = None

    def __call__(self) -> Runtime:
        """A runtime that has just given the model's reference answers.

        Raises:
            BundleError: no runtime runs this model rightly; each is named with its reason.
            ConfigurationError: the runtime that was asked for is not installed.
            DeviceUnavailableError: the device that was asked for is not there.
        """
        with self._lock:
            if self.choice is None:
                self.choice, runtime = self._choose()
                _log.info("%s", self.choice.told())
                if runtime is not None:
                    return runtime
            chosen = self.choice.runtime
        return self._sound(chosen)

    def _choose(self) -> tuple[Choice, Runtime | None]:
        asked = self._settings.model.runtime
        if asked == "torch" and self._source.bundle is None:
            return Choice("onnxruntime", "as torch runs bundles only, and this is a plain ONNX graph"), None
        if asked != "auto":
            return Choice(asked, "asked for"), None
        names = candidates(self._settings)
        if len(names) == 1:
            return Choice(names[0], "the only one here"), None
        key = key_of(self._source.version, self._settings, names)
        cached = find(self._settings.model.cache_dir, key)
        if cached is not None and cached.runtime in names:
            return self._again(cached, names, key)
        return self._measured(names, key)

    def _again(self, cached: Choice, names: tuple[devices.Runtime, ...], key: str) -> tuple[Choice, Runtime | None]:
        """What was measured before, unless it does not work any more."""
        try:
            return cached, self._sound(cached.runtime)
        except GnnServiceError as error:
            _log.warning("%s was chosen before and does not work now: %s", cached.runtime, error)
            return self._measured(names, key)

    def _measured(self, names: tuple[devices.Runtime, ...], key: str) -> tuple[Choice, Runtime]:
        figures, runtimes = compare(self._source, self._settings, names)
        sound = [figure for figure in figures if figure.flaw is None]
        if not sound:
            raise BundleError("; ".join(f"{figure.runtime}: {figure.flaw}" for figure in figures))
        best = fastest(sound)
        for name, runtime in runtimes.items():
            if name != best:
                runtime.close()
        choice = Choice(best, "measured", figures)
        keep(self._settings.model.cache_dir, key, choice)
        return choice, runtimes[best]

    def _sound(self, name: devices.Runtime) -> Runtime:
        loaded = _load(name, self._source, self._settings)
        if loaded.runtime is None:
            raise BundleError(f"{name} cannot be used: {loaded.flaw}")
        return loaded.runtime


def runtime_factory(source: Source, settings: Settings) -> RuntimeFactory:
    """What an engine is given to build its runtimes with."""
    return RuntimeFactory(source, settings)


def compare(
    source: Source, settings: Settings, names: tuple[devices.Runtime, ...] = NAMES, *, seconds: float = MEASURE_S
) -> tuple[tuple[Measured, ...], dict[devices.Runtime, Runtime]]:
    """Load, check and time each runtime in turn; (figures of all, the sound ones, open).

    One that cannot be loaded or answers wrongly is among the figures, with its reason.
    """
    loaded: dict[devices.Runtime, _Loaded] = {}
    for name in names:
        try:
            loaded[name] = _load(name, source, settings)
        except GnnServiceError as error:
            loaded[name] = _Loaded(None, str(error))
    sound = {name: each.runtime for name, each in loaded.items() if each.runtime is not None}
    costs = interleaved(sound, source.references.known.item, (1, settings.inference.batch_max), seconds)
    figures = tuple(
        Measured(name, each.runtime.device if each.runtime else None, costs.get(name, ()), each.flaw)
        for name, each in loaded.items()
    )
    return figures, sound


def fastest(figures: list[Measured]) -> devices.Runtime:
    """The cheapest per graph over both batch sizes; the earlier of two that are about equal.

    Cost is CPU time where all compute on the CPU, which other processes hardly disturb; else what the clock says.
    """
    on_cpu = all(figure.device == "cpu" for figure in figures)
    by: Callable[[Cost], float] = (lambda cost: cost.cpu_us) if on_cpu else (lambda cost: cost.wall_us)
    best = figures[0]
    for figure in figures[1:]:
        if figure.score(by) < CLEARLY_FASTER * best.score(by):
            best = figure
    return best.runtime


def _load(name: devices.Runtime, source: Source, settings: Settings) -> _Loaded:
    """The runtime, checked at the smallest and the largest batch; without one, why it cannot be used.

    Raises:
        GnnServiceError: it cannot be loaded.
    """
    runtime = open_runtime(name, source, settings)
    sizes = runtime.buckets or (1, settings.inference.batch_max)
    try:
        flaws = [source.references.flaw(runtime.run, size) for size in sizes]
    except Exception as error:  # noqa: BLE001 - another may work
        flaws = [f"it fails: {first_line(error)}"]
    flaw = next((each for each in flaws if each is not None), None)
    if flaw is None:
        return _Loaded(runtime, None)
    runtime.close()
    return _Loaded(None, flaw)
