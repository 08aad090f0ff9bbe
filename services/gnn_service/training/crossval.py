"""Cross-validation with whole groups: train, ask, and put everything beside chance, baselines and ablations."""

import asyncio
import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import FailureMode
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.engine import Engine
from gnn_service.inference.spec import ModelSpec
from gnn_service.model.baseline import fit_baseline, robust_centre
from gnn_service.model.encode import Structure, Wiring, encode
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.judge import level_probabilities, severities_of
from gnn_service.model.network import Architecture
from gnn_service.training.dataset import WindowSet, commissioning_rows
from gnn_service.training.export import TorchRuntime
from gnn_service.training.fit import Model, fit_model, make_bundle
from gnn_service.training.loop import Batchable, Progress, Recipe, answers_of, mode_logits
from gnn_service.training.parallel import Say, map_folds
from gnn_service.training.partition import Partition, partition
from gnn_service.training.prepare import Examples
from gnn_service.training.results import TOO_SHORT, UNKNOWN_ANSWERS, Kind, PredictorRow, Report
from gnn_service.training.rivals import rival_rows
from gnn_service.training.scoring import Asked, ask, in_words, joined, row, scored_modes, unknown_shares
from gnn_service.training.splits import Split, splits_sha256

OURS = "fused"
NETWORK = "network alone"
PHYSICS = "estimators alone"
ABLATIONS: dict[str, tuple[bool, Wiring]] = {
    "network, no virtual sensors": (False, "true"),
    "network, no edges": (True, "none"),
    "network, no edges, no virtual sensors": (False, "none"),
    "network, shuffled edges": (True, "shuffled"),
}
"""Whether virtual sensors are seen, and the edges. Trained like ours but for one thing, and compared with the network
alone: late fusion would hide the difference."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a cross-validation does; ``commission`` counts the healthy cycles of a baseline, ``seconds`` their time."""

    recipe: Recipe
    seeds: int = 1
    commission: int | None = None
    seconds: float | None = None
    hold_out: bool = False
    baselines: bool = False
    ablations: bool = False
    workers: int = 1
    architecture: Architecture = field(default_factory=Architecture)

    @property
    def commissions(self) -> bool:
        """Whether the machine's own baseline is used."""
        return self.commission is not None or self.seconds is not None


@dataclass(frozen=True, slots=True)
class Fold:
    """One split ready to run: its windows, those behind its baseline, and the failure modes that are scored."""

    name: str
    part: Partition
    source: WindowSet | None
    modes: list[FailureMode]
    options: Options


@dataclass(slots=True)
class Found:
    """All that a cross-validation found."""

    rows: list[PredictorRow] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    support: dict[str, float] = field(default_factory=dict)
    """By fold, how far training had seen the regimes of what is scored: the network's weight, 0..1."""
    parameters: int = 0

    def add(self, other: "Found") -> None:
        """Take in what another fold found."""
        self.rows += other.rows
        self.asked += other.asked
        self.support |= other.support
        self.parameters = other.parameters
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @property
    def unknown(self) -> dict[str, float]:
        """By component, the share of windows that the product would answer with `unknown`."""
        return unknown_shares(self.asked, dict.fromkeys(row.component for row in self.rows))

    def report(self, windows: WindowSet, protocol: str) -> Report:
        """Everything as one report."""
        facts = {f"time for {name}, sum over folds": f"{seconds:.0f} s" for name, seconds in self.seconds.items()}
        facts["parameters"] = str(self.parameters)
        facts["windows, groups"] = f"{len(windows)}, {len(np.unique(windows.group))}"
        facts[TOO_SHORT] = str(windows.too_short)
        facts |= {f"mean weight of the network, {fold}": f"{support:.3f}" for fold, support in self.support.items()}
        facts[UNKNOWN_ANSWERS] = in_words(self.unknown)
        title = f"Cross-validation on {windows.machine.id}"
        return Report(title, protocol, splits_sha256(self.splits), tuple(self.rows), facts=facts)


def crossval(windows: WindowSet, splits: Sequence[Split], options: Options, say: Say | None = None) -> Found:
    """Train and score every split. Chance, baselines and ablations see exactly the windows that ours does.

    With commissioning, the first healthy and settled cycles of what is scored (each held-out part by itself; in
    folds the whole recording) make the baseline, and are neither trained on nor scored. In folds they are learned from
    too, as every baseline is there, so their groups are set aside whole. Raises InvalidInputError when there are too
    few of them, or a split leaves a part empty.
    """
    shared = None
    if options.commissions and not options.hold_out:
        shared = commissioning_rows(windows, options.commission, options.seconds)
    found, folds = Found(), []
    for split in splits:
        if options.hold_out:
            named, part, source = _held_out(windows, split, options)
        else:
            source = None if shared is None else windows.take(shared)
            aside = () if source is None else np.unique(source.group).tolist()
            named, part = split.setting_aside(aside, _names(source)), partition(windows, split, shared)
        if not len(part.test):
            raise InvalidInputError("every window held out makes the baseline; commission with less", where=split.name)
        found.splits.append(named)
        folds.append(Fold(split.name, part, source, _learnable(scored_modes(part.test), part), options))
    for each in map_folds(run_fold, folds, options.workers, say):
        found.add(each)
    found.rows = joined(found.rows)
    return found


def _held_out(windows: WindowSet, split: Split, options: Options) -> tuple[Split, Partition, WindowSet | None]:
    """A split with its parts and what commissions the held-out one: nothing of that one is learned from."""
    part, source = partition(windows, split), None
    test = part.test
    if options.commissions:
        rows = commissioning_rows(test, options.commission, options.seconds)
        source, test = test.take(rows), test.take(np.delete(np.arange(len(test)), rows))
    return (
        replace(split, commissioning=_names(source)),
        Partition(part.train, part.validation, test, part.train),
        source,
    )


def _learnable(modes: list[FailureMode], part: Partition) -> list[FailureMode]:
    """Failure modes of which training shows two levels; holding a component's level out leaves it one."""
    return [mode for mode in modes if len(np.unique(part.train.levels[mode.id])) > 1]


def run_fold(given: Fold, say: Say) -> Found:
    """Train, ask and compare on one split."""
    fold, part, source, modes, options = given.name, given.part, given.source, given.modes, given.options
    found = Found()
    for seed in range(options.recipe.seed, options.recipe.seed + options.seeds):
        recipe = replace(options.recipe, seed=seed)
        with _timed(found, "training"):
            told = _progress(say, f"{fold}, seed {seed}: training")
            model = fit_model([part], recipe, options.architecture, progress=told)
        found.parameters = sum(p.numel() for p in model.network.parameters())
        with _timed(found, "asking"):
            asked = asyncio.run(_ask(model, part.test, source, say, f"{fold}: asking"))
        found.asked.append(asked)
        found.support[fold] = float(asked.support.mean())
        found.rows += _our_rows(asked, modes, fold, seed)
        for name, (use_evidence, wiring) in ABLATIONS.items() if options.ablations else ():
            architecture = replace(options.architecture, use_evidence=use_evidence)
            with _timed(found, "ablations"):
                told = _progress(say, f"{fold}, seed {seed}: {name}")
                other = fit_model([part], recipe, architecture, wiring, progress=told)
                found.rows += _network_rows(other, part.test, source, modes, wiring, name, fold, seed)
    if options.baselines:
        centre = None if source is None else robust_centre(source.machine, source.grids)[0]
        threads = 1 if options.workers > 1 else 2
        with _timed(found, "baselines"):
            for seed in range(options.recipe.seed, options.recipe.seed + options.seeds):
                tick = functools.partial(_say_name, say, fold)
                found.rows += rival_rows(part, modes, centre, fold=fold, seed=seed, threads=threads, tick=tick)
    return found


def _say_name(say: Say, fold: str, name: str) -> None:
    say(f"{fold}: {name}", 0, 0)


async def _ask(model: Model, windows: WindowSet, source: WindowSet | None, say: Say, what: str) -> Asked:
    bundle = make_bundle(model, {}, export=False)
    item, expected = bundle.canary
    engine = Engine(ModelSpec(lambda: TorchRuntime(model.network), item, expected), InferenceSettings())
    async with engine:
        diagnoser = Diagnoser(bundle, engine)
        baseline = None if source is None else diagnoser.baseline_of(windows.machine, source.windows)
        return await ask(diagnoser, windows, baseline, functools.partial(say, what))


def _our_rows(asked: Asked, modes: list[FailureMode], fold: str, seed: int) -> Iterator[PredictorRow]:
    kinds = {"fused": (OURS, Kind.OURS), "network": (NETWORK, Kind.ABLATION), "physics": (PHYSICS, Kind.ABLATION)}
    for mode in modes:
        for source, (name, kind) in kinds.items():
            probabilities = asked.probabilities(mode.id, source)
            if probabilities is not None:
                health = asked.health(mode.component) if source == "fused" else None
                yield row(asked.windows, mode, name, kind, probabilities, fold=fold, seed=seed, health=health)


def _network_rows(
    model: Model,
    windows: WindowSet,
    source: WindowSet | None,
    modes: list[FailureMode],
    wiring: Wiring,
    name: str,
    fold: str,
    seed: int,
) -> Iterator[PredictorRow]:
    """A network by itself, without late fusion, on its own wiring."""
    machine = windows.machine
    knowledge = model.knowledge[machine.id]
    structure = Structure(machine, model.vocabulary, wiring, model.recipe.seed)
    sensors = VirtualSensors.of(machine, knowledge.calibrations)
    baseline = knowledge.reference
    if source is not None:
        baseline = fit_baseline(machine, source.grids, sensors.bindings, sensors.parameters)
    evidence = sensors.read(windows.grids, baseline)
    arrays = encode(structure, windows.grids, baseline, evidence)
    examples = Examples(structure, arrays, np.arange(len(windows)), dict(windows.levels), {})
    logits = answers_of(model.network, Batchable.of(examples), "cpu").severity.numpy()
    for mode in modes:
        own = mode_logits(structure, logits, mode.id)
        if own is not None:
            temperature = knowledge.fusion[mode.id].temperature if mode.id in knowledge.fusion else 1.0
            probabilities = level_probabilities(own.astype(float) / temperature, severities_of(mode))
            yield row(windows, mode, name, Kind.ABLATION, probabilities, fold=fold, seed=seed)


def _names(source: WindowSet | None) -> tuple[str, ...]:
    """Ids of the windows behind a baseline."""
    return () if source is None else tuple(str(w.cycle if w.cycle is not None else w.start) for w in source.windows)


def _progress(say: Say, what: str) -> Progress:
    return lambda epoch, epochs, _: say(what, epoch, epochs)


@contextmanager
def _timed(found: Found, what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    found.seconds[what] = found.seconds.get(what, 0.0) + time.monotonic() - began
